"""Diagnoses against NumPy, and that looking changes nothing."""

import numpy as np
import pytest
from helpers import DTYPES, exact, network

import fastnn as fn
from fastnn.errors import InputError
from fastnn_kernels import reference as ref
from fastnn_kernels import reference_norm

LAYERS = ["relu", "sigmoid", "tanh", "gelu", "softmax"]
QUIET = {"progress": False}
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


def assert_numpy_s(found, layers, weights, dWs):
    """Diagnoses against the activation and z (m, n) of every layer, the weights and their gradients."""
    for one, (name, z), (W, _), dW in zip(found, layers, exact(weights), dWs, strict=True):
        saturates = name in ("sigmoid", "tanh", "hard_sigmoid", "hard_tanh")
        assert one.saturated_3 == ((abs(z) > 3).mean() if saturates else None)
        assert one.saturated_6 == ((abs(z) > 6).mean() if saturates else None)
        assert one.dead == ((z <= 0).all(axis=0).mean() if name == "relu" else None)
        assert one.gradient_norm == pytest.approx(np.linalg.norm(dW), rel=1e-9)
        assert (one.weight_mean, one.weight_deviation) == (pytest.approx(W.mean()), pytest.approx(W.std()))
        ordered, places = np.sort(W, axis=None), np.array([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]) * (W.size - 1)
        assert one.weight_quantiles == pytest.approx(np.interp(places, np.arange(W.size), ordered))
        assert one.zeros == (W == 0).mean()


def test_a_diagnosis_is_numpy_s(deep):
    net, X, y = deep
    net.fit(X, y, epochs=1, optimizer=fn.SGD(1e-9), progress=False)
    W, b = net.weights[0]
    W[:, :4], b[:4] = 0, -1  # four dead units
    net.set_weights([(W, b), *net.weights[1:]])
    found = fn.diagnose(net, X, y)
    z = [z for z, _ in ref.feedforward(net.weights, LAYERS, X)]
    assert_numpy_s(found, zip(LAYERS, z, strict=True), net.weights, [dW for dW, _ in net.gradient(X, y)])
    assert found[0].dead >= 4 / 33
    assert found[0].zeros >= 4 / 33
    assert 0 < found[1].saturated_6 < found[1].saturated_3 < 1
    assert 0 < found[2].saturated_6 < found[2].saturated_3 < 1


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_with_a_norm(kind, rng):
    """z is normalized, for batch norm by its running averages; the gradient is that of a step on these samples."""
    names = ["relu", "sigmoid", "hard_tanh", "softmax"]
    layers = [fn.Dense(n, name, norm=kind) for n, name in zip((33, 18, 9), names, strict=False)]
    net = fn.MLP(7, [*layers, fn.Dense(3, "softmax")], dtype="float64")
    X, y = 3 * rng.normal(size=(130, 7)) + 1, rng.integers(0, 3, 130)
    net.fit(X, y, epochs=3, batch_size=50, progress=False)
    states = [s and fn.NormState(4 * s.gamma, rng.normal(size=s.beta.shape) - 2, s.mean, s.variance) for s in net.norms]
    states[0].beta[:5] = -50  # dead units
    net.set_norms(states)
    found, a, z = fn.diagnose(net, X, y), X, []
    for (W, b), state, name in zip(net.weights, states, names, strict=True):
        z.append(a @ W + b)
        if state is not None:
            axis = {"batch": 0, "layer": 1}[kind]
            mean, variance = (z[-1].mean(axis, keepdims=True), z[-1].var(axis, keepdims=True))
            if kind == "batch":
                assert abs(mean - state.mean).max() > 0.1  # so that it matters which are taken
                mean, variance = state.mean, state.variance
            z[-1] = (z[-1] - mean) / np.sqrt(variance + 1e-5) * state.gamma + state.beta
        a = ref.activate(name, z[-1])
    pieces = [(*pair, *((s.gamma, s.beta) if s else ())) for pair, s in zip(net.weights, states, strict=True)]
    norms = [(kind, 1e-5)] * 3 + [None]
    gradients = reference_norm.gradient(pieces, names, norms, "cross_entropy", X, np.eye(3)[y])
    assert_numpy_s(found, zip(names, z, strict=True), net.weights, [dW for dW, *_ in gradients])
    assert 0 < found[0].dead < 1
    assert 0 < found[1].saturated_6 < found[1].saturated_3 < 1


NOISES = [
    {"dropout": 0.4},
    {"noise": fn.Dropout(0.4, per="batch")},
    {"noise": fn.DropConnect(0.4)},
    {"noise": fn.Whiteout(0.1)},
]


@pytest.mark.parametrize("options", NOISES, ids=str)
def test_noise_is_off(options, rng):
    names = ["relu", "tanh", "hard_sigmoid", "softmax"]
    layers = [fn.Dense(n, name, **options) for n, name in zip((33, 18, 9), names, strict=False)]
    net = fn.MLP(7, [*layers, fn.Dense(3, "softmax")], dtype="float64")
    X, y = 3 * rng.normal(size=(130, 7)), rng.integers(0, 3, 130)
    history = net.fit(X, y, epochs=30, batch_size=50, optimizer=fn.Adam(0.05), callbacks=fn.Diagnostics(30), **QUIET)
    z = [z for z, _ in ref.feedforward(net.weights, names, X)]
    found, gradients = fn.diagnose(net, X, y), ref.gradient(net.weights, names, "cross_entropy", X, np.eye(3)[y])
    assert history.diagnostics[-1] == fn.Diagnosis(30, found)
    assert_numpy_s(found, zip(names, z, strict=True), net.weights, [dW for dW, _ in gradients])
    assert max(layer.dead or layer.saturated_3 or 0 for layer in found) > 0


def test_no_more_than_some_samples_are_looked_at(rng):
    net = network(rng, (4, 6, 2), output="softmax")
    X, y = rng.normal(size=(2500, 4)), rng.integers(0, 2, 2500)
    some = np.arange(1000) * 2500 // 1000
    norms = [[layer.gradient_norm for layer in fn.diagnose(net, *part)] for part in ((X, y), (X[some], y[some]))]
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_weights_of_samples_count_in_the_gradient(rng):
    net = network(rng, (4, 6, 2), output="softmax", dtype="float64")
    X, y, weights = rng.normal(size=(30, 4)), rng.integers(0, 2, 30), rng.random(30)
    options = {"sample_weight": weights, "class_weight": {0: 3.0}}
    norms = [np.linalg.norm(dW) for dW, _ in net.gradient(X, y, **options)]
    assert [layer.gradient_norm for layer in fn.diagnose(net, X, y, **options)] == pytest.approx(norms)


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"dropout": 0.3}], ids=str)
def test_looking_changes_nothing(options, rng):
    X, y = rng.normal(size=(200, 6)), rng.integers(0, 3, 200)
    nets, histories = [], []
    for callbacks in ((), fn.Diagnostics(every=2)):
        net = fn.MLP([6, 16, 3], output="softmax", seed=1, **options)
        fit_options = {"callbacks": callbacks, "validation": 0.2, "normalize": "standard", "batch_size": 32, **QUIET}
        histories.append([net.fit(X, y, epochs=epochs, **fit_options) for epochs in (5, 2)])
        nets.append(net)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    assert nets[0].running.tobytes() == nets[1].running.tobytes()
    assert [one.loss for one in histories[0]] == [one.loss for one in histories[1]]
    assert [one.diagnostics for one in histories[0]] == [[], []]
    assert [[look.epoch for look in one.diagnostics] for one in histories[1]] == [[0, 2, 4], [0, 2]]
    assert [len(look.layers) for look in histories[1][0].diagnostics] == [2, 2, 2]


def test_the_gap_is_a_difference(rng):
    net = fn.MLP([6, 16, 3], output="softmax", seed=1)
    X, y = rng.normal(size=(90, 6)), rng.integers(0, 3, 90)
    history = net.fit(X, y, epochs=3, validation=0.2, progress=False)
    assert history.gap == np.subtract(history.validation_loss, history.loss).tolist()
    assert history.accuracy_gap == np.subtract(history.accuracy, history.validation_accuracy).tolist()
    assert (history.penalty, history.zeros) == ([], [])
    alone = net.fit(X, y, epochs=1, progress=False)
    assert (alone.gap, alone.accuracy_gap) == ([], [])


@pytest.mark.parametrize(
    ("penalty", "cost"),
    [
        (fn.L2(3.0), lambda W: 1.5 * W**2),
        (fn.L1(0.5), lambda W: 0.5 * abs(W)),
        (fn.L1(0.5, proximal=True), lambda W: 0.5 * abs(W)),
        (fn.L1L2(0.5, 3.0), lambda W: 0.5 * abs(W) + 1.5 * W**2),
    ],
    ids=["L2", "L1", "proximal L1", "L1L2"],
)
def test_the_gap_leaves_the_penalty_out(penalty, cost, rng):
    """At a rate of nearly 0 the training loss of one whole batch is that of the weights, and the gap 0."""
    net = network(rng, (6, 16, 3), dtype="float64")
    X, y = rng.normal(size=(90, 6)), rng.normal(size=(90, 3))
    options = {"optimizer": fn.SGD(1e-14), "batch_size": "full", "penalty": penalty, **QUIET}
    history = net.fit(X, y, epochs=3, validation=(X, y), **options)
    expected = sum(cost(W).sum() for W, _ in net.weights) / 90
    assert history.penalty == pytest.approx([expected] * 3, rel=1e-9)
    assert history.loss == pytest.approx([net.loss(X, y) + expected] * 3, rel=1e-9)
    assert history.gap == pytest.approx([0.0] * 3, abs=1e-9)


def test_a_run_that_diverges_tells_what_was_seen(rng):
    net, X = fn.MLP([1, 1], dtype="float64"), np.ones((8, 1))
    net.set_weights([(np.ones((1, 1)), np.ones(1))])
    options = {"optimizer": fn.SGD(0.625), "loss": "mse", "callbacks": fn.Diagnostics(), **QUIET}
    with pytest.raises(fn.DivergenceError) as caught:
        net.fit(X, np.zeros(8), epochs=10_000, **options)
    history = caught.value.history
    assert [look.epoch for look in history.diagnostics] == [*range(caught.value.epoch)]
    assert len(history.loss) == caught.value.epoch - 1
    norms = [look.layers[0].gradient_norm for look in history.diagnostics[:20]]
    assert norms == pytest.approx(4 * 1.5 ** np.arange(20))


def test_errors(rng):
    net = network(rng, (4, 3))
    with pytest.raises(InputError, match=r"X must have the shape \(samples, 4\)"):
        net.activations(np.zeros((2, 3)))
    with pytest.raises(InputError, match="every must be a whole number"):
        fn.Diagnostics(0)
    with pytest.raises(InputError, match="batch norm cannot normalize one sample"):
        fn.diagnose(fn.MLP([4, 3, 2], norm="batch"), np.zeros((1, 4)), np.zeros((1, 2)))


def test_no_gradient_goes_through_a_threshold_without_surrogate(rng):
    net = fn.MLP([3, 4, 2], activation="threshold")
    with pytest.raises(InputError, match="layer 1 has the activation threshold, whose derivative is 0"):
        fn.diagnose(net, rng.normal(size=(5, 3)), rng.normal(size=(5, 2)))
