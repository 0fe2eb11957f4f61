"""Every error of the API: its type, what it says, and that the network is as it was before."""

import contextlib

import numpy as np
import pytest

import fastnn as fn
from fastnn import targets

QUIET = {"progress": False}
ROWS = 6
INF, NAN = np.inf, np.nan


def at(index, value, shape=(ROWS, 3)):
    """Zeros with one other value."""
    array = np.zeros(shape)
    array[index] = value
    return array


X, Y = at((0, 0), 1), np.arange(ROWS) % 2
REAL = np.zeros((ROWS, 2))
SECOND = np.array([0, 1])


class Sparse:
    """What a sparse matrix looks like to a library that does not import SciPy."""

    shape, ndim = (ROWS, 3), 2


Sparse.__module__ = "scipy.sparse._csr"

BUILD = {
    "one size": (lambda: fn.MLP([3]), "sizes", "[3]", "at least two"),
    "a number alone": (lambda: fn.MLP(3), "sizes", "got 3", "[n_in, hidden..., n_out]"),
    "size 0": (lambda: fn.MLP([3, 0, 2]), "every size", "got 0", "1 or more"),
    "negative size": (lambda: fn.MLP([-3, 2]), "every size", "got -3", "1 or more"),
    "half a size": (lambda: fn.MLP([3, 2.5]), "every size", "got 2.5", "whole number"),
    "size in words": (lambda: fn.MLP([3, "two"]), "every size", "'two'", "whole number"),
    "truth as size": (lambda: fn.MLP([3, True]), "every size", "True", "whole number"),
    "no layers": (lambda: fn.MLP(3, []), "layers", "got []", "fastnn.Dense"),
    "activation beside layers": (lambda: fn.MLP(3, [fn.Dense(2)], activation="relu"), "activation", "Dense"),
    "output beside layers": (lambda: fn.MLP(3, [fn.Dense(2)], output="softmax"), "output", "Dense"),
    "layers of numbers": (lambda: fn.MLP(3, [4, 2]), "layers", "[4, 2]", "fastnn.Dense"),
    "no units": (lambda: fn.Dense(0), "units", "got 0", "1 or more"),
    "unknown activation": (
        lambda: fn.MLP([3, 2, 2], activation="rleu"),
        "activation 'rleu'",
        "did you mean 'relu'",
        "tanh",
    ),
    "far-off activation": (lambda: fn.Dense(2, "xyzzy"), "activation 'xyzzy'", "Known:", "softplus"),
    "activation of a wrong type": (lambda: fn.MLP([3, 2, 2], activation=3), "activation", "got 3", "leaky_relu"),
    "unknown output": (lambda: fn.MLP([3, 2], output="sofmax"), "'sofmax'", "did you mean 'softmax'"),
    "unknown init": (lambda: fn.MLP([3, 2], init="he_norm"), "initializer 'he_norm'", "did you mean 'he_normal'"),
    "gain 0": (lambda: fn.GlorotUniform(0), "gain", "got 0", "above 0"),
    "unknown dtype": (lambda: fn.MLP([3, 2], dtype="float16"), "dtype", "float16", "float32", "float64"),
    "dtype of a wrong kind": (lambda: fn.MLP([3, 2], dtype="real"), "dtype", "'real'", "float32"),
    "negative seed": (lambda: fn.MLP([3, 2], seed=-1), "seed", "got -1", "0 or more"),
    "half a seed": (lambda: fn.MLP([3, 2], seed=1.5), "seed", "got 1.5", "whole number"),
    "hidden softmax": (lambda: fn.MLP([3, 4, 2], activation="softmax"), "softmax", "layer 1 of 2", "last layer"),
    "softmax of one": (lambda: fn.MLP([3, 1], output="softmax"), "softmax", "one output", "sigmoid"),
    "negative beta": (lambda: fn.LeakyReLU(-0.1), "beta", "got -0.1", "at least 0"),
    "infinite beta": (lambda: fn.ELU(INF), "beta", "inf", "finite"),
    "unknown surrogate": (lambda: fn.Threshold("soft"), "surrogate", "'soft'", "straight_through"),
    "rate 0": (lambda: fn.SGD(0), "lr", "got 0", "above 0"),
    "negative rate": (lambda: fn.Adam(-0.1), "lr", "got -0.1", "above 0"),
    "rate NaN": (lambda: fn.Momentum(NAN), "lr", "nan", "finite number"),
    "rate in words": (lambda: fn.Nesterov("fast"), "lr", "'fast'", "finite number"),
    "momentum 1": (lambda: fn.Momentum(0.1, 1.0), "beta", "got 1.0", "below 1"),
    "negative beta2": (lambda: fn.Adam(beta2=-0.1), "beta2", "got -0.1", "at least 0"),
    "no eps": (lambda: fn.Adam(eps=0), "eps", "eps_root", "both be 0"),
    "eps too small": (lambda: fn.RMSprop(eps=1e-40), "eps", "eps_root", "too small for float32", "1e-40"),
    "negative eps": (lambda: fn.Adam(eps=-1e-8), "eps", "-1e-08", "at least 0"),
    "negative penalty": (lambda: fn.L2(-1), "lambda of L2", "got -1", "at least 0"),
    "penalty NaN": (lambda: fn.L1(NAN), "lambda of L1", "nan", "finite"),
    "patience 0": (lambda: fn.EarlyStopping(patience=0), "patience", "got 0", "1 or more"),
    "negative change": (lambda: fn.EarlyStopping(least_change=-1), "least_change", "got -1", "at least 0"),
    "restore in words": (lambda: fn.EarlyStopping(restore="yes"), "restore", "'yes'", "True or False"),
}

FIT = {  # what goes to fit instead of (X, Y), the network's output, and parts of the message
    "columns": ({"X": np.zeros((ROWS, 4))}, "softmax", "X", "(samples, 3)", "(6, 4)"),
    "1-D X": ({"X": np.zeros(3)}, "softmax", "X", "(samples, 3)", "(3,)", "reshape(1, -1)"),
    "3-D X": ({"X": np.zeros((ROWS, 3, 1))}, "softmax", "(samples, 3)", "(6, 3, 1)"),
    "0-D X": ({"X": 5}, "softmax", "(samples, 3)", "()"),
    "empty": ({"X": np.zeros((0, 3)), "y": []}, "softmax", "X is empty"),
    "rows": ({"X": np.broadcast_to(np.float32(0), (1 << 32, 3))}, "softmax", "4294967296 rows, at most 4294967295"),
    "ragged X": ({"X": [[1, 2, 3], [1, 2]]}, "softmax", "X cannot be read as an array"),
    "sparse X": ({"X": Sparse()}, "softmax", "X is a sparse matrix", "X.toarray()"),
    "complex X": ({"X": X + 1j}, "softmax", "X", "real numbers", "complex128"),
    "text X": ({"X": X.astype(str)}, "softmax", "X", "real numbers", "<U"),
    "objects X": ({"X": np.full((ROWS, 3), "a", object)}, "softmax", "X", "real numbers", "dtype object"),
    "dates X": ({"X": np.zeros((ROWS, 3), "M8[s]")}, "softmax", "X", "real numbers", "datetime64"),
    "NaN in X": ({"X": at((4, 1), NAN)}, "softmax", "X[4, 1] = nan", "not finite"),
    "infinity in X": ({"X": at((0, 2), -INF)}, "softmax", "X[0, 2] = -inf", "not finite"),
    "too large for float32": ({"X": at((5, 0), 1e39)}, "softmax", "X[5, 0] = 1e+39", "too large for float32"),
    "lengths": ({"y": Y[:5]}, "softmax", "X has 6 samples", "(5,)"),
    "no y": ({"y": None}, "softmax", "X has 6 samples", "()"),
    "3-D y": ({"y": np.zeros((ROWS, 2, 1))}, "linear", "X has 6 samples", "(6, 2, 1)"),
    "ragged y": ({"y": [[1], [1, 2]] * 3}, "linear", "y cannot be read as an array"),
    "more columns than outputs": ({"y": np.zeros((ROWS, 3))}, "linear", "y has 3 columns", "2 outputs"),
    "fewer columns than outputs": ({"y": np.zeros((ROWS, 1))}, "linear", "y has 1 columns", "2 outputs"),
    "1-D y for two outputs": ({"y": np.zeros(ROWS)}, "linear", "(samples, 2)", "(6,)"),
    "NaN in y": ({"y": at((3, 1), NAN, (ROWS, 2))}, "linear", "y[3, 1] = nan", "not finite"),
    "infinity in y": ({"y": at((3, 0), INF, (ROWS, 2))}, "linear", "y[3, 0] = inf", "not finite"),
    "complex y": ({"y": REAL + 1j}, "linear", "y", "real numbers", "complex128"),
    "text for numbers": ({"y": REAL.astype(str)}, "linear", "y", "real numbers", "<U"),
    "NaN as label": ({"y": at(2, NAN, ROWS)}, "softmax", "y[2] = nan", "no class label"),
    "half a label": ({"y": at(2, 0.5, ROWS)}, "softmax", "y[2] = 0.5", "integers or strings", 'output="linear"'),
    "dates as labels": ({"y": np.zeros(ROWS, "M8[s]")}, "softmax", "integers or strings", "datetime64"),
    "mixed labels": ({"y": np.array(["a", 1] * 3, object)}, "softmax", "must all be strings"),
    "label outside": ({"y": at(2, 2, ROWS) + at(1, 1, ROWS)}, "softmax", "3 different labels (0, 1, 2)", "0 to 1"),
    "negative label": ({"y": [-1, 0, 1, 0, 1, 0]}, "softmax", "3 different labels (-1, 0, 1)", "2 classes"),
    "one label": ({"y": [5] * ROWS}, "softmax", "1 different labels (5)", "2 classes"),
    "rows that are no shares": ({"y": at((3, 0), 0.5, (ROWS, 2)) + SECOND}, "softmax", "sum to 1", "row 3 sums to 1.5"),
    "no probability": ({"y": at((3, 1), 1.5, (ROWS, 2))}, "sigmoid", "y[3, 1] = 1.5", "between 0 and 1"),
    "negative probability": ({"y": at((3, 1), -0.5, (ROWS, 2))}, "sigmoid", "y[3, 1] = -0.5", "between 0 and 1"),
    "unknown loss": ({"loss": "croos_entropy"}, "softmax", "loss 'croos_entropy'", "did you mean 'cross_entropy'"),
    "loss of a wrong type": ({"loss": 3}, "softmax", "loss", "got 3", "half_mse"),
    "cross-entropy of what is no softmax": ({"y": REAL, "loss": "cross_entropy"}, "linear", "softmax", "linear"),
    "binary of what is no sigmoid": ({"loss": "binary_cross_entropy"}, "softmax", 'output="sigmoid"', "softmax"),
    "unknown optimizer": ({"optimizer": "adma"}, "softmax", "optimizer 'adma'", "did you mean 'adam'"),
    "optimizer as a class": ({"optimizer": fn.Adam}, "softmax", "optimizer", "Adam", "momentum"),
    "epochs 0": ({"epochs": 0}, "softmax", "epochs", "got 0", "1 or more"),
    "negative epochs": ({"epochs": -1}, "softmax", "epochs", "got -1", "1 or more"),
    "half an epoch": ({"epochs": 0.5}, "softmax", "epochs", "got 0.5", "whole number"),
    "batch 0": ({"batch_size": 0}, "softmax", "batch_size", "got 0", "1 or more"),
    "half a batch": ({"batch_size": 1.5}, "softmax", "batch_size", "got 1.5", "whole number"),
    "batch in words": ({"batch_size": "half"}, "softmax", "batch_size", "'half'", '"full"'),
    "shuffle in words": ({"shuffle": "yes"}, "softmax", "shuffle", "'yes'", "True or False"),
    "progress as number": ({"progress": 1}, "softmax", "progress", "got 1", "True or False"),
    "reset as number": ({"reset": 1}, "softmax", "reset", "got 1", "True or False"),
    "threads 0": ({"threads": 0}, "softmax", "threads", "got 0", "1 or more"),
    "a million threads": ({"threads": 10**6}, "softmax", "threads", "at most 1024", "1000000"),
    "threads in words": ({"threads": "all"}, "softmax", "threads", "'all'", "whole number"),
    "device": ({"device": "gpu"}, "softmax", "device", "'gpu'", "auto, cpu, cuda"),
    "penalty by name": ({"penalty": "l2"}, "softmax", "penalty", "'l2'", "L2(lambda)"),
    "unknown normalization": ({"normalize": "standart"}, "softmax", "'standart'", "did you mean 'standard'"),
    "callback that is none": ({"callbacks": [print]}, "softmax", "callbacks", "print", "fastnn.Callback"),
    "callbacks that are none": ({"callbacks": 5}, "softmax", "callbacks", "5", "fastnn.Callback"),
    "no callbacks": ({"callbacks": None}, "softmax", "callbacks", "None", "fastnn.Callback"),
    "share 0": ({"validation": 0.0}, "softmax", "in validation: the share", "0.0", "between 0 and 1"),
    "share 1": ({"validation": 1.0}, "softmax", "1.0", "between 0 and 1"),
    "share in words": ({"validation": "some"}, "softmax", "'some'", "between 0 and 1"),
    "share of one": ({"X": X[:1], "y": Y[:1], "validation": 0.5}, "softmax", "at least 2", "got 1"),
    "three parts": ({"validation": (X, Y, Y)}, "softmax", "in validation: ", "a pair", "got 3"),
    "validation columns": ({"validation": (X[:, :2], Y)}, "softmax", "in validation: X", "(samples, 3)", "(6, 2)"),
    "validation NaN": ({"validation": (at((1, 2), NAN), Y)}, "softmax", "in validation: X[1, 2] = nan"),
    "validation as a list": ({"validation": [X, Y[:3]]}, "softmax", "in validation: X has 6 samples", "(3,)"),
    "masked X": ({"X": np.ma.masked_greater(X, 0)}, "softmax", "X is an array with masked values"),
    "masked y": ({"y": np.ma.masked_equal(Y, 1)}, "softmax", "y is an array with masked values"),
    "masked weights": ({"sample_weight": np.ma.masked_equal(np.ones(ROWS), 1)}, "softmax", "sample_weight is an array"),
    "a huge label": ({"y": np.where(Y == 1, 1e300, 0)}, "softmax", "y[1] = 1e+300 is too large for a class label"),
    "bytes that are no text": ({"y": np.where(Y == 1, b"\xff", b"a")}, "softmax", "labels of bytes must be UTF-8"),
    "labels of two kinds": ({"y": np.array([1, "a"] * 3, object)}, "softmax", "dtype object", "all integers"),
    "validation lengths": ({"validation": (X, Y[:3])}, "softmax", "6 samples", "(3,)"),
    "validation label": ({"validation": (X, Y + 1)}, "softmax", "y[1] = 2", "none of the classes 0, 1"),
}  # fmt: skip


def state(net):
    """All that a network remembers, to be compared with ==."""
    classes = None if net.classes_ is None else net.classes_.tolist()
    optimizer = net.fitted.optimizer
    moments = (optimizer.kind, optimizer.values.tobytes(), optimizer.steps, optimizer.epochs)
    return net.params.tobytes(), classes, net.fitted.loss, net.normalization, moments


def assert_refused(call, parts, net=None):
    before = None if net is None else state(net)
    with pytest.raises(fn.InputError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)
    assert net is None or state(net) == before


@pytest.mark.parametrize("case", BUILD)
def test_building(case):
    call, *parts = BUILD[case]
    assert_refused(call, parts)


@pytest.mark.parametrize("case", FIT)
def test_fit(case):
    given, output, *parts = FIT[case]
    net = fn.MLP([3, 4, 2], output=output)
    assert_refused(lambda: net.fit(**{"X": X, "y": Y, **QUIET, **given}), parts, net)


@pytest.mark.parametrize("case", ["NaN in X", "label outside", "epochs 0", "unknown optimizer", "penalty by name"])
@pytest.mark.parametrize("reset", [False, True])
def test_fit_after_a_fit(case, reset):
    given, output, *parts = FIT[case]
    net = fn.MLP([3, 4, 2], output=output)
    net.fit(X, Y, epochs=2, **QUIET)
    if not reset:
        parts = ["y[2] = 2", "none of the classes 0, 1"] if case == "label outside" else parts
    assert_refused(lambda: net.fit(**{"X": X, "y": Y, "reset": reset, **QUIET, **given}), parts, net)


@pytest.mark.parametrize("case", [case for case in FIT if set(FIT[case][0]) <= {"X", "y", "loss"}])
def test_evaluate_and_gradient(case):
    given, output, *parts = FIT[case]
    net = fn.MLP([3, 4, 2], output=output)
    for method in (net.evaluate, net.gradient, net.loss):
        assert_refused(lambda method=method: method(**{"X": X, "y": Y, **given}), parts, net)


@pytest.mark.parametrize("case", [case for case in FIT if set(FIT[case][0]) == {"X"}])
def test_predict(case):
    given, _, *parts = FIT[case]
    net = fn.MLP([3, 4, 2], output="softmax")
    net.fit(X, Y, epochs=1, **QUIET)
    for method in (net.predict, net.predict_class):
        assert_refused(lambda method=method: method(**given), parts, net)


def test_classes_are_kept_to():
    net = fn.MLP([3, 4, 2], output="softmax")
    net.fit(X, np.array(["no", "yes"])[Y], epochs=1, **QUIET)
    for y, told in ((["no", "maybe"] * 3, "y[1] = maybe"), (Y, "y[0] = 0")):
        for method in (net.evaluate, lambda X, y: net.fit(X, y, **QUIET)):
            assert_refused(lambda method=method, y=y: method(X, y), [told, "none of the classes no, yes"], net)


@pytest.mark.parametrize("block", [1, 2, 5, 6])
def test_the_first_wrong_label_is_named(block, monkeypatch):
    monkeypatch.setattr(targets, "BLOCK", block)
    net = fn.MLP([3, 4, 2], output="softmax")
    net.fit(X, np.array(["no", "yes"])[Y], epochs=1, **QUIET)
    y = ["no", "yes", "no", "maybe", "yes", "perhaps"]
    assert_refused(lambda: net.evaluate(X, y), ["y[3] = maybe", "none of the classes no, yes"], net)


@pytest.mark.parametrize("labels", [[0, 2, 1], ["a", "c", "b"]])
def test_labels_for_a_linear_output(labels):
    with pytest.raises(fn.InputError, match=r'^y must have the shape \(samples, 3\).*choose output="softmax"$'):
        fn.MLP([2, 3]).fit(np.zeros((3, 2)), labels, progress=False)


def test_classes_of_a_network_that_knows_none():
    assert_refused(lambda: fn.MLP([3, 2]).predict_class(X), ["predict_class", "fitted on class labels"])


def test_threshold_without_surrogate():
    net = fn.MLP([3, 4, 2], activation="threshold")
    for call in (lambda: net.fit(X, REAL, **QUIET), lambda: net.gradient(X, REAL)):
        assert_refused(call, ["layer 1", "threshold", "straight_through"], net)
    assert net.predict(X).shape == (ROWS, 2)


def test_another_normalization():
    net = fn.MLP([3, 4, 2], output="softmax")
    net.fit(X, Y, epochs=1, normalize="standard", **QUIET)
    call = lambda: net.fit(X, Y, normalize="minmax", **QUIET)  # noqa: E731
    assert_refused(call, ['"standard"', '"minmax"', "reset=True"], net)
    plain = fn.MLP([3, 4, 2], output="softmax")
    plain.fit(X, Y, epochs=1, **QUIET)
    call = lambda: plain.fit(X, Y, normalize="minmax", **QUIET)  # noqa: E731
    assert_refused(call, ["without normalization", "reset=True"], plain)


GOOD = [(np.zeros((3, 4)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(2))]
WEIGHTS = {
    "too few": (GOOD[:1], "2 pairs", "got 1"),
    "no pair": ([GOOD[0], (GOOD[1][0],)], "weights[1]", "a pair (W, b)", "got 1"),
    "numbers": ([1, 2], "weights[0]", "pair"),
    "a number": (5, "weights", "pairs", "5"),
    "transposed": ([GOOD[0], (np.zeros((2, 4)), np.zeros(2))], "weights[1][0]", "(4, 2)", "got (2, 4)"),
    "bias as row": ([GOOD[0], (np.zeros((4, 2)), np.zeros((1, 2)))], "weights[1][1]", "(2,)", "got (1, 2)"),
    "NaN": ([(at((2, 3), NAN, (3, 4)), np.zeros(4)), GOOD[1]], "weights[0][0][2, 3] = nan", "not finite"),
    "infinity": ([GOOD[0], (GOOD[1][0], at(1, INF, 2))], "weights[1][1][1] = inf", "not finite"),
    "complex": ([GOOD[0], (np.zeros((4, 2), complex), np.zeros(2))], "weights[1][0]", "complex128"),
    "text": ([GOOD[0], (np.full((4, 2), "a"), np.zeros(2))], "weights[1][0]", "real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(case):
    given, *parts = WEIGHTS[case]
    net = fn.MLP([3, 4, 2])
    assert_refused(lambda: net.set_weights(given), parts, net)


def test_a_batch_size_to_explain():
    assert_refused(lambda: fn.MLP([3, 2]).explain(0), ["batch_size", "got 0", "1 or more"])


def test_a_seed_is_refused_at_once_or_serves():
    for seed in (2**32, 2**63, 2**64, 2**100):
        with contextlib.suppress(fn.InputError):
            net = fn.MLP([3, 4, 2], output="softmax", seed=seed)
            net.fit(X, Y, epochs=1, validation=0.5, **QUIET)
