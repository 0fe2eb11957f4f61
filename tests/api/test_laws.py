"""Laws of training: the same bits on any number of threads, in one fit or two, for units in any order."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, same

import fastnn as fn
from fastnn import division
from fastnn_kernels import reference as ref

OPTIMIZERS = ["sgd", "momentum", "nesterov", "adam"]
QUIET = {"progress": False}


def labelled(rng, rows, n_in=7):
    return data(rng, (rows, n_in)), rng.integers(0, 3, rows)


def new(**options):
    return fn.MLP([7, 33, 17, 3], activation="tanh", output="softmax", **options)


def assert_same_runs(nets, histories):
    for net, history in zip(nets[1:], histories[1:], strict=True):
        assert same(net.weights, nets[0].weights)
        assert net.fitted.optimizer.values.tobytes() == nets[0].fitted.optimizer.values.tobytes()
        for name in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
            assert getattr(history, name) == getattr(histories[0], name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("optimizer", "batch_size", "penalty", "zeros"),
    [
        ("sgd", 1, None, 0.0),
        ("sgd", 1, None, 0.8),
        ("adam", 1, None, 0.0),
        ("sgd", 7, fn.L1(0.1), 0.0),
        ("momentum", 64, None, 0.0),
        ("adam", "full", fn.L2(0.1), 0.0),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(optimizer, batch_size, penalty, zeros, dtype, rng):
    X, y = labelled(rng, 201)
    X[rng.random(X.shape) < zeros] = 0.0
    nets = [new(dtype=dtype) for _ in range(3)]
    options = {"optimizer": optimizer, "batch_size": batch_size, "penalty": penalty, "epochs": 3, "validation": 0.2}
    histories = [net.fit(X, y, threads=i, **options, **QUIET) for i, net in enumerate(nets, start=1)]
    assert_same_runs(nets, histories)


@pytest.mark.parametrize(
    "rows", [2 * division.PASS_ROWS + 77, 2 * division.PARTS * division.PART_ROWS + 5], ids=["passes", "parts"]
)
def test_any_number_of_threads_gives_the_same_bits_where_a_batch_is_divided(rows, rng):
    X, y = labelled(rng, rows)
    nets = [new() for _ in range(3)]
    options = {"batch_size": "full", "epochs": 2, "validation": (X[:130], y[:130])}
    histories = [net.fit(X, y, threads=i, **options, **QUIET) for i, net in enumerate(nets, start=1)]
    assert_same_runs(nets, histories)


def test_any_number_of_threads_predicts_the_same_bits(rng, monkeypatch):
    X, y = labelled(rng, 700)
    net, results = new(), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(division, "choose_threads", lambda net, batch, asked, threads=threads: threads)
        results.append((net.predict(X).tobytes(), net.loss(X, y), flat(net.gradient(X, y)).tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_fits_are_one(optimizer, batch_size, rng):
    X, y = labelled(rng, 60)
    nets = [new(), new()]
    options = {"optimizer": optimizer, "batch_size": batch_size, "validation": 0.2, "normalize": "standard"}
    whole = nets[0].fit(X, y, epochs=10, **options, **QUIET)
    halves = [nets[1].fit(X, y, epochs=5, **options, **QUIET) for _ in range(2)]
    joined = fn.History(
        *(getattr(halves[0], name) + getattr(halves[1], name) for name in vars(whole)),
    )
    assert_same_runs(nets, [whole, joined])
    assert nets[0].fitted.optimizer.steps == nets[1].fitted.optimizer.steps == 10 * -(-48 // batch_size)


@pytest.mark.parametrize(("optimizer", "batch_size"), [("sgd", 1), ("sgd", 8), ("adam", 8)])
def test_two_fits_are_one_without_validation(optimizer, batch_size, rng):
    """Short epochs run several at a time; that changes nothing."""
    X, y = labelled(rng, 60)
    nets = [new(), new(), new()]
    options = {"optimizer": optimizer, "batch_size": batch_size}
    whole = nets[0].fit(X, y, epochs=40, **options, **QUIET)
    seen = []

    class Watch(fn.Callback):
        def epoch_end(self, net, history):
            seen.append(len(history.loss))

    watched = nets[1].fit(X, y, epochs=40, callbacks=Watch(), **options, **QUIET)
    parts = [nets[2].fit(X, y, epochs=n, **options, **QUIET) for n in (1, 2, 37)]
    joined = fn.History(*([value for part in parts for value in getattr(part, name)] for name in vars(whole)))
    assert_same_runs(nets, [whole, watched, joined])
    assert seen == list(range(1, 41))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_reset_starts_over(optimizer, rng):
    X, y = labelled(rng, 40)
    other, its_y = labelled(rng, 50)
    net, fresh = new(), new()
    net.fit(other, its_y + 5, optimizer="momentum", epochs=3, normalize="minmax", **QUIET)
    options = {"optimizer": optimizer, "batch_size": 8, "epochs": 4, "validation": 0.2}
    histories = [fresh.fit(X, y, **options, **QUIET), net.fit(X, y, reset=True, **options, **QUIET)]
    assert_same_runs([fresh, net], histories)
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.fitted.optimizer.epochs == 4


def test_another_optimizer_begins_afresh(rng):
    X, y = labelled(rng, 40)
    net, other = new(), new()
    for optimizer, epochs in (("adam", 2), ("momentum", 3)):
        net.fit(X, y, optimizer=optimizer, epochs=epochs, shuffle=False, **QUIET)
    other.fit(X, y, optimizer="adam", epochs=2, shuffle=False, **QUIET)
    fresh = new()
    fresh.set_weights(other.weights)
    fresh.fit(X, y, optimizer="momentum", epochs=3, shuffle=False, **QUIET)
    assert same(net.weights, fresh.weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, "full"])
def test_the_order_of_hidden_units_changes_nothing_but_rounding(batch_size, dtype, rng):
    net, permuted = (network(np.random.default_rng(1), (5, 33, 2), activation="tanh", dtype=dtype) for _ in range(2))
    X, y = data(rng, (15, 5)), data(rng, (15, 2))
    order = rng.permutation(33)

    def mixed(weights):
        (W1, b1), (W2, b2) = weights
        return [(W1[:, order], b1[order]), (W2[order], b2)]

    permuted.set_weights(mixed(net.weights))
    size = 15 if batch_size == "full" else batch_size
    batches = [range(i, i + size) for i in range(0, 15, size)] * 3

    def train(weights):
        return ref.train(weights, ["tanh", "linear"], "mse", X, y, batches, "sgd", {"lr": 0.05})[0]

    tolerance = 2 * drift(train, exact(net.weights), len(batches), dtype, rng)
    for one in (net, permuted):
        one.fit(X, y, optimizer=fn.SGD(0.05), batch_size=batch_size, epochs=3, shuffle=False, **QUIET)
    assert abs(flat(mixed(net.weights)) - flat(permuted.weights)).max() <= tolerance


def test_weights_of_zero_width_padding_do_not_matter(rng):
    """A unit whose weights are all 0 and stay so changes no bit of the others' training."""
    X, y = data(rng, (30, 4)), data(rng, (30, 1))
    (W1, b1), (W2, b2) = exact(network(rng, (4, 20, 1)).weights)
    narrow, wide = fn.MLP([4, 20, 1]), fn.MLP([4, 21, 1])
    narrow.set_weights([(W1, b1), (W2, b2)])
    wide.set_weights([(np.pad(W1, ((0, 0), (0, 1))), np.append(b1, 0)), (np.pad(W2, ((0, 1), (0, 0))), b2)])
    for net in (narrow, wide):
        net.fit(X, y, optimizer="sgd", batch_size=8, epochs=3, **QUIET)
    (W1, b1), (W2, b2) = wide.weights
    assert same(narrow.weights, [(np.ascontiguousarray(W1[:, :20]), b1[:20]), (W2[:20], b2)])
