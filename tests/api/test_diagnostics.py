"""Diagnoses against NumPy, and that looking changes nothing."""

import numpy as np
import pytest
from helpers import DTYPES, exact, network, same

import fastnn as fn
from fastnn.errors import InputError
from fastnn_kernels import reference as ref

LAYERS = ["relu", "sigmoid", "tanh", "gelu", "softmax"]
SIZES = (7, 33, 18, 15, 9, 3)


@pytest.fixture
def deep(rng):
    layers = [fn.Dense(n, name) for n, name in zip(SIZES[1:], LAYERS, strict=True)]
    net = fn.MLP(SIZES[0], layers, dtype="float64")
    net.set_weights([(8 * rng.normal(size=W.shape), 4 * rng.normal(size=b.shape)) for W, b in net.weights])
    return net, rng.normal(size=(130, 7)), rng.integers(0, 3, 130)


def test_activations_are_those_of_the_oracle(deep):
    net, X, _ = deep
    given = net.activations(X)
    for a, (_, wanted) in zip(given, ref.feedforward(net.weights, LAYERS, X), strict=True):
        np.testing.assert_allclose(a, wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(given[-1], net.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "tanh", "linear"])
def test_the_last_activations_are_the_prediction(rng, output, dtype):
    net = network(rng, (5, 17, 3), output=output, dtype=dtype)
    X = rng.normal(size=(65, 5))
    np.testing.assert_array_equal(net.activations(X)[-1], net.predict(X))


def test_a_diagnosis_is_numpy_s(deep):
    net, X, y = deep
    net.fit(X, y, epochs=1, optimizer=fn.SGD(1e-9), progress=False)
    W, b = net.weights[0]
    W[:, :4], b[:4] = 0, -1  # four dead units
    net.set_weights([(W, b), *net.weights[1:]])
    found = fn.diagnose(net, X, y)
    z = [z for z, _ in ref.feedforward(net.weights, LAYERS, X)]
    dead = (z[0] <= 0).all(axis=0).mean()
    assert dead >= 4 / 33
    assert [layer.dead for layer in found] == [pytest.approx(dead), None, None, None, None]
    saturated = [None, (abs(z[1]) > 6).mean(), (abs(z[2]) > 3).mean(), None, None]
    assert [layer.saturated for layer in found] == [None if s is None else pytest.approx(s) for s in saturated]
    for layer, (W, _), (dW, _) in zip(found, exact(net.weights), net.gradient(X, y), strict=True):
        assert layer.gradient_norm == pytest.approx(np.linalg.norm(dW), rel=1e-9)
        assert (layer.weight_mean, layer.weight_deviation) == (pytest.approx(W.mean()), pytest.approx(W.std()))
        assert layer.zeros == (W == 0).mean()


def test_no_more_than_some_samples_are_looked_at(rng):
    net = network(rng, (4, 6, 2), output="softmax")
    X, y = rng.normal(size=(2500, 4)), rng.integers(0, 2, 2500)
    some = np.arange(1000) * 2500 // 1000
    norms = [[layer.gradient_norm for layer in fn.diagnose(net, *part)] for part in ((X, y), (X[some], y[some]))]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_looking_changes_nothing(rng):
    X, y = rng.normal(size=(200, 6)), rng.integers(0, 3, 200)
    look = fn.Diagnostics(every=2)
    weights = []
    for callbacks in ((), look):
        net = fn.MLP([6, 16, 3], output="softmax", seed=1)
        net.fit(X, y, epochs=5, callbacks=callbacks, validation=0.2, normalize="standard", progress=False)
        weights.append(net.weights)
    assert same(*weights)
    assert look.epochs == [0, 2, 4]
    assert [len(layers) for layers in look.layers] == [2, 2, 2]


def test_the_gap_is_a_difference(rng):
    net = fn.MLP([6, 16, 3], output="softmax", seed=1)
    X, y = rng.normal(size=(90, 6)), rng.integers(0, 3, 90)
    history = net.fit(X, y, epochs=3, validation=0.2, progress=False)
    expected = np.subtract(history.validation_loss, history.loss)
    assert fn.overfitting_gap(history) == expected.tolist()


def test_errors(rng):
    net = network(rng, (4, 3))
    with pytest.raises(InputError, match=r"X must have the shape \(samples, 4\)"):
        net.activations(np.zeros((2, 3)))
    with pytest.raises(InputError, match="every must be a whole number"):
        fn.Diagnostics(0)
