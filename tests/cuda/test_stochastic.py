"""Steps of one sample in one block against the oracle's training, sample by sample."""

from __future__ import annotations

import harness
import numpy as np
import pytest

from fastnn_kernels import layout, optimizer, schedule, work
from fastnn_kernels import loss as losses
from fastnn_kernels import reference as ref
from fastnn_kernels.activation import CODES
from fastnn_kernels.cuda import stochastic
from fastnn_kernels.cuda.work import FLAG, HITS, LOSS, STEPS, T
from fastnn_kernels.optimizer import LR, SCHEDULE

SAMPLES, LEARNING_RATE, DONE = 7, 0.05, 40
NETWORKS = {  # sizes, activation of the hidden layers, of the output, loss
    "one layer": ((3, 2), "linear", "linear", "mse"),
    "one unit": ((1, 1, 1), "sigmoid", "linear", "half_mse"),
    "classes": ((5, 17, 9, 3), "relu", "softmax", "cross_entropy"),
    "wide": ((2, 70, 1), "tanh", "sigmoid", "binary_cross_entropy"),
    "from z": ((9, 33, 34), "gelu", "tanh", "huber"),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Fewer threads than columns and rows of the layers."""
    monkeypatch.setattr(stochastic, "LEAST_THREADS", 16)
    monkeypatch.setattr(stochastic, "MOST_THREADS", {"float32": 16, "float64": 16})


class Case:
    """A network on the device, and what the oracle trains."""

    def __init__(self, name, dtype, share_of_zeros=0.0, **given):
        self.sizes, hidden, last, self.loss = NETWORKS[name]
        rng = np.random.default_rng(len(name))
        self.names = [hidden] * (len(self.sizes) - 2) + [last]
        self.X = rng.normal(size=(SAMPLES, self.sizes[0])) * (rng.random((SAMPLES, self.sizes[0])) >= share_of_zeros)
        self.Y = np.eye(self.sizes[-1])[rng.integers(0, self.sizes[-1], SAMPLES)]
        self.order, self.dtype = rng.permutation(SAMPLES), np.dtype(dtype)
        self.constants = np.zeros(optimizer.CONSTANTS)
        self.constants[LR], self.constants[SCHEDULE + schedule.STEPS] = LEARNING_RATE, SAMPLES
        numbers = {work.LOSS: losses.CODES[self.loss], work.TARGET: work.DENSE, work.ACCURACY: work.CLASSES}
        numbers[work.NORMALIZED] = int("shift" in given)
        self.one = harness.make(
            self.sizes,
            [CODES[name] for name in self.names],
            stochastic.ROWS,
            dtype,
            numbers=numbers,
            constants=self.constants,
            X=self.X.ravel(),
            targets=self.Y.ravel(),
            order=self.order,
            loss_constants=[1.0, 0.0],
            **given,
        )
        self.one.work.now[T] = DONE
        scaled = self.one.work.params.copy_to_host() / 3  # so that steps stay small
        self.one.work.params.copy_to_device(scaled.astype(dtype))
        self.start = self.weights()

    def weights(self):
        """(W, b) of every layer in float64; what is not theirs is 0."""
        flat = self.one.work.params.copy_to_host()
        found = [harness.weight(self.one, layer, flat) for layer in range(1, len(self.sizes))]
        copies = [(W.astype(np.float64), b.astype(np.float64)) for W, b in found]
        for W, b in found:
            W[:], b[:] = 0, 0
        assert not flat.any()
        return copies

    def expected(self, rates=None):
        """The oracle's weights after all samples, and the losses."""
        X, weights, costs = self.X.astype(self.dtype).astype(np.float64), self.start, []
        loss = (self.loss, {"delta": 1.0}) if self.loss == "huber" else self.loss
        for i, row in enumerate(self.order):
            constants = {"lr": LEARNING_RATE if rates is None else rates[i]}
            weights, cost = ref.train(weights, self.names, loss, X[[row]], self.Y[[row]], [[0]], "sgd", constants)
            costs += cost
        return weights, costs

    def check(self, weights):
        bound = 200 * np.finfo(self.dtype).eps
        for (W, b), (dW, db) in zip(self.weights(), weights, strict=True):
            np.testing.assert_allclose(W, dW, rtol=0, atol=bound)
            np.testing.assert_allclose(b, db, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_epoch_is_the_oracle_s(name, dtype):
    case = Case(name, dtype)
    stochastic.epoch(case.one, 0, SAMPLES)
    weights, costs = case.expected()
    case.check(weights)
    words, sums = case.one.work.words.copy_to_host(), case.one.work.sums.copy_to_host()
    assert sums[LOSS] == pytest.approx(sum(costs), rel=100 * float(np.finfo(dtype).eps))
    assert words[STEPS] == SAMPLES
    assert case.one.work.now[T] == DONE + SAMPLES
    assert words[FLAG] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_are_skipped_and_launches_follow_each_other(dtype):
    case = Case("classes", dtype, share_of_zeros=0.7)
    for first, count in ((0, 1), (1, 3), (4, 0), (4, SAMPLES - 4)):
        stochastic.epoch(case.one, first, count)
    weights, _ = case.expected()
    case.check(weights)
    whole = Case("classes", dtype, share_of_zeros=0.7)
    stochastic.epoch(whole.one, 0, SAMPLES)
    assert whole.one.work.params.copy_to_host().tobytes() == case.one.work.params.copy_to_host().tobytes()


def test_right_answers_are_counted():
    case = Case("classes", np.float64)
    case.one.work.constants[LR] = 0.0
    stochastic.epoch(case.one, 0, SAMPLES)
    _, outputs = ref.feedforward(case.start, case.names, case.X)[-1]
    assert case.one.work.words[HITS] == (outputs.argmax(axis=1) == case.Y.argmax(axis=1)).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rate_follows_its_schedule(dtype):
    case = Case("one layer", dtype)
    constants = case.one.work.constants
    constants[SCHEDULE + schedule.CODE], constants[SCHEDULE + schedule.GAMMA] = schedule.EXPONENTIAL, 0.5
    constants[SCHEDULE + schedule.FIRST] = DONE
    stochastic.epoch(case.one, 0, SAMPLES)
    weights, _ = case.expected([LEARNING_RATE * 0.5 ** (i / SAMPLES) for i in range(SAMPLES)])
    case.check(weights)


def test_inputs_are_normalized():
    rng = np.random.default_rng(8)
    shift, scale = rng.normal(size=5), rng.uniform(1, 2, 5)
    case = Case("classes", np.float64, shift=shift, scale=scale)
    stochastic.epoch(case.one, 0, SAMPLES)
    case.X = (case.X - shift) * scale
    case.check(case.expected()[0])


@pytest.mark.parametrize("bad", [0, 3])
def test_a_loss_that_is_not_finite_ends_it_before_its_update(bad):
    case, good = Case("classes", np.float64), Case("classes", np.float64)
    case.one.work.targets[case.order[bad] * case.sizes[-1]] = np.nan
    stochastic.epoch(case.one, 0, SAMPLES)
    stochastic.epoch(good.one, 0, bad)
    assert case.one.work.words[FLAG] != 0
    assert case.one.work.words[STEPS] == bad
    assert case.one.work.sums[LOSS] == good.one.work.sums[LOSS]
    assert case.one.work.params.copy_to_host().tobytes() == good.one.work.params.copy_to_host().tobytes()
    stochastic.epoch(case.one, 0, SAMPLES)
    assert case.one.work.params.copy_to_host().tobytes() == good.one.work.params.copy_to_host().tobytes()


def test_the_block_grows_with_the_largest_layer(monkeypatch):
    monkeypatch.setattr(stochastic, "LEAST_THREADS", 128)
    for sizes, threads in (((3, 4), 128), ((64, 32, 10), 256), ((784, 512), 1024)):
        table = layout.parameters(sizes, [0] * (len(sizes) - 1), np.dtype(np.float32), None, harness.DEVICE).table
        one = harness.Pass(None, table, None, None, 2, 0)
        assert stochastic._threads(one, 1024) == threads
