"""Training by a processor's matrix unit: what the oracle computes, and the same bits on any number of threads."""

import numpy as np
import pytest
from helpers import data, drift, exact, flat, network, same
from test_panels import ALWAYS, LAYERS, NEVER, OPTIONS, QUIET, run

import fastnn as fn
from fastnn import division
from fastnn_kernels import machine
from fastnn_kernels import reference as ref

pytestmark = pytest.mark.skipif(not machine.HAS_MATRIX, reason="this processor has no matrix unit")


@pytest.fixture
def choose(monkeypatch):
    def set_(least, weights=NEVER):
        """least: rows and width from which on the unit multiplies; weights: from which on panels are divided."""
        monkeypatch.setattr(division, "MATRIX_LEAST_ROWS", least)
        monkeypatch.setattr(division, "MATRIX_LEAST_WIDTH", least)
        monkeypatch.setattr(division, "PANEL_WEIGHTS", weights)
        monkeypatch.setattr(division, "MATRIX_ROWS_OF_THREAD", NEVER)

    return set_


@pytest.mark.parametrize(
    ("name", "kind"), [*[(name, "adam") for name in LAYERS], *[("plain", kind) for kind in OPTIONS if kind != "adam"]]
)
def test_the_same_bits_at_any_number_of_threads(name, kind, choose):
    choose(ALWAYS)
    expected, losses = run(LAYERS[name], 1, OPTIONS[kind], np.random.default_rng(0))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    for threads, weights in ((2, NEVER), (2, ALWAYS), (3, ALWAYS)):
        choose(ALWAYS, weights)
        net, its = run(LAYERS[name], threads, OPTIONS[kind], np.random.default_rng(0))
        assert its == losses
        assert same(net.weights, expected.weights)


@pytest.mark.parametrize(
    ("sizes", "samples", "batch"),
    [
        ([100, 130, 77, 10], 101, 40),
        ([17, 33, 16, 5], 67, 67),
        ([300, 70, 1], 35, 33),
        ([40, 48, 600, 30], 1100, 1100),  # three passes
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_training_is_that_of_the_oracle(sizes, samples, batch, threads, choose, rng):
    choose(ALWAYS, ALWAYS)
    net = network(rng, sizes, activation="tanh")
    X, y = data(rng, (samples, sizes[0])), data(rng, (samples, sizes[-1]))
    batches = [range(i, min(i + batch, samples)) for i in range(0, samples, batch)] * 2
    start = exact(net.weights)

    def train(weights):
        kinds = ["tanh"] * (len(sizes) - 2) + ["linear"]
        return ref.train(weights, kinds, "mse", X, y, batches, "sgd", {"lr": 0.1})[0]

    options = {"batch_size": batch, "epochs": 2, "shuffle": False, "threads": threads}
    net.fit(X, y, loss="mse", optimizer=fn.SGD(0.1), **options, **QUIET)
    tolerance = drift(train, start, len(batches), "float32", rng)
    assert tolerance < 1e-2 * abs(flat(train(start)) - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - flat(train(start))).max() <= tolerance


def test_parts_of_a_large_batch_take_the_unit(choose, rng):
    """As wide as it is chosen for by itself: the same bits by any number of threads, and close to those without it."""
    samples = 4096 + 3  # the second batch leaves parts without rows
    X, y = data(rng, (samples, 64)), rng.integers(0, 10, samples)

    def train(threads):
        net = fn.MLP([64, 256, 256, 10], activation="relu", output="softmax", seed=1)
        net.fit(X, y, batch_size=4096, epochs=3, optimizer=fn.SGD(0.1), threads=threads, shuffle=False, **QUIET)
        return net

    start = flat(exact(fn.MLP([64, 256, 256, 10], activation="relu", output="softmax", seed=1).weights))
    assert "the matrix unit multiplies in layer 2" in train(1).explain(4096, "sgd")
    one, three = train(1), train(3)
    assert same(one.weights, three.weights)
    choose(10**9)
    without = flat(exact(train(1).weights))
    moved = abs(without - start).max()
    assert 0.0 < abs(flat(exact(one.weights)) - without).max() < 1e-3 * moved


def test_what_is_not_finite_stops_the_run(choose, rng):
    choose(ALWAYS)
    X, y = data(rng, (64, 40)), data(rng, (64, 40))
    net = fn.MLP([40, 50, 40], activation="relu")
    with pytest.raises(fn.DivergenceError):
        net.fit(X, y, loss="mse", optimizer=fn.SGD(1e20), batch_size=32, epochs=5, threads=1, **QUIET)
    assert all(np.isfinite(w).all() and np.isfinite(b).all() for w, b in net.weights)
