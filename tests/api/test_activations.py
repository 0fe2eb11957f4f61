"""Activations: values and derivatives of every one, noise, users' own functions, training through all of them."""

import math

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, random_weights, same
from numba import njit

import fastnn as fn
from fastnn_kernels import reference as ref
from fastnn_kernels import reference_activation as curves
from fastnn_kernels import rng as random_kernels
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native import address

QUIET = {"progress": False}
NAMES = sorted(set(fn.activations.family._members) - {"softmax", "threshold"})


def silu(z):
    return z / (1 + math.exp(-z))


@njit
def silu_derivative(z):
    s = 1 / (1 + math.exp(-z))
    return s + z * s * (1 - s)


OWN = fn.CustomActivation(silu, silu_derivative)
FROM_Z = {"gelu": "gelu", "silu": "silu", "hard_swish": "hard_swish", "custom": OWN}


def for_reference(name):
    return "silu" if name == "custom" else name


# Values and derivatives


def points(dtype):
    """From -30 to 30, and far out where the type's exponentials end."""
    far = np.array([88, 103, 700, 1e4, 1e15, 1e30])
    z = np.concatenate([np.linspace(-30, 30, 241), np.linspace(-4, 4, 160), -far, far])
    z = z[abs(z[:, None] - np.array(curves.KINKS)).min(axis=1) > 1e-3]
    return z.astype(dtype).astype(np.float64)


def error(z, dtype):
    """A few roundings of numbers up to abs(z): 1 + erf cancels."""
    return 8 * float(np.finfo(dtype).eps) * (1 + abs(z))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*NAMES, "custom"])
def test_values_and_derivatives(name, dtype):
    """Identity weights: the outputs are f(z). Targets one below them: the bias gradient of the hidden layer is g(z)."""
    z = points(dtype)
    activation = OWN if name == "custom" else name
    value = fn.MLP([z.size, z.size], output=activation, dtype=dtype)
    value.set_weights([(np.eye(z.size), np.zeros(z.size))])
    a = value.predict(z[None])[0].astype(np.float64)
    assert (abs(a - curves.activate(for_reference(name), z)) <= error(z, dtype)).all()
    z = z[abs(z) < 100]
    slope = fn.MLP([z.size, z.size, z.size], activation=activation, dtype=dtype)
    slope.set_weights([(np.eye(z.size), np.zeros(z.size))] * 2)
    below = slope.predict(z[None]) - 1
    g = slope.gradient(z[None], below, loss="half_mse")[0][1]
    bound = error(z, dtype) + 4 * float(np.finfo(dtype).eps) * abs(z)  # of the difference that makes 1
    assert (abs(g - curves.derivative(for_reference(name), z)) <= bound).all()


# Training


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zeros", [0.0, 0.8], ids=["dense", "sparse"])
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(("hidden", "output"), [("gelu", "linear"), ("silu", "hard_swish"), ("custom", "custom")])
def test_derivatives_from_z_train_as_the_oracle(hidden, output, batch_size, zeros, dtype, rng):
    layers = [fn.Dense(17, FROM_Z[hidden]), fn.Dense(5, FROM_Z[hidden]), fn.Dense(3, FROM_Z.get(output, output))]
    net = fn.MLP(6, layers, dtype=dtype)
    net.set_weights(random_weights(rng, net.sizes))
    X, y = data(rng, (35, 6)) * (rng.random((35, 6)) >= zeros), data(rng, (35, 3))
    start, names = exact(net.weights), [for_reference(name) for name in (hidden, hidden, output)]
    batches = [range(i, min(i + batch_size, 35)) for i in range(0, 35, batch_size)] * 2

    def train(weights):
        return ref.train(weights, names, "mse", X, y, batches, "sgd", {"lr": 0.05})[0]

    options = {"batch_size": batch_size, "epochs": 2, "shuffle": False, "threads": 2}
    net.fit(X, y, loss="mse", optimizer=fn.SGD(0.05), **options, **QUIET)
    tolerance = drift(train, start, len(batches), dtype, rng)
    assert tolerance < 1e-2 * abs(flat(train(start)) - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - flat(train(start))).max() <= tolerance


@pytest.mark.parametrize("batch_size", [1, 8, "full"])
@pytest.mark.parametrize("name", ["gelu", "hard_tanh", "noisy_relu", "custom"])
def test_the_same_bits_on_any_number_of_threads_and_in_two_fits(name, batch_size, rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PASS_ROWS", 64)
    X, y = data(rng, (201, 7)), data(rng, (201, 3))
    activation = FROM_Z.get(name, name)
    nets = [fn.MLP([7, 33, 70, 3], activation=activation, output=activation, seed=3) for _ in range(4)]
    for threads, net in enumerate(nets[:3], start=1):
        net.fit(X, y, batch_size=batch_size, epochs=4, threads=threads, **QUIET)
    for epochs in (1, 3):
        nets[3].fit(X, y, batch_size=batch_size, epochs=epochs, threads=2, **QUIET)
    assert all(same(net.weights, nets[0].weights) for net in nets[1:])
    assert np.isfinite(flat(nets[0].weights)).all()


# Noisy ReLU


@njit(**FLAGS)
def draw(out, count, layer, sample, t, seed):
    random_kernels.normals(address(out, 0), count, random_kernels.NOISY_RELU + layer, sample, t, seed)


def noise(shape, layer, t, seed, dtype):
    """The numbers of samples 0, 1, ..., a row each, as the trainer draws them (test_rng.py checks those)."""
    out = np.zeros((shape[0], -(-shape[1] // random_kernels.GROUP) * random_kernels.GROUP), dtype)
    for sample, row in enumerate(out):
        draw(row, shape[1], layer, sample, t, seed)
    return out[:, : shape[1]].astype(np.float64)


def noisy_step(weights, X, y, lr, t, seed, dtype):
    """One step of plain descent on half_mse through two noisy layers, from the formulas."""
    (W1, b1), (W2, b2) = weights
    a1 = curves.noisy_relu(X @ W1 + b1, noise((len(X), len(b1)), 1, t, seed, dtype))
    a2 = curves.noisy_relu(a1 @ W2 + b2, noise((len(X), len(b2)), 2, t, seed, dtype))
    delta2 = (a2 - y) / len(X) * (a2 > 0)
    delta1 = delta2 @ W2.T * (a1 > 0)
    gradients = [(X.T @ delta1, delta1.sum(axis=0)), (a1.T @ delta2, delta2.sum(axis=0))]
    return [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(weights, gradients, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_noisy_relu_trains_with_the_noise_of_sample_and_step(dtype, rng):
    net = network(rng, (3, 70, 2), activation="noisy_relu", output="noisy_relu", dtype=dtype, seed=2**40 + 5)
    X, y, weights = data(rng, (9, 3)), data(rng, (9, 2)), exact(net.weights)
    net.fit(X, y, loss="half_mse", optimizer=fn.SGD(0.1), batch_size="full", epochs=3, shuffle=False, **QUIET)
    for t in (1, 2, 3):
        weights = noisy_step(weights, X, y, 0.1, t, net.seed, dtype)
    assert abs(flat(net.weights) - flat(weights)).max() <= 1000 * np.finfo(dtype).eps


def test_noisy_relu_is_relu_outside_of_training(rng):
    noisy = network(np.random.default_rng(1), (3, 20, 2), activation="noisy_relu", output="noisy_relu")
    plain = network(np.random.default_rng(1), (3, 20, 2), activation="relu", output="relu")
    X, y = data(rng, (40, 3)), data(rng, (40, 2))
    assert noisy.predict(X).tobytes() == plain.predict(X).tobytes()
    assert noisy.evaluate(X, y) == plain.evaluate(X, y)
    assert same(noisy.gradient(X, y), plain.gradient(X, y))


def test_noisy_relu_learns(rng):
    X = rng.uniform(-1, 1, (300, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    net = fn.MLP([2, 64, 2], activation="noisy_relu", output="softmax")
    net.fit(X, y, optimizer=fn.Adam(0.01), epochs=150, batch_size=30, **QUIET)
    assert net.evaluate(X, y)["accuracy"] > 0.9


# Threshold


def test_threshold_needs_a_surrogate_to_train(rng):
    X, y = data(rng, (20, 3)), rng.integers(0, 2, 20)
    net = fn.MLP([3, 8, 2], activation="threshold", output="softmax")
    for train in (lambda: net.fit(X, y, **QUIET), lambda: net.gradient(X, y)):
        with pytest.raises(fn.InputError, match="straight_through"):
            train()
    assert net.predict(X).shape == (20, 2)


@pytest.mark.parametrize("batch_size", [1, 20])
def test_threshold_learns_through_its_surrogate(batch_size, rng):
    X = rng.uniform(-1, 1, (200, 2))
    y = (X.sum(axis=1) > 0).astype(int)
    net = fn.MLP([2, 32, 2], activation=fn.Threshold("straight_through"), output="softmax")
    net.fit(X, y, optimizer=fn.SGD(0.05), epochs=60, batch_size=batch_size, **QUIET)
    assert net.evaluate(X, y)["accuracy"] > 0.9


# Users' own functions


def test_own_functions_equal_built_in_ones(rng):
    X, y = data(rng, (64, 5)), data(rng, (64, 2))
    nets = [network(np.random.default_rng(1), (5, 40, 2), activation=name, dtype="float64") for name in ("silu", OWN)]
    for net in nets:
        net.fit(X, y, epochs=5, batch_size=16, **QUIET)
    assert abs(flat(nets[0].weights) - flat(nets[1].weights)).max() <= 1e-10
    assert repr(nets[1]) == "MLP(5-40-2; silu, linear; float64)"
    assert "silu" in nets[1].summary()


def test_own_functions_in_files(rng, tmp_path):
    X, y = data(rng, (30, 3)), data(rng, (30, 2))
    net = fn.MLP([3, 9, 2], activation=fn.CustomActivation(silu, silu_derivative, name="mine"))
    net.fit(X, y, epochs=2, **QUIET)
    net.save(tmp_path / "model")
    read = fn.MLP.load(tmp_path / "model", custom={"mine": OWN})
    assert read.predict(X).tobytes() == net.predict(X).tobytes()
    assert read.layers == net.layers
    for custom in (None, {}, {"other": OWN}):
        with pytest.raises(fn.FileError, match=r"custom activation 'mine'.*custom="):
            fn.MLP.load(tmp_path / "model", custom=custom)
    for custom in (OWN, {"mine": silu}):
        with pytest.raises(fn.InputError, match=r"fastnn\.CustomActivation"):
            fn.MLP.load(tmp_path / "model", custom=custom)
    with pytest.raises(fn.InputError, match=r"custom has 'main', 'other', but .*model needs 'mine'"):
        fn.MLP.load(tmp_path / "model", custom={"other": OWN, "mine": OWN, "main": OWN})
    fn.MLP([3, 2]).save(tmp_path / "plain")
    with pytest.raises(fn.InputError, match=r"custom has 'mine', but .*plain has no custom activations"):
        fn.MLP.load(tmp_path / "plain", custom={"mine": OWN})


WRONG = {
    "another derivative": (lambda: fn.CustomActivation(silu, lambda z: 1.0), "finite differences", "'silu'", "check"),
    "wrong on one side": (lambda: fn.CustomActivation(lambda z: abs(z), lambda z: 1.0 if z > -2 else -1.0), "z = -1."),
    "no Python function": (lambda: fn.CustomActivation(math.tanh, silu), "njit function", "built-in"),
    "no function": (lambda: fn.CustomActivation(3, silu), "function", "got 3"),
    "no number": (lambda: fn.CustomActivation(lambda z: (z, z), silu), "function", "must give a number"),
    "not finite": (lambda: fn.CustomActivation(lambda z: math.sqrt(z), silu), "function", "finite numbers", "nan"),
    "does not compile": (lambda: fn.CustomActivation(lambda z: id(z), silu), "cannot compile the function"),
    "name": (lambda: fn.CustomActivation(silu, silu_derivative, name=3), "name", "string", "got 3"),
    "by name": (lambda: fn.MLP([3, 2, 2], activation="custom"), "activation 'custom'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_functions(case):
    build, *parts = WRONG[case]
    with pytest.raises(fn.InputError) as caught:
        build()
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_surrogate_passes_where_asked(rng):
    step = fn.CustomActivation(lambda z: 1.0 if z > 0 else 0.0, lambda z: 1.0, check=False)
    X, y = data(rng, (20, 3)), data(rng, (20, 2))
    nets = [
        network(np.random.default_rng(1), (3, 8, 2), activation=a) for a in (step, fn.Threshold("straight_through"))
    ]
    assert same(nets[0].gradient(X, y), nets[1].gradient(X, y))
