"""Training: what is computed, and what the history says of it."""

import math

import numpy as np
import pytest
from helpers import DTYPES, assert_close, data, drift, exact, fisher_yates, flat, gradient_error, network, same

import fastnn as fn
from fastnn.data.split import split
from fastnn.session import EVALUATION_BLOCK
from fastnn_kernels import reference as ref

SIZES = (5, 17, 3)
ACTIVATIONS = ["tanh", "linear"]
QUIET = {"progress": False}


def assert_trains_as_the_oracle(net, X, y, batches, rng, constants, **options):
    """One fit against one step of the oracle for each of the batches, from the network's weights."""
    start, steps = exact(net.weights), len(batches)

    def train(weights):
        return ref.train(weights, ACTIVATIONS, "mse", X, y, batches, "sgd", constants)[0]

    net.fit(X, y, loss="mse", optimizer=fn.SGD(**constants), **options, **QUIET)
    expected = flat(train(start))
    tolerance = drift(train, start, steps, str(net.dtype), rng)
    assert tolerance < 1e-2 * abs(expected - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - expected).max() <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [8, 20, 21])
def test_the_last_short_batch_is_averaged_over_its_own_length(batch_size, dtype, rng):
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    X, y = data(rng, (21, 5)), data(rng, (21, 3))
    batches = [np.arange(i, min(i + batch_size, 21)) for i in range(0, 21, batch_size)] * 3
    options = {"batch_size": batch_size, "epochs": 3, "shuffle": False}
    assert_trains_as_the_oracle(net, X, y, batches, rng, {"lr": 0.1}, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zeros", [0.0, 0.8, 0.95], ids=["dense", "sparse", "very sparse"])
@pytest.mark.parametrize("sizes", [SIZES, (5, 3), (53, 40, 3), (53, 100, 3)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_stochastic_steps(threads, sizes, zeros, dtype, rng, monkeypatch):
    monkeypatch.setitem(globals(), "ACTIVATIONS", ["tanh"] * (len(sizes) - 2) + ["linear"])
    net = network(rng, sizes, activation="tanh", dtype=dtype)
    X, y = data(rng, (46, sizes[0])) * (rng.random((46, sizes[0])) >= zeros), data(rng, (46, 3))
    batches = [[i] for i in range(46)] * 2
    options = {"batch_size": 1, "epochs": 2, "shuffle": False, "threads": threads}
    assert_trains_as_the_oracle(net, X, y, batches, rng, {"lr": 0.05}, **options)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_new_order_every_epoch_that_follows_from_the_seed(batch_size, rng):
    net = network(rng, SIZES, activation="tanh", dtype="float64", seed=7)
    X, y = data(rng, (21, 5)), data(rng, (21, 3))
    orders = [fisher_yates(21, 7, epoch) for epoch in range(3)]
    batches = [order[i : i + batch_size] for order in orders for i in range(0, 21, batch_size)]
    assert_trains_as_the_oracle(net, X, y, batches, rng, {"lr": 0.1}, batch_size=batch_size, epochs=3)


def test_batches_longer_than_a_pass(rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PASS_ROWS", 32)
    net = network(rng, SIZES, activation="tanh", dtype="float64")
    X, y = data(rng, (101, 5)), data(rng, (101, 3))
    batches = [np.arange(70), np.arange(70, 101)] * 3
    assert_trains_as_the_oracle(net, X, y, batches, rng, {"lr": 0.1}, batch_size=70, epochs=3, shuffle=False)


@pytest.mark.parametrize("rows", [101, 72])  # after the first batch 31 rows, or fewer than parts
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("clip", [None, fn.ClipNorm(1e9)])
def test_batches_that_are_divided_into_parts(rows, threads, clip, rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PARTS", 4)
    monkeypatch.setattr(fn.division, "PART_ROWS", 8)
    net = network(rng, SIZES, activation="tanh", dtype="float64")
    assert fn.division.parts_and_rows(net, 70) == (4, 8)
    X, y = data(rng, (rows, 5)), data(rng, (rows, 3))
    batches = [np.arange(70), np.arange(70, rows)] * 3
    options = {"batch_size": 70, "epochs": 3, "shuffle": False, "threads": threads, "clip": clip}
    assert_trains_as_the_oracle(net, X, y, batches, rng, {"lr": 0.1}, **options)


@pytest.mark.parametrize("batch", [40, 70])  # together, and in parts
@pytest.mark.parametrize("clip", [None, fn.ClipNorm(0.01)])
def test_padding_of_the_weights_stays_zero(batch, clip, rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PARTS", 4)
    monkeypatch.setattr(fn.division, "PART_ROWS", 8)
    net = network(rng, SIZES, activation="sigmoid", dtype="float64")
    net.fit(data(rng, (batch, 5)), data(rng, (batch, 3)), batch_size="full", epochs=5, clip=clip, **QUIET)
    assert np.count_nonzero(net.params) == np.count_nonzero(flat(net.weights))


def test_xor():
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    net = fn.MLP([2, 8, 2], activation="tanh", output="softmax")
    history = net.fit(X, y, optimizer=fn.Adam(0.05), epochs=200, batch_size="full", **QUIET)
    assert net.predict_class(X).tolist() == [0, 1, 1, 0]
    assert history.accuracy[-1] == 1


@pytest.mark.parametrize("y_of", [lambda y: y, lambda y: y.reshape(-1, 1)], ids=["1-D", "2-D"])
def test_regression(y_of, rng):
    X = rng.uniform(-1, 1, (200, 2))
    y = np.sin(3 * X[:, 0]) * X[:, 1]
    net = fn.MLP([2, 32, 1], activation="tanh")
    history = net.fit(X, y_of(y), optimizer=fn.Adam(0.02), epochs=300, batch_size=50, **QUIET)
    assert history.loss[-1] < 0.02 * y.var()
    assert history.accuracy == []
    assert net.predict(X).shape == (200, 1)


@pytest.mark.parametrize("labels", [[3, 7, 9], ["ant", "bee", "cat"], [0, 1, 2], [False, True], [-1, 1]], ids=str)
def test_labels_come_back_as_they_were_given(labels, rng):
    number = rng.integers(0, len(labels), 60)
    X = rng.normal(size=(60, 2)) * 0.1 + np.array([[0, 1], [1, 0], [-1, -1]])[number]
    y = np.array(labels)[number]
    outputs = [("softmax", len(labels))] + [("sigmoid", 1)] * (len(labels) == 2)
    for output, n_out in outputs:
        net = fn.MLP([2, 16, n_out], output=output)
        net.fit(X, y, optimizer=fn.Adam(0.05), epochs=40, batch_size=20, **QUIET)
        assert net.predict_class(X).tolist() == y.tolist()
        assert net.classes_.tolist() == labels
        assert net.evaluate(X, y)["accuracy"] == 1


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.astype(object),
        lambda y: y.reshape(-1, 1),
        lambda y: np.ma.masked_less(y, 0),
        lambda y: y.astype(float),
        lambda y: y.tolist(),
    ],
    ids=["objects", "column", "mask that hides nothing", "floats", "list"],
)
def test_forms_of_labels(form, rng):
    X, y = rng.normal(size=(50, 2)), np.arange(50) % 3
    nets = [fn.MLP([2, 8, 3], output="softmax") for _ in range(2)]
    for net, given in zip(nets, (y, form(y)), strict=True):
        net.fit(X, given, epochs=2, batch_size=8, **QUIET)
    assert same(nets[0].weights, nets[1].weights)
    assert nets[1].classes_.tolist() == [0, 1, 2]


def test_one_hot_labels_are_labels(rng):
    X, number = rng.normal(size=(50, 2)), rng.integers(0, 3, 50)
    nets = [fn.MLP([2, 8, 3], output="softmax") for _ in range(2)]
    forms = (number, np.eye(3)[number])
    histories = [net.fit(X, y, epochs=3, batch_size=8, **QUIET) for net, y in zip(nets, forms, strict=True)]
    assert same(nets[0].weights, nets[1].weights)
    assert histories[0].accuracy == histories[1].accuracy
    assert nets[1].predict_class(X).tolist() == nets[0].predict_class(X).tolist()


def test_one_hot_rows_in_a_second_fit_keep_the_labels_of_the_first(rng, tmp_path):
    X, number = rng.normal(size=(50, 2)), np.arange(50) % 3
    labels = np.array(["ant", "bee", "cat"])
    net = fn.MLP([2, 3], output="softmax")
    net.fit(X, labels[number], epochs=1, **QUIET)
    net.save(tmp_path / "model")
    for one in (net, fn.MLP.load(tmp_path / "model")):
        one.fit(X, np.eye(3)[number], epochs=1, **QUIET)
        assert one.classes_.tolist() == labels.tolist()
        assert set(one.predict_class(X)) <= set(labels)


def test_several_yes_or_no_outputs(rng):
    X = rng.normal(size=(100, 3))
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > X[:, 2]]).astype(int)
    net = fn.MLP([3, 32, 2], output="sigmoid")
    history = net.fit(X, y, optimizer=fn.Adam(0.05), epochs=60, batch_size=20, **QUIET)
    right = ((net.predict(X) > 0.5) == y).mean()
    assert net.evaluate(X, y)["accuracy"] == pytest.approx(right)
    assert right > 0.95
    assert history.accuracy[-1] > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_is_kept_everywhere(dtype, rng):
    net = fn.MLP([2, 5, 3], output="softmax", dtype=dtype)
    X, y = rng.normal(size=(20, 2)), rng.integers(0, 3, 20)
    net.fit(X, y, epochs=2, normalize="standard", validation=0.2, **QUIET)
    arrays = [net.params, net.predict(X), net.fitted.optimizer.values]
    arrays += [array for pair in net.weights + net.gradient(X, y) for array in pair]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


# History


def test_loss_and_accuracy_of_an_epoch_are_those_of_its_steps(rng):
    """One batch an epoch: the values before its step, as evaluate tells them of the weights then."""
    X, y = data(rng, (30, 2)), rng.integers(0, 3, 30)
    net = fn.MLP([2, 6, 3], output="softmax", dtype="float64")
    before = net.evaluate(X, y)
    history = net.fit(X, y, optimizer="sgd", batch_size="full", epochs=1, **QUIET)
    assert history.loss == [pytest.approx(before["loss"], rel=32 * float(np.finfo(float).eps))]
    assert history.accuracy == [before["accuracy"]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("zeros", [0.0, 0.9], ids=["dense", "sparse"])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_loss_and_accuracy_of_an_epoch_are_those_of_its_samples(batch_size, zeros, weighted, dtype, rng):
    """Of an epoch whose steps are too small to change anything: of what the network predicts."""
    X, y = data(rng, (45, 20)) * (rng.random((45, 20)) >= zeros), rng.integers(0, 11, 45)
    net = network(rng, (20, 6, 11), output="softmax", dtype=dtype)
    weight = rng.integers(1, 5, 45) / 2 if weighted else np.ones(45)
    predicted = net.predict(X).astype(float)
    losses = -weight * np.log(predicted[np.arange(45), y])
    history = net.fit(X, y, optimizer=fn.SGD(1e-30), batch_size=batch_size, epochs=1, sample_weight=weight, **QUIET)
    assert history.loss == [pytest.approx(losses.mean(), rel=64 * float(np.finfo(dtype).eps))]
    assert history.accuracy == [np.mean(predicted.argmax(axis=1) == y)]


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("highest", [[0, 1, 2], [3, 4], [9, 30, 38], [38]], ids=str)
def test_of_equal_outputs_the_first_is_the_answer(highest, batch_size, rng):
    X, y = data(rng, (40, 2)), np.arange(40) % 39
    net = fn.MLP([2, 39], output="softmax")
    net.set_weights([(np.zeros((2, 39)), np.isin(np.arange(39), highest).astype(float))])
    history = net.fit(X, y, optimizer=fn.SGD(1e-30), batch_size=batch_size, epochs=1, **QUIET)
    assert history.accuracy == [np.mean(y == highest[0])]


@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({}, ["loss", "accuracy"]),
        ({"validation": 0.2}, ["loss", "accuracy", "validation_loss", "validation_accuracy"]),
    ],
)
@pytest.mark.parametrize("epochs", [1, 7])
def test_a_value_per_epoch(options, measured, epochs, rng):
    X, y = rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    history = fn.MLP([2, 6, 2], output="softmax").fit(X, y, epochs=epochs, batch_size=8, **options, **QUIET)
    for name in ("loss", "accuracy", "validation_loss", "validation_accuracy", "seconds", "samples_per_second"):
        expected = epochs if name in [*measured, "seconds", "samples_per_second"] else 0
        values = getattr(history, name)
        assert len(values) == expected
        assert all(isinstance(value, float) and value >= 0 for value in values)


@pytest.mark.parametrize(("penalty", "name"), [(fn.L1(0.3), "l1"), (fn.L2(0.3), "l2")])
@pytest.mark.parametrize("batch_size", [1, "full"])
def test_the_penalty_is_part_of_the_reported_loss(penalty, name, batch_size, rng):
    X, y = data(rng, (20, 5)), data(rng, (20, 3))
    net = network(rng, SIZES, activation="sigmoid", dtype="float64")
    net.fit(X, y, optimizer="sgd", batch_size=1, epochs=1, **QUIET)
    weights = exact(net.weights)
    history = net.fit(X, y, optimizer=fn.SGD(1e-30), penalty=penalty, batch_size=batch_size, epochs=1, **QUIET)
    plain = net.loss(X, y, loss="mse")  # evaluation and gradients are without it
    assert history.loss[0] - plain == pytest.approx(ref.penalty(name, weights, 0.3, 20), rel=1e-12)
    bounds = gradient_error(weights, "mse", X, y, net.predict(X), "float64")
    assert_close(net.gradient(X, y, loss="mse"), ref.gradient(weights, ["sigmoid", "linear"], "mse", X, y), bounds)


# Validation


def test_held_out_samples_are_stratified_and_never_trained_on(rng):
    X, y = rng.normal(size=(60, 4)), np.repeat([0, 1, 2], [40, 15, 5])
    kept, held = split(y, 0.2, 3)
    assert np.bincount(y[held]).tolist() == [8, 3, 1]
    changed = X.copy()
    changed[held] = rng.normal(size=(12, 4)) + 100
    nets = [fn.MLP([4, 8, 3], output="softmax", seed=3) for _ in range(2)]
    options = {"validation": 0.2, "epochs": 3, "batch_size": 7, "normalize": "standard"}
    histories = [net.fit(given, y, **options, **QUIET) for net, given in zip(nets, (X, changed), strict=True)]
    assert same(nets[0].weights, nets[1].weights)
    assert histories[0].loss == histories[1].loss
    assert histories[0].validation_loss != histories[1].validation_loss
    told = nets[0].evaluate(X[held], y[held])
    assert histories[0].validation_loss[-1] == pytest.approx(told["loss"], rel=64 * float(np.finfo(np.float32).eps))
    assert histories[0].validation_accuracy[-1] == told["accuracy"]
    for column in (0, 3):
        assert nets[0].normalization.shift[column] == pytest.approx(X[kept].mean(axis=0)[column], rel=1e-5)


@pytest.mark.parametrize("threads", [2, 3])
def test_every_validation_of_a_team_looks_at_all_samples(threads, rng):
    X, y = data(rng, (90, 4)), rng.integers(0, 3, 90)
    held = data(rng, (5 * EVALUATION_BLOCK + 3, 4)), rng.integers(0, 3, 5 * EVALUATION_BLOCK + 3)
    nets = [fn.MLP([4, 8, 3], output="softmax") for _ in range(2)]
    options = {"validation": held, "epochs": 4, "batch_size": 7}
    alone, together = (
        net.fit(X, y, threads=number, **options, **QUIET) for net, number in zip(nets, (1, threads), strict=True)
    )
    assert together.validation_loss == alone.validation_loss
    assert len(set(together.validation_loss)) == 4
    assert together.validation_loss[-1] == nets[1].evaluate(*held)["loss"]


def test_validation_data_of_ones_own(rng):
    X, y = data(rng, (60, 4)), rng.choice(["no", "yes"], 60)
    other, its_y = data(rng, (20, 4)), rng.choice(["no", "yes"], 20)
    nets = [fn.MLP([4, 8, 2], output="softmax") for _ in range(2)]
    nets[0].fit(X, y, epochs=3, batch_size=7, **QUIET)
    history = nets[1].fit(X, y, epochs=3, batch_size=7, validation=(other, its_y), **QUIET)
    assert same(nets[0].weights, nets[1].weights)
    told = nets[0].evaluate(other, its_y)
    assert history.validation_loss[-1] == told["loss"]
    assert history.validation_accuracy[-1] == told["accuracy"]


# Normalization


@pytest.mark.parametrize("method", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("n_in", [3, 21])
def test_normalization_is_stored_and_applied(method, n_in, rng):
    X, y = data(rng, (50, n_in)) * 30 + 100, data(rng, (50, 2))
    net = network(rng, (n_in, 4, 2), activation="tanh", dtype="float64")
    plain = fn.MLP([n_in, 4, 2], activation="tanh", dtype="float64")
    plain.set_weights(net.weights)
    options = {"loss": "mse", "epochs": 2, "batch_size": 8}
    net.fit(X, y, normalize=method, **options, **QUIET)
    scaled = (X - net.normalization.shift) * net.normalization.scale
    assert abs(scaled.mean(axis=0)).max() < 1
    plain.fit(scaled, y, **options, **QUIET)
    assert same(net.weights, plain.weights)
    assert np.array_equal(net.predict(X), plain.predict(scaled))
    assert net.loss(X, y) == plain.loss(scaled, y)


def test_a_second_fit_keeps_the_normalization(rng):
    X, y = data(rng, (50, 3)), data(rng, (50, 1))
    net = fn.MLP([3, 4, 1])
    net.fit(X, y, epochs=1, normalize="standard", **QUIET)
    kept = net.normalization
    net.fit(X + 5, y, epochs=1, **QUIET)
    assert net.normalization is kept
    net.fit(X, y, epochs=1, reset=True, **QUIET)
    assert net.normalization is None


# Use


def test_predicting_many_rows_at_once_or_one_by_one(rng):
    net = network(rng, (5, 33, 3), activation="tanh", output="softmax")
    X = data(rng, (1000, 5))
    whole = net.predict(X)
    assert np.array_equal(whole, np.concatenate([net.predict(X[i : i + 1]) for i in range(1000)]))
    assert abs(whole.sum(axis=1) - 1).max() <= 8 * np.finfo(np.float32).eps
    names = ["tanh", "softmax"]
    expected = ref.feedforward(exact(net.weights), names, X)[-1][1]
    assert abs(whole - expected).max() <= 8 * math.sqrt(33) * np.finfo(np.float32).eps


def test_weights_are_copies(rng):
    net = network(rng, SIZES)
    before = net.params.copy()
    for W, b in net.weights:
        W[:] = b[:] = 7
    assert np.array_equal(net.params, before)


def test_the_same_seed_gives_the_same_network():
    assert same(fn.MLP([5, 17, 3], seed=1).weights, fn.MLP([5, 17, 3], seed=1).weights)
    assert not same(fn.MLP([5, 17, 3], seed=1).weights, fn.MLP([5, 17, 3], seed=2).weights)


def test_words_about_a_network():
    net = fn.MLP([784, 512, 10], output="softmax")
    assert "401,920" in net.summary()
    assert "407,050 parameters, float32" in net.summary()
    assert repr(net) == "MLP(784-512-10; relu, softmax; float32)"
    assert "threads" in net.explain()
