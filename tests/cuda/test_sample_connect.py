"""DropConnect for every sample on the device: the three products against the oracle's masks."""

import harness
import numpy as np
import pytest

import fastnn as fn
from fastnn_kernels import reference_noise as oracle
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import sample_connect
from fastnn_kernels.cuda.work import COUNT, PARTIAL, SIZE, START, T
from fastnn_kernels.layout import BATCH_NORM, NO_NORM, A, D
from fastnn_kernels.noise import CONSTANTS, SAMPLE_CONNECT

SHAPES = [(1, 1, 2, 1), (3, 9, 4, 2), (9, 5, 3, 3), (2, 70, 5, 2)]  # n_in, n_out, rows that count, splits
ROWS_BEHIND, FIRST, STEP, SEED, P = 2, 3, 9, 3 << 32 | 4, 0.4


def sum_bound(dtype, *sizes):
    """Of a sum of so many products of numbers up to 5, some of them scaled."""
    return np.finfo(dtype).eps * 25 / (1 - P) * max(sizes)


class Case:
    """Layer 2 of a network has the noise; its rows begin at position FIRST of the order."""

    def __init__(self, shape, dtype, norm=NO_NORM):
        n_in, n_out, count, splits = shape
        self.count, self.shape, rows = count, shape, count + ROWS_BEHIND
        order = np.random.default_rng(1).permutation(rows + FIRST)
        self.one = harness.make(
            [2, n_in, n_out],
            [LINEAR, LINEAR],
            rows,
            dtype,
            norms=[NO_NORM, norm],
            noises=[0, SAMPLE_CONNECT],
            splits=splits,
            numbers={harness.work.SEED: SEED},
            order=order,
        )
        self.one.work.now[START], self.one.work.now[COUNT], self.one.work.now[T] = FIRST, count, STEP
        self.one.work.noise[2 * CONSTANTS : 2 * CONSTANTS + 3] = fn.DropConnect(P, "sample").constants()
        weight, self.bias = harness.weight(self.one, 2, self.one.work.params.copy_to_host().astype(np.float64))
        made = oracle.sample_connect(P, weight, order[FIRST : FIRST + count], 2, STEP, SEED)
        self.factors, self.masked = made.factors, weight * made.factors

    def block(self, layer, place):
        return harness.block(self.one, layer, place).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", [NO_NORM, BATCH_NORM])
@pytest.mark.parametrize("shape", SHAPES)
def test_feed(dtype, norm, shape):
    case = Case(shape, dtype, norm)
    x, before = case.block(1, A)[: case.count], case.block(2, A)
    sample_connect.feed(case.one, 2)
    z = np.einsum("sj,sjk->sk", x, case.masked) + case.bias
    after = case.block(2, A)
    np.testing.assert_allclose(after[: case.count], z, rtol=0, atol=sum_bound(dtype, shape[0]))
    assert np.array_equal(after[case.count :], before[case.count :])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_delta(dtype, shape):
    case = Case(shape, dtype)
    d, before = case.block(2, D)[: case.count], case.block(1, D)
    sample_connect.delta(case.one, 2)
    after = case.block(1, D)
    dx = np.einsum("sk,sjk->sj", d, case.masked)
    np.testing.assert_allclose(after[: case.count], dx, rtol=0, atol=sum_bound(dtype, shape[1]))
    assert np.array_equal(after[case.count :], before[case.count :])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient(dtype, shape):
    case, splits = Case(shape, dtype), shape[3]
    x, d = case.block(1, A)[: case.count], case.block(2, D)[: case.count]
    sample_connect.gradient(case.one, 2)
    start, size = case.one.at(2, PARTIAL), case.one.at(2, SIZE)
    partial = case.one.work.space.copy_to_host()[start : start + splits * size].reshape(splits, size).astype(np.float64)
    whole = np.zeros(case.one.numbers[harness.work.PARAMETERS])
    whole[case.one.at(2, harness.layout.W) :][:size] = partial.sum(axis=0)
    dW, db = harness.weight(case.one, 2, whole)
    bound = sum_bound(dtype, case.count)
    np.testing.assert_allclose(dW, np.einsum("sj,sk,sjk->jk", x, d, case.factors), rtol=0, atol=bound)
    np.testing.assert_allclose(db, d.sum(axis=0), rtol=0, atol=bound)
    dW[:], db[:] = 0, 0
    assert not whole.any()  # padding
