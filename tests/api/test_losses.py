"""Huber, Poisson, smoothed labels, weights of samples and classes, the users' own losses."""

import numpy as np
import pytest
from helpers import DTYPES, assert_close, data, exact, gradient_error, network, same
from numba import njit

import fastnn as fn
from fastnn_kernels import reference as ref

QUIET = {"progress": False}
SIZES = (5, 17, 3)
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


def one_hot(rng, rows, classes=3):
    return np.eye(classes)[rng.integers(0, classes, rows)]


def weights_of(rng, rows):
    return rng.integers(0, 4, rows) / 2


CASES = [
    ("linear", fn.Huber(0.3), ("huber", {"delta": 0.3})),
    ("linear", fn.Poisson(), ("poisson", {})),
    ("softmax", fn.CrossEntropy(label_smoothing=0.1), ("cross_entropy", {"smoothing": 0.1})),
    ("sigmoid", fn.BinaryCrossEntropy(label_smoothing=0.2), ("binary_cross_entropy", {"smoothing": 0.2})),
    ("linear", fn.MSE(), ("mse", {})),
    ("tanh", fn.MAE(), ("mae", {})),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("output", "loss", "oracle"), CASES, ids=str)
def test_value_and_gradient_are_the_oracle_s(output, loss, oracle, weighted, dtype, rng):
    net = network(rng, SIZES, activation="tanh", output=output, dtype=dtype)
    X = data(rng, (70, 5))
    y = one_hot(rng, 70) if output in ("softmax", "sigmoid") else abs(data(rng, (70, 3)))
    name, options = oracle
    weight = weights_of(rng, 70) if weighted else None
    if weighted:
        options = {**options, "weights": weight}
    names, W = ["tanh", output], exact(net.weights)
    value = ref.network_loss(W, names, (name, options), X, y)
    assert net.loss(X, y, loss=loss, sample_weight=weight) == pytest.approx(value, rel=200 * EPS[dtype])
    z, yhat = ref.feedforward(W, names, X)[-1]
    bounds = gradient_error(W, "half_mse", X, y, abs(np.exp(z)) if name == "poisson" else yhat, dtype)
    bounds = [(4 * p, 4 * q) for p, q in bounds]  # half_mse's slopes are at least as steep, weights at most 2
    gradient = net.gradient(X, y, loss=loss, sample_weight=weight)
    assert_close(gradient, ref.gradient(W, names, (name, options), X, y), bounds)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["mse", "half_mse"])
def test_one_output_has_a_loop_of_its_own(loss, weighted, dtype, rng):
    net = network(rng, (5, 17, 1), activation="tanh", dtype=dtype)
    X, y = data(rng, (70, 5)), data(rng, (70, 1))
    weight = weights_of(rng, 70) if weighted else None
    names, W, oracle = ["tanh", "linear"], exact(net.weights), (loss, {"weights": weight} if weighted else {})
    value = ref.network_loss(W, names, oracle, X, y)
    assert net.loss(X, y, loss=loss, sample_weight=weight) == pytest.approx(value, rel=200 * EPS[dtype])
    bounds = gradient_error(W, loss, X, y, ref.feedforward(W, names, X)[-1][1], dtype)
    gradient = net.gradient(X, y, loss=loss, sample_weight=weight)
    assert_close(gradient, ref.gradient(W, names, oracle, X, y), [(2 * p, 2 * q) for p, q in bounds])  # weights <= 2
    net.fit(X, y, loss=loss, optimizer=fn.SGD(0.1), epochs=2, progress=False)
    assert np.count_nonzero(net.params) == sum(np.count_nonzero(array) for pair in net.weights for array in pair)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 8, 9, 10, 16, 17, 32, 33, 40])
def test_labels_have_loops_of_their_own(classes, weighted, dtype, rng):
    """By two vectors at most, and by more: the borders on every machine."""
    net = network(rng, (5, 17, classes), activation="tanh", output="softmax", dtype=dtype)
    X, labels = data(rng, (90, 5)), rng.permutation(np.arange(90) % classes)
    weight = weights_of(rng, 90) if weighted else None
    names, W, oracle = (
        ["tanh", "softmax"],
        exact(net.weights),
        ("cross_entropy", {"weights": weight} if weighted else {}),
    )
    y = np.eye(classes)[labels]
    value, yhat = ref.network_loss(W, names, oracle, X, y), ref.feedforward(W, names, X)[-1][1]
    assert net.loss(X, labels, sample_weight=weight) == pytest.approx(value, rel=200 * EPS[dtype])
    bounds = gradient_error(W, "half_mse", X, y, yhat, dtype)
    gradient = net.gradient(X, labels, sample_weight=weight)
    assert_close(gradient, ref.gradient(W, names, oracle, X, y), [(4 * p, 4 * q) for p, q in bounds])  # weights <= 2
    assert net.evaluate(X, labels)["accuracy"] == np.mean(yhat.argmax(1) == labels)


@pytest.mark.parametrize("classes", [2, 9, 40])
@pytest.mark.parametrize("batch_size", [1, 30])
def test_of_equal_outputs_the_first_is_the_answer(batch_size, classes, rng):
    net = fn.MLP([5, classes], output="softmax", seed=0)
    net.set_weights([(np.zeros((5, classes)), np.zeros(classes))])
    X, labels = data(rng, (90, 5)), rng.permutation(np.arange(90) % classes)
    assert net.evaluate(X, labels) == {
        "loss": pytest.approx(np.log(classes), rel=1e-5),
        "accuracy": np.mean(labels == 0),
    }
    # a rate that is 0 in float32
    history = net.fit(X, labels, optimizer=fn.SGD(1e-300), batch_size=batch_size, epochs=1, **QUIET)
    assert history.accuracy == [np.mean(labels == 0)]


def test_huber_is_half_the_square_near_and_linear_far():
    net = fn.MLP([1, 1], dtype="float64")
    net.set_weights([([[1.0]], [0.0])])
    loss = fn.Huber(2.0)
    assert [net.loss([[r]], [0.0], loss=loss) for r in (0.5, -2.0, 5.0)] == [0.125, 2.0, 8.0]


def test_weights_repeat_samples(rng):
    """In one batch a sample of weight 2 pulls as two of them, one of weight 0 as none."""
    X, y, weight = data(rng, (30, 5)), one_hot(rng, 30), rng.integers(0, 4, 30)
    again = np.repeat(np.arange(30), weight)
    net = network(rng, SIZES, output="softmax", dtype="float64")
    factor = len(again) / 30
    assert net.loss(X, y, sample_weight=weight) == pytest.approx(net.loss(X[again], y[again]) * factor, rel=1e-13)
    for (dW, db), (eW, eb) in zip(
        net.gradient(X, y, sample_weight=weight), net.gradient(X[again], y[again]), strict=True
    ):
        np.testing.assert_allclose(dW, eW * factor, atol=1e-14)
        np.testing.assert_allclose(db, eb * factor, atol=1e-14)


@pytest.mark.parametrize("batch_size", [1, 7, "full"])
def test_training_with_weights_is_the_oracle_s(batch_size, rng):
    net = network(rng, SIZES, activation="tanh", dtype="float64")
    X, y, weight = data(rng, (21, 5)), data(rng, (21, 3)), weights_of(rng, 21)
    step = 21 if batch_size == "full" else batch_size
    W = exact(net.weights)
    for _ in range(2):
        for i in range(0, 21, step):
            rows = slice(i, i + step)
            loss = ("mse", {"weights": weight[rows]})
            slopes = ref.gradient(W, ["tanh", "linear"], loss, X[rows], y[rows])
            W = [(w - 0.1 * dw, b - 0.1 * db) for (w, b), (dw, db) in zip(W, slopes, strict=True)]
    net.fit(X, y, optimizer=fn.SGD(0.1), epochs=2, batch_size=batch_size, shuffle=False, sample_weight=weight, **QUIET)
    for (a, b), (c, d) in zip(net.weights, W, strict=True):
        np.testing.assert_allclose(a, c, rtol=0, atol=1e-13)
        np.testing.assert_allclose(b, d, rtol=0, atol=1e-13)


def test_weights_of_one_change_no_bit(rng):
    X, y = data(rng, (40, 5)), rng.integers(0, 3, 40)
    nets = [network(np.random.default_rng(1), SIZES, output="softmax") for _ in range(2)]
    for net, weight in zip(nets, (None, np.ones(40)), strict=True):
        net.fit(X, y, epochs=2, batch_size=8, sample_weight=weight, **QUIET)
    assert same(nets[0].weights, nets[1].weights)


def test_class_weights(rng):
    X, y = data(rng, (40, 5)), np.array(["ant"] * 30 + ["bee"] * 8 + ["cat"] * 2)
    net = network(rng, SIZES, output="softmax", dtype="float64")
    balanced = {label: 40 / (3 * count) for label, count in (("ant", 30), ("bee", 8), ("cat", 2))}
    by_sample = np.array([balanced[label] for label in y])
    expected = net.loss(X, y, sample_weight=by_sample)
    assert net.loss(X, y, class_weight="balanced") == pytest.approx(expected, rel=1e-14)
    assert net.loss(X, y, class_weight=balanced) == pytest.approx(expected, rel=1e-14)
    assert net.loss(X, y, class_weight={"bee": 1.0}) == net.loss(X, y)  # labels left out have the weight 1
    both = net.loss(X, y, class_weight="balanced", sample_weight=np.full(40, 2.0))
    assert both == pytest.approx(2 * expected, rel=1e-14)


def test_held_out_samples_keep_their_weights(rng):
    """All weight lies on the samples of one class: the validation loss is theirs, too."""
    X, y = data(rng, (60, 5)), np.arange(60) % 3
    net = fn.MLP(SIZES, output="softmax", dtype="float64")
    history = net.fit(X, y, epochs=1, validation=0.2, class_weight={1: 0.0, 2: 0.0}, **QUIET)
    _, held = fn.data.split.split(y, 0.2, net.seed)
    mine = held[y[held] == 0]
    assert history.validation_loss[-1] == pytest.approx(net.loss(X[mine], y[mine]) * len(mine) / len(held), rel=1e-12)


def test_smoothing_leaves_accuracy_alone(rng):
    X, y = data(rng, (50, 5)), rng.integers(0, 3, 50)
    net = network(rng, SIZES, output="softmax")
    plain, smoothed = (net.evaluate(X, y, loss=fn.CrossEntropy(s)) for s in (0.0, 0.9))
    assert plain["accuracy"] == smoothed["accuracy"] == np.mean(net.predict(X).argmax(axis=1) == y)
    assert plain["loss"] != smoothed["loss"]


def square(yhat, y):
    return (yhat - y) * (yhat - y)


def square_slope(yhat, y):
    return 2 * (yhat - y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "functions", [(square, square_slope), (njit(square), njit(square_slope))], ids=["plain", "njit"]
)
def test_an_own_loss_trains_as_the_same_built_in_one(functions, dtype, rng):
    X, y = data(rng, (40, 5)), data(rng, (40, 3))
    nets = [network(np.random.default_rng(3), SIZES, activation="tanh", output="tanh", dtype=dtype) for _ in range(2)]
    histories = [
        net.fit(X, y, loss=loss, optimizer=fn.SGD(0.1), epochs=2, batch_size=8, **QUIET)
        for net, loss in zip(nets, ("mse", fn.CustomLoss(*functions)), strict=True)
    ]
    assert histories[0].loss == pytest.approx(histories[1].loss, rel=20 * EPS[dtype])
    for (a, b), (c, d) in zip(nets[0].weights, nets[1].weights, strict=True):
        np.testing.assert_allclose(a, c, rtol=0, atol=20 * EPS[dtype])
        np.testing.assert_allclose(b, d, rtol=0, atol=20 * EPS[dtype])


def test_an_own_loss_is_not_saved(rng, tmp_path):
    X, y = data(rng, (20, 5)), data(rng, (20, 3))
    net, loss = network(rng, SIZES), fn.CustomLoss(square, square_slope)
    net.fit(X, y, loss=loss, epochs=1, **QUIET)
    net.save(tmp_path / "m.safetensors")
    loaded = fn.MLP.load(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.predict(X), net.predict(X))
    assert loaded.loss(X, y, loss=loss) == net.loss(X, y)


@pytest.mark.parametrize("loss", [fn.Huber(0.25), fn.Poisson()], ids=str)
def test_constants_are_saved(loss, rng, tmp_path):
    X, y = data(rng, (20, 5)), abs(data(rng, (20, 3)))
    net = network(rng, SIZES)
    net.fit(X, y, loss=loss, epochs=1, **QUIET)
    net.save(tmp_path / "m.safetensors")
    assert fn.MLP.load(tmp_path / "m.safetensors").loss(X, y) == net.loss(X, y)


def test_zeros_and_ones_are_two_classes(rng):
    X = data(rng, (40, 5))
    y = (X[:, 0] > 0).astype(np.float64)
    net = fn.MLP([5, 8, 1], output="sigmoid")
    history = net.fit(X, y, optimizer=fn.Adam(0.05), epochs=60, **QUIET)
    assert history.accuracy[-1] > 0.9
    assert net.classes_.tolist() == [0, 1]
    assert set(net.predict_class(X).tolist()) == {0, 1}


X20, Y20, LABELS = np.ones((20, 5)), np.zeros((20, 3)), np.arange(20) % 3
ERRORS = [
    ({"sample_weight": np.ones(19)}, "shape (20,)"),
    ({"sample_weight": [-1.0] + [1.0] * 19}, "sample_weight[0] = -1.0 must be at least 0"),
    ({"sample_weight": [np.nan] + [1.0] * 19}, "sample_weight[0] = nan is not finite"),
    ({"sample_weight": np.zeros(20)}, "all weights of samples are 0"),
    ({"sample_weight": ["a"] * 20}, "sample_weight must hold real numbers"),
    ({"class_weight": {7: 1.0}}, "label 7, which is none of the classes 0, 1, 2"),
    ({"class_weight": {0: -1.0}}, "class_weight[0] must be at least 0"),
    ({"class_weight": "even"}, 'or "balanced"'),
]


@pytest.mark.parametrize(("options", "message"), ERRORS, ids=str)
def test_bad_weights(options, message):
    net = fn.MLP(SIZES, output="softmax")
    for call in (net.fit, net.evaluate, net.loss, net.gradient):
        with pytest.raises(fn.InputError) as error:
            call(X20, LABELS, **options, **(QUIET if call == net.fit else {}))
        assert message in str(error.value)


def test_bad_losses():
    net = fn.MLP(SIZES)
    with pytest.raises(fn.InputError, match="class_weight needs class labels"):
        net.fit(X20, Y20, class_weight="balanced", **QUIET)
    with pytest.raises(fn.InputError, match=r"y\[3, 1\] = -2.0 is no count"):
        net.loss(X20, np.where(np.arange(60).reshape(20, 3) == 10, -2.0, 1.0), loss="poisson")
    with pytest.raises(fn.InputError, match='needs output="linear"'):
        fn.MLP(SIZES, output="tanh").fit(X20, Y20, loss="poisson", **QUIET)
    for build, message in (
        (lambda: fn.Huber(0.0), "delta of Huber must be above 0"),
        (lambda: fn.CrossEntropy(1.0), "label_smoothing must be at least 0 and below 1"),
        (lambda: fn.CustomLoss(square, square), "the derivative of 'value' is"),
        (lambda: fn.CustomLoss(square, "slope"), "must be a Python or njit function"),
        (lambda: fn.CustomLoss(lambda yhat: yhat, lambda yhat: 1.0), "for 2 numbers"),
    ):
        with pytest.raises(fn.InputError) as error:
            build()
        assert message in str(error.value)
