"""Threads that divide a layer's panels of weights compute what threads that divide the rows of a batch do."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, same

import fastnn as fn
from fastnn import division
from fastnn_kernels import layout
from fastnn_kernels import reference as ref
from fastnn_kernels.claim import MANY_ROWS
from fastnn_kernels.noise import DROPCONNECT, DROPOUT, SAMPLE_CONNECT

SIZES = [7, 33, 70, 40]
NEVER, ALWAYS, SECOND = 10**9, 0, 33 * 70  # weights from which on a layer's panels are divided
QUIET = {"progress": False}


def dense(noise=None, **options):
    """Two hidden layers alike, and the last one, which may have noise."""
    hidden = [fn.Dense(33, "tanh", noise=noise, **options), fn.Dense(70, "relu", noise=noise, **options)]
    return [*hidden, fn.Dense(40, "linear", noise=noise)]


CUSTOM = fn.CustomActivation(lambda z: z / (1.0 + abs(z)), lambda z: 1.0 / (1.0 + abs(z)) ** 2, name="softsign")
LAYERS = {
    "plain": dense(),
    "batch norm": dense(norm="batch"),
    "layer norm": dense(norm="layer"),
    "dropout": dense(dropout=0.3),
    "dropout per batch": [fn.Dense(33, "tanh", dropout=fn.Dropout(0.4, "batch")), *dense()[1:]],
    "dropout per epoch": [dense()[0], fn.Dense(70, "relu", dropout=fn.Dropout(0.4, "epoch")), dense()[2]],
    "drop_connect": dense(noise=fn.DropConnect(0.3)),
    "drop_connect per sample": [dense()[0], fn.Dense(70, "relu", noise=fn.DropConnect(0.3, "sample")), dense()[2]],
    "shakeout": dense(noise=fn.Shakeout(0.2, 0.05)),
    "whiteout": dense(noise=fn.Whiteout(0.1)),
    "custom": [fn.Dense(33, CUSTOM), fn.Dense(70, "gelu"), fn.Dense(40, CUSTOM)],
    "noisy_relu": [fn.Dense(33, "noisy_relu"), fn.Dense(70, "noisy_relu"), fn.Dense(40, "linear")],
}
OPTIONS = {
    "adam": {"optimizer": "adam"},
    "clipped": {"optimizer": fn.Momentum(0.01), "clip": fn.ClipNorm(0.5), "penalty": fn.L1(0.1)},
    "augmented": {"optimizer": "adam", "augment": fn.augment.Image(1, 7, shift=1, noise=0.1)},
    "normalized": {"optimizer": fn.Momentum(0.01), "normalize": "standard", "batch_size": 5},
    "passes": {"optimizer": "adam", "batch_size": 90},
    "one sample": {"optimizer": fn.SGD(0.01), "batch_size": 1},
    "one sample normalized": {"optimizer": fn.SGD(0.01), "batch_size": 1, "normalize": "standard"},
}


@pytest.fixture
def from_weights(monkeypatch):
    monkeypatch.setattr(division, "PASS_ROWS", 64)

    def set_(count):
        monkeypatch.setattr(division, "PANEL_WEIGHTS", count)

    return set_


def run(layers, threads, options, rng, dtype="float32", samples=131):
    net = fn.MLP(7, layers, dtype=dtype, seed=3)
    X, y = data(rng, (samples, 7)), data(rng, (samples, 40))
    history = net.fit(X, y, loss="mse", threads=threads, epochs=3, **{"batch_size": 31, **options}, **QUIET)
    return net, history.loss


@pytest.mark.parametrize("smallest", [ALWAYS, SECOND], ids=["all", "second"])
@pytest.mark.parametrize(
    ("name", "kind", "dtype"),
    [
        *[(name, "adam", "float32") for name in LAYERS],
        *[("plain", kind, "float32") for kind in OPTIONS if kind != "adam"],
        *[(name, "adam", "float64") for name in ("plain", "batch norm", "dropout per batch")],
    ],
)
def test_the_same_bits_by_rows_and_by_panels(name, kind, smallest, dtype, from_weights):
    from_weights(NEVER)
    expected, losses = run(LAYERS[name], 1, OPTIONS[kind], np.random.default_rng(0), dtype)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    from_weights(smallest)
    for threads in (2, 3):
        net, its = run(LAYERS[name], threads, OPTIONS[kind], np.random.default_rng(0), dtype)
        assert its == losses
        assert same(net.weights, expected.weights)


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_bits_where_workers_help_each_other(name, monkeypatch):
    def train(threads, smallest):
        monkeypatch.setattr(division, "PANEL_WEIGHTS", smallest)
        options = {"batch_size": MANY_ROWS + 21}
        return run(LAYERS[name], threads, options, np.random.default_rng(0), samples=2 * MANY_ROWS + 50)

    expected, losses = train(1, NEVER)
    for threads in (2, 3):
        net, its = train(threads, ALWAYS)
        assert its == losses
        assert same(net.weights, expected.weights)


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_by_panels_is_that_of_the_oracle(dtype, from_weights, rng):
    from_weights(ALWAYS)
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    X, y = data(rng, (101, 7)), data(rng, (101, 40))
    batches = [range(i, min(i + 31, 101)) for i in range(0, 101, 31)] * 2
    start = exact(net.weights)

    def train(weights):
        return ref.train(weights, ["tanh", "tanh", "linear"], "mse", X, y, batches, "sgd", {"lr": 0.1})[0]

    options = {"batch_size": 31, "epochs": 2, "shuffle": False, "threads": 3}
    net.fit(X, y, loss="mse", optimizer=fn.SGD(0.1), **options, **QUIET)
    tolerance = drift(train, start, len(batches), dtype, rng)
    assert tolerance < 1e-2 * abs(flat(train(start)) - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - flat(train(start))).max() <= tolerance


def test_which_layers_are_divided():
    sizes, plain, room = [784, 128, 64, 10], [0, 0, 0], 32 * 784
    assert division.panels(sizes, plain, 32, 1, room) == ([False] * 3, 1)
    assert division.panels(sizes, plain, 32, 2, room) == ([True, False, False], 2)
    assert division.panels(sizes, [DROPOUT, DROPCONNECT, 0], 32, 2, room) == ([True, False, False], 2)
    assert division.panels(sizes, plain, 33, 2, room) == ([True, False, False], 1)
    assert division.panels(sizes, plain, 17, 3, room) == ([True, False, False], 1)
    assert division.panels(sizes, [SAMPLE_CONNECT, 0, 0], 32, 2, room) == ([False] * 3, 1)
    assert division.panels([8, 2000, 2000, 10], plain, 32, 8, room) == ([False, True, True], 1)


def test_layers_of_a_matrix_unit_are_divided_where_their_weights_are_many():
    """Else each thread takes its rows through them, if it has enough of those."""
    sizes, plain, room = [784, 400, 300, 900, 10], [0, 0, 0, 0], 10**9
    by_unit = [True, True, True, False]
    assert division.panels(sizes, plain, 512, 2, room) == ([True, True, True, False], 2)
    assert division.panels(sizes, plain, 512, 2, room, by_unit) == ([False, False, True, False], 1)
    assert division.panels(sizes, plain, 256, 2, room, by_unit) == ([True, False, True, False], 2)
    assert division.panels(sizes, plain, 256, 3, room, by_unit) == ([True, True, True, False], 3)
    assert division.panels(sizes, plain, 512, 1, room, by_unit) == ([False] * 4, 1)


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_the_inputs_lie_apart(copies):
    plan = layout.parameters(SIZES, [0, 0, 0], np.dtype(np.float32))
    shared = layout.workspace(plan, 13, 3)
    space = layout.workspace(plan, 13, 3, by_panels=[True, False, True], copies=copies)
    assert space.meets
    assert not shared.meets
    assert space.table[:, layout.BY_PANELS].tolist() == [0, 1, 0, 1]
    rows = space.rows * int(space.table[0, layout.STRIDE])
    first, behind = space.table[:2, layout.A]
    if copies > 1:
        assert space.inputs >= rows
        assert behind - first >= 3 * space.inputs
        assert space.count == shared.count + 2 * space.inputs
    else:
        assert (space.inputs, space.count) == (0, shared.count)
