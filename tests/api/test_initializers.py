"""Initial weights: their spread, and what becomes of signals in deep networks."""

import math

import numpy as np
import pytest
from helpers import same

import fastnn as fn

DEPTH, UNITS = 20, 400
SPREADS = {  # the variance before 300 inputs and 200 outputs
    "glorot_normal": 2 / 500,
    "glorot_uniform": 2 / 500,
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "lecun_normal": 1 / 300,
    "lecun_uniform": 1 / 300,
    "orthogonal": 1 / 300,
}


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize("name", SPREADS)
def test_mean_and_variance(name, gain):
    init = type(fn.initializers.family.get(name))(gain)
    ((W, b),) = fn.MLP([300, 200], init=init, dtype="float64").weights
    variance = SPREADS[name] * gain**2
    assert abs(W.mean()) < 5 * math.sqrt(variance / W.size)
    assert W.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / W.size))
    assert not b.any()
    if name.endswith("uniform"):
        assert 0.99 < abs(W).max() / math.sqrt(3 * variance) <= 1
    elif name.endswith("normal"):
        assert (W**4).mean() == pytest.approx(3 * variance**2, rel=0.1)


@pytest.mark.parametrize("sizes", [(40, 40), (40, 17), (17, 40), (1, 5), (5, 1)])
def test_orthogonal(sizes):
    ((W, _),) = fn.MLP(list(sizes), init=fn.Orthogonal(1.5), dtype="float64").weights
    product = W.T @ W if sizes[0] >= sizes[1] else W @ W.T
    assert abs(product - 2.25 * np.eye(min(sizes))).max() < 1e-13


def test_orthogonal_matrices_prefer_no_direction():
    """Without the sign fix the first element would be negative in all of them (Householder's reflections)."""
    first = [fn.MLP([2, 2], init="orthogonal", seed=seed, dtype="float64").weights[0][0][0, 0] for seed in range(200)]
    assert 70 < sum(w > 0 for w in first) < 130
    assert np.mean(first) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "elu", "softplus", "noisy_relu", "gelu", "silu", "hard_swish"]
)
def test_auto_is_he_before_rectifiers(activation):
    nets = [fn.MLP([5, 7, 3], activation=activation, output=activation, init=init) for init in ("auto", "he_normal")]
    assert same(nets[0].weights, nets[1].weights)


@pytest.mark.parametrize("activation", ["linear", "sigmoid", "tanh", "threshold", "hard_sigmoid", "hard_tanh"])
def test_auto_is_glorot_before_others(activation):
    names = ("auto", "glorot_uniform")
    nets = [fn.MLP([5, 7, 3], activation=activation, output=activation, init=init) for init in names]
    assert same(nets[0].weights, nets[1].weights)


def power(init, activation):
    """Mean square of the outputs of a deep network, inputs having 1."""
    net = fn.MLP([UNITS] * (DEPTH + 1), activation=activation, output=activation, init=init)
    X = np.random.default_rng(5).normal(size=(100, UNITS))
    return float((net.predict(X).astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("init", ["he_normal", "he_uniform"])
def test_he_keeps_the_power_of_signals_through_rectifiers(init):
    assert 0.3 < power(init, "relu") < 3
    assert power(init, "linear") > 1e5  # twice a layer


@pytest.mark.parametrize("init", ["lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "orthogonal"])
def test_variance_one_by_n_keeps_it_through_linear_layers_and_tanh(init):
    assert 0.5 < power(init, "linear") < 2
    assert power(init, "tanh") > 0.01  # about 1 / (2 DEPTH): tanh bends
    assert power(init, "relu") < 1e-4  # half a layer
    halved = type(fn.initializers.family.get(init))(0.5)
    assert power(halved, "tanh") < 1e-8


def test_orthogonal_keeps_lengths():
    net = fn.MLP([UNITS] * (DEPTH + 1), activation="linear", init="orthogonal", dtype="float64")
    X = np.random.default_rng(5).normal(size=(100, UNITS))
    lengths = np.linalg.norm(net.predict(X), axis=1) / np.linalg.norm(X, axis=1)
    assert abs(lengths - 1).max() < 1e-12


def test_orthogonal_weights_are_saved_by_name(tmp_path):
    fn.MLP([3, 4], init=fn.Orthogonal(2.0)).save(tmp_path / "model")
    assert fn.MLP.load(tmp_path / "model").init == fn.Orthogonal(2.0)
