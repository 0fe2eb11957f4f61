"""Losses that users write: where they are defined, what they divide by, what is compiled for them."""

import math

import numpy as np
import pytest
from helpers import DTYPES, data, network, same
from numba import njit

import fastnn as fn
from fastnn_kernels import epoch

QUIET = {"progress": False}


def squared(yhat, y):
    return (yhat - y) * (yhat - y)


def squared_derivative(yhat, y):
    return 2.0 * (yhat - y)


def focal(p, y):
    """Binary focal loss with gamma = 2, of p within (0, 1). Source: Lin et al. 2017."""
    return -(y * (1 - p) ** 2 * math.log(p) + (1 - y) * p**2 * math.log(1 - p))


def focal_derivative(p, y):
    one = 2 * (1 - p) * math.log(p) - (1 - p) ** 2 / p
    zero = -2 * p * math.log(1 - p) + p**2 / (1 - p)
    return y * one + (1 - y) * zero


def inverse(yhat, y):
    return 1 / (yhat - y)


def inverse_derivative(yhat, y):
    return -1 / (yhat - y) ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_same_bits_as_mse_and_no_compilation(batch_size, dtype, rng):
    X, y = data(rng, (21, 5)), data(rng, (21, 4))
    nets = [network(np.random.default_rng(0), (5, 17, 4), activation="tanh", dtype=dtype) for _ in range(2)]
    options = {"optimizer": fn.SGD(0.05), "batch_size": batch_size, "epochs": 2, **QUIET}
    nets[0].fit(X, y, loss="mse", **options)
    compiled = len(epoch.train.signatures)
    nets[1].fit(X, y, loss=fn.CustomLoss(squared, squared_derivative), **options)
    assert len(epoch.train.signatures) == compiled
    assert same(nets[0].weights, nets[1].weights)


@pytest.mark.parametrize("output", ["linear", "tanh", "gelu", "sigmoid", "softmax"])
def test_gradient_through_every_kind_of_output(output, rng):
    net = network(rng, (3, 5, 4), activation="tanh", output=output, dtype="float64")
    X, y, weights = data(rng, (9, 3)), rng.random((9, 4)), rng.random(9)
    loss = fn.CustomLoss(squared, squared_derivative)
    gradients = [net.gradient(X, y, loss=one, sample_weight=weights) for one in ("mse", loss)]
    assert same(*gradients)
    values = [net.loss(X, y, loss=one, sample_weight=weights) for one in ("mse", loss)]
    assert values[0] == pytest.approx(values[1], rel=1e-14)


@pytest.mark.parametrize("functions", [(focal, focal_derivative), (njit(focal), njit(focal_derivative))])
def test_a_loss_of_probabilities(functions, rng):
    """It is defined within (0, 1) only, and compared there."""
    X = data(rng, (300, 4))
    y = (X @ [1.0, -1.0, 0.5, 0.0] > 0).astype(np.int64)
    net = fn.MLP([4, 8, 1], output="sigmoid", dtype="float64")
    net.fit(X, y, loss=fn.CustomLoss(*functions), epochs=30, optimizer=fn.Adam(0.01), **QUIET)
    p = net.predict(X)[:, 0]
    assert net.loss(X, y) == pytest.approx(np.mean([focal(a, b) for a, b in zip(p, y, strict=True)]), rel=1e-12)
    assert (net.predict_class(X) == y).mean() > 0.9


def test_a_wrong_derivative_within_the_domain():
    with pytest.raises(fn.InputError, match=r"finite differences"):
        fn.CustomLoss(focal, lambda p, y: -focal_derivative(p, y))


def test_a_derivative_that_is_finite_in_fewer_places():
    with pytest.raises(fn.InputError, match=r"derivative must give finite numbers"):
        fn.CustomLoss(squared, lambda yhat, y: math.log(yhat))


def test_a_loss_that_is_finite_nowhere():
    with pytest.raises(fn.InputError, match=r"finite at no yhat"):
        fn.CustomLoss(lambda yhat, y: math.nan, lambda yhat, y: 0.0)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "njit"])
def test_division_by_0_stops_the_run(compiled, rng):
    """njit divides as Python does unless it is told otherwise: it would raise where nobody can see it."""
    functions = (njit(inverse), njit(inverse_derivative)) if compiled else (inverse, inverse_derivative)
    net = fn.MLP([2, 1])
    net.set_weights([(np.zeros((2, 1)), np.zeros(1))])
    with pytest.raises(fn.DivergenceError):
        net.fit(data(rng, (5, 2)), np.zeros(5), loss=fn.CustomLoss(*functions), epochs=1, **QUIET)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "njit"])
def test_an_activation_that_divides_by_0_stops_the_run(compiled, rng):
    functions = [lambda z: 1 / z, lambda z: -1 / (z * z)]
    own = fn.CustomActivation(*(njit(f) if compiled else f for f in functions))
    net = fn.MLP([2, 1], output=own)
    net.set_weights([(np.zeros((2, 1)), np.zeros(1))])
    with pytest.raises(fn.DivergenceError):
        net.fit(data(rng, (5, 2)), np.zeros(5), loss="mse", epochs=1, **QUIET)


def test_what_does_not_compile_is_told_even_unchecked():
    for functions in ((lambda yhat, y: id(yhat), squared_derivative), (squared, lambda yhat, y: str(yhat))):
        with pytest.raises(fn.InputError, match=r"Numba cannot compile|must give a number"):
            fn.CustomLoss(*functions, check=False)
    with pytest.raises(fn.InputError, match="derivative must give a number"):
        fn.CustomLoss(squared, lambda yhat, y: (yhat, y), check=False)
