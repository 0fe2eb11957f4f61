"""Weights of samples wherever steps are done in another way: one by one, skipping zeros, in parts, on two threads."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, same

import fastnn as fn
from fastnn import division
from fastnn.data.split import draw
from fastnn_kernels import reference as ref

QUIET = {"progress": False}
SIZES, NAMES = (5, 17, 3), ["tanh", "linear"]


def problem(rng, rows):
    """X, y and weights, every fifth of them 0."""
    weights = abs(data(rng, (rows,)))
    weights[::5] = 0
    return data(rng, (rows, 5)), data(rng, (rows, 3)), weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch_size", "zeros"), [(1, 0.0), (1, 0.8), (8, 0.0)])
def test_training(batch_size, zeros, dtype, rng):
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    start = exact(net.weights)
    X, y, weights = problem(rng, 21)
    X *= rng.random(X.shape) >= zeros
    batches = [np.arange(i, min(i + batch_size, 21)) for i in range(0, 21, batch_size)] * 3

    def train(moved):
        for rows in batches:
            slopes = ref.gradient(moved, NAMES, ("mse", {"weights": weights[rows]}), X[rows], y[rows])
            moved = [(W - 0.05 * dW, b - 0.05 * db) for (W, b), (dW, db) in zip(moved, slopes, strict=True)]
        return moved

    options = {"batch_size": batch_size, "epochs": 3, "shuffle": False, "sample_weight": weights, **QUIET}
    net.fit(X, y, loss="mse", optimizer=fn.SGD(0.05), **options)
    expected, tolerance = flat(train(start)), drift(train, start, len(batches), dtype, rng)
    assert abs(flat(net.weights) - expected).max() <= tolerance < 1e-2 * abs(expected - flat(start)).max()


def test_any_number_of_threads_and_a_run_in_two_parts(rng):
    X, y, weights = problem(rng, 150)
    nets = [network(np.random.default_rng(0), (5, 33, 3), activation="tanh") for _ in range(3)]
    options = {"batch_size": 64, "sample_weight": weights, "loss": "huber", **QUIET}
    nets[0].fit(X, y, epochs=4, threads=1, **options)
    nets[1].fit(X, y, epochs=4, threads=2, **options)
    nets[2].fit(X, y, epochs=2, threads=2, **options)
    nets[2].fit(X, y, epochs=2, threads=1, **options)
    assert same(nets[0].weights, nets[1].weights)
    assert same(nets[0].weights, nets[2].weights)


def test_a_batch_in_parts(rng, monkeypatch):
    monkeypatch.setattr(division, "PASS_ROWS", 32)
    net = network(rng, SIZES, activation="tanh", dtype="float64")
    X, y, weights = problem(rng, 101)
    expected = flat(ref.gradient(exact(net.weights), NAMES, ("mse", {"weights": weights}), X, y))
    assert flat(net.gradient(X, y, loss="mse", sample_weight=weights)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("y", [np.arange(6) % 3 == 1, np.array([0.0, 1, 0, 0, 1, 0]), list("nynnyn")], ids=str)
def test_two_classes_at_one_output(y, rng):
    X, net = data(rng, (6, 4)), network(rng, (4, 1), output="sigmoid")
    rare = np.isin(np.asarray(y), [np.unique(y)[1]])
    assert net.loss(X, y, class_weight="balanced") == net.loss(X, y, sample_weight=np.where(rare, 1.5, 0.75))


def test_balanced_finds_the_rare_class(rng):
    y = (rng.random(2000) < 0.05).astype(np.int64)
    X, recalls = data(rng, (2000, 1)) + y[:, None], []
    for class_weight in (None, "balanced"):
        net = fn.MLP([1, 2], output="softmax", seed=1)
        net.fit(X, y, epochs=20, optimizer=fn.Adam(0.05), class_weight=class_weight, **QUIET)
        recalls.append(net.predict_class(X)[y == 1].mean())
    assert recalls[0] < 0.2 < 0.5 < recalls[1]


def test_poisson_finds_the_rates(rng):
    X = rng.uniform(-1, 1, (2000, 2))
    net = fn.MLP([2, 1], dtype="float64")
    y = rng.poisson(np.exp(X @ [1.0, -0.5] + 0.3))
    net.fit(X, y, loss="poisson", epochs=30, optimizer=fn.Adam(0.02), **QUIET)
    assert flat(net.weights) == pytest.approx([1.0, -0.5, 0.3], abs=0.15)


def test_weights_that_leave_the_range_or_nothing_to_train_on(rng):
    X, y = data(rng, (8, 3)), np.arange(8) % 2
    net = fn.MLP([3, 2], output="softmax")
    before = net.params.copy()
    with pytest.raises(fn.InputError, match="weight of sample 1 is too large for float32"):
        net.fit(X, y, class_weight={1: 1e39}, **QUIET)
    with pytest.raises(fn.InputError, match="weight of sample 1 is too large for float32"):
        net.fit(X, y, class_weight={1: 1e30}, sample_weight=np.full(8, 1e30), **QUIET)
    with pytest.raises(fn.InputError, match="not held out are 0"):
        net.fit(X, y, validation=0.5, sample_weight=draw(y, 0.5, net.seed), **QUIET)
    assert net.params.tobytes() == before.tobytes()
