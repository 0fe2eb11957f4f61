"""Output activations, losses of rows, last deltas and hits against the oracle."""

import harness
import numpy as np
import pytest

from fastnn_kernels import loss as losses
from fastnn_kernels import reference as ref
from fastnn_kernels import reference_activation as curves
from fastnn_kernels import reference_loss as formulas
from fastnn_kernels import work
from fastnn_kernels.activation import CODES
from fastnn_kernels.cuda import output
from fastnn_kernels.cuda.work import BATCH, COUNT, FLAG, HITS, NOW, SPLITS, START, TRAINING, T
from fastnn_kernels.layout import STRIDE, WIDTH, A, D, Z
from fastnn_kernels.loss import CONSTANT, SMOOTHING

DTYPES = [np.float32, np.float64]
SAMPLES, START_AT, DELTA = 9, 2, 0.7
ELEMENTWISE = [name for name in CODES if name not in ("softmax", "custom")]


class Case:
    """A last layer of n outputs with random logits in A, targets, and what the oracle says of them."""

    def __init__(
        self, name, act, n, dtype, *, rows=5, count=5, labels=False, accuracy=0, weighted=False, smoothing=0.0
    ):
        rng = np.random.Generator(np.random.Philox(n))
        self.dtype, self.rows, self.count, self.act, self.n = np.dtype(dtype), rows, count, act, n
        self.order = rng.permutation(SAMPLES)
        self.samples = self.order[START_AT : START_AT + count]
        self.labels = rng.integers(0, n, SAMPLES)
        self.Y = self._targets(rng, name, labels).astype(dtype)
        self.weights = rng.uniform(0.5, 2, SAMPLES).astype(dtype)
        constants = np.zeros(losses.CONSTANTS)
        constants[CONSTANT], constants[SMOOTHING] = DELTA, smoothing
        now = np.zeros(NOW, np.int64)
        now[T], now[START], now[COUNT], now[BATCH], now[TRAINING] = 1, START_AT, count, count, 1
        numbers = {
            work.LOSS: losses.CODES[name],
            work.TARGET: work.LABELS if labels else work.DENSE,
            work.ACCURACY: accuracy,
            work.WEIGHTED: int(weighted),
        }
        given = {"labels": self.labels} if labels else {"targets": self.Y.ravel()}
        self.one = harness.make(
            (3, n),
            [CODES[act]],
            rows,
            dtype,
            numbers=numbers,
            now=now,
            order=self.order,
            weights=self.weights,
            loss_constants=constants,
            betas=[0.0, 0.3],
            **given,
        )
        self.z = harness.block(self.one, 1, A)
        if self.one.at(1, Z) != self.one.at(1, A):
            harness.put(self.one, 1, Z, self.z)
        options = {"delta": float(self.dtype.type(DELTA)), "smoothing": float(self.dtype.type(smoothing))}
        if weighted:
            options["weights"] = self.weights[self.samples].astype(np.float64)
        self.loss, self.name = (name, options), name

    def _targets(self, rng, name, labels):
        if labels or name == "cross_entropy":
            return np.eye(self.n)[self.labels]
        if name == "poisson":
            return rng.poisson(2.0, (SAMPLES, self.n))
        return rng.uniform(size=(SAMPLES, self.n))

    @property
    def logits(self):
        return self.z[: self.count].astype(np.float64)

    @property
    def y(self):
        return self.Y[self.samples].astype(np.float64)

    def row_losses(self):
        start = int(self.one.numbers[work.LOSSES])
        return self.one.work.space.copy_to_host()[start : start + self.rows]

    def expected_losses(self):
        from_z = self.name in formulas.FROM_LOGITS or self.name == "poisson"
        out = self.logits if from_z else curves.activate(self.act, self.logits, 0.3)
        weights = self.loss[1].get("weights", np.ones(self.count))
        plain = self.name, {key: value for key, value in self.loss[1].items() if key != "weights"}
        return np.array([w * ref.loss(plain, out[[i]], self.y[[i]]) for i, w in enumerate(weights)])

    def expected_deltas(self):
        if self.name in formulas.FROM_LOGITS or self.name == "poisson":
            return ref.loss_derivative(self.loss, self.logits, self.y)
        a = curves.activate(self.act, self.logits, 0.3)
        d = ref.loss_derivative(self.loss, a, self.y)
        # threshold is led back straight through
        return d if self.act == "threshold" else ref._through((self.act, 0.3), self.logits, d)

    def check(self):
        before, eps = self.row_losses(), np.finfo(self.dtype).eps
        untouched = harness.block(self.one, 1, D)[self.count :]
        output.losses(self.one)
        found, expected = self.row_losses(), self.expected_losses()
        scale = (1 + abs(self.logits).max(axis=1)) ** 2 * (1 + abs(self.y).max())
        assert (abs(found[: self.count] - expected) <= 8 * (self.n + 8) * eps * scale).all()
        assert np.array_equal(found[self.count :], before[self.count :])
        deltas, slopes = harness.block(self.one, 1, D), self.expected_deltas()
        np.testing.assert_allclose(deltas[: self.count], slopes, rtol=0, atol=64 * eps * (abs(slopes).max() + 0.1))
        assert np.array_equal(deltas[self.count :], untouched)
        assert self.one.work.words.copy_to_host()[FLAG] == 0
        return self

    def hits(self):
        return int(self.one.work.words.copy_to_host()[HITS])


PAIRS = [
    ("cross_entropy", "softmax"),
    ("binary_cross_entropy", "sigmoid"),
    ("poisson", "linear"),
    ("mse", "softmax"),
    ("half_mse", "linear"),
    ("mae", "gelu"),
    ("huber", "tanh"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 10, 33, 130])
@pytest.mark.parametrize(("name", "act"), PAIRS)
def test_losses_and_deltas(name, act, n, dtype):
    Case(name, act, n, dtype, count=3 if n == 10 else 5).check()


@pytest.mark.parametrize("act", ELEMENTWISE)
@pytest.mark.parametrize("name", ["mse", "half_mse", "mae", "huber"])
def test_every_output_activation(name, act):
    Case(name, act, 5, np.float64).check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "act"), PAIRS)
def test_weights_of_samples(name, act, dtype):
    Case(name, act, 7, dtype, weighted=True, smoothing=0.2 if "entropy" in name else 0.0).check()


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_are_one_hot(name, smoothing):
    case = Case(name, formulas.FROM_LOGITS[name], 6, np.float64, labels=True, smoothing=smoothing, count=4)
    case.check()


@pytest.mark.parametrize(("name", "act"), [("cross_entropy", "softmax"), ("mse", "sigmoid")])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("n", [2, 33, 130])
def test_hits_of_classes(n, labels, name, act):
    case = Case(name, act, n, np.float64, rows=7, count=6, labels=labels, accuracy=work.CLASSES)
    classes = case.labels[case.samples] if labels else case.y.argmax(axis=1)
    z = case.z.copy()
    z[:4] = -1.0
    z[np.arange(4), classes[:4]] = 2.0  # four right answers at least
    harness.put(case.one, 1, A, z)
    output.losses(case.one)
    assert case.hits() == (z[: case.count].argmax(axis=1) == classes).sum() >= 4


def test_of_equal_outputs_the_first_counts():
    case = Case("cross_entropy", "softmax", 40, np.float64, labels=True, accuracy=work.CLASSES)
    z = np.zeros_like(case.z)
    z[:, 3] = z[:, 36] = z[:, 35] = 1.0
    harness.put(case.one, 1, A, z)
    case.one.work.labels.copy_to_device(np.full(SAMPLES, 3, np.int32))
    output.losses(case.one)
    assert case.hits() == 5


@pytest.mark.parametrize(("name", "border"), [("binary_cross_entropy", 0.0), ("mse", 0.5)])
def test_hits_of_yes_or_no(name, border):
    case = Case(name, "sigmoid" if border == 0 else "linear", 5, np.float32, count=4, accuracy=work.BINARY)
    output.losses(case.one)
    expected = ((case.logits > border) == (case.y > 0.5)).sum()
    assert case.hits() == expected
    assert 0 < expected < 20


@pytest.mark.filterwarnings("ignore:.*invalid value")
@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
@pytest.mark.parametrize("given", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_raises_the_flag(name, given):
    for row, flag in ((1, 1), (4, 0)):  # row 4 is behind the last
        case = Case(name, "softmax" if name == "cross_entropy" else "linear", 5, np.float64, count=4)
        z = case.z.copy()
        z[row, 2] = given
        harness.put(case.one, 1, A, z)
        output.losses(case.one)
        assert case.one.work.words.copy_to_host()[FLAG] == flag


def test_large_logits_do_not_overflow():
    case = Case("cross_entropy", "softmax", 5, np.float32, labels=True)
    harness.put(case.one, 1, A, case.z * 1000)
    case.z = case.z * 1000
    case.check()


@pytest.mark.parametrize("n", [1, 6])
def test_padding_of_deltas_is_0(n):
    case = Case("mse", "linear", n, np.float64)
    output.losses(case.one)
    stride, start = case.one.at(1, STRIDE), case.one.at(1, D)
    whole = case.one.work.space.copy_to_host()[start : start + case.rows * stride].reshape(case.rows, stride)
    assert case.one.at(1, WIDTH) > n
    assert (whole[:, n : case.one.at(1, WIDTH)] == 0).all()


@pytest.mark.parametrize(("name", "act"), PAIRS)
def test_without_deltas_nothing_but_outputs_and_losses_is_written(name, act):
    case = Case(name, act, 5, np.float64)
    case.one.table[1, SPLITS] = 0
    case.one.work.table.copy_to_device(case.one.table.ravel().astype(np.uint32))
    before = case.one.work.space.copy_to_host()
    output.losses(case.one)
    start, rows = int(case.one.numbers[work.LOSSES]), case.rows
    outputs = slice(case.one.at(1, A), case.one.at(1, A) + rows * case.one.at(1, STRIDE))
    after = case.one.work.space.copy_to_host()
    assert np.allclose(after[start : start + rows], case.expected_losses(), rtol=1e-12)
    for part in (outputs, slice(start, start + rows)):
        after[part] = before[part]
    assert np.array_equal(after, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 129])
@pytest.mark.parametrize("act", ["softmax", "sigmoid", "gelu", "linear"])
def test_activations_for_prediction(act, n, dtype):
    case = Case("mse", act, n, dtype, count=4)
    output.activate(case.one)
    found = harness.block(case.one, 1, A)
    expected = curves.activate(act, case.logits)
    np.testing.assert_allclose(found[:4], expected, rtol=(n + 16) * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    assert np.array_equal(found[4], case.z[4])
