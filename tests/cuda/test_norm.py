"""Batch and layer normalization on the device against the oracle: statistics, deltas, gradients, running averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import harness
import numpy as np
import pytest

from fastnn_kernels import layout
from fastnn_kernels import reference_norm as oracle
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import norm
from fastnn_kernels.cuda.work import COUNT, FLAG, PARTIAL, SIZE, SPLITS, Pass
from fastnn_kernels.layout import BATCH_NORM, BETA, GAMMA, LAYER_NORM, STRIDE, XHAT, A, B, D, W
from fastnn_kernels.norm import CONSTANTS, EPS, MOMENTUM

KINDS = {"batch": BATCH_NORM, "layer": LAYER_NORM}
SHAPES = [(2, 1), (5, 9), (3, 35), (27, 10)]  # rows that count, units
EPSILON, ROWS_BEHIND, SPLIT = 1e-3, 3, 3


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Fewer groups of rows, so that a few rows are more than the groups."""
    for name, value in (("GROUPS", 8), ("THREADS", 8 * norm.COLUMNS)):
        monkeypatch.setattr(norm, name, value)
        monkeypatch.setattr(norm, f"_{name}", np.uint32(value))


@dataclass
class Case:
    """One normalized layer on the device, and in float64: z, dy (count, n), gamma, beta (n,)."""

    one: Pass
    norm: tuple[str, float]
    z: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


def write(one: Pass, place: int, values: np.ndarray) -> None:
    """Rows into A or D of layer 1."""
    stride, flat = one.at(1, STRIDE), one.work.space.copy_to_host()
    for row, line in enumerate(values):
        start = one.at(1, place) + row * stride
        flat[start : start + len(line)] = line
    one.work.space.copy_to_device(flat)


@pytest.fixture
def case(rng, dtype, kind, shape):
    count, n = shape
    one = harness.make([4, n], [LINEAR], count + ROWS_BEHIND, dtype, norms=[KINDS[kind]], splits=SPLIT)
    one.work.now[COUNT] = count
    one.work.norms[CONSTANTS + EPS], one.work.norms[CONSTANTS + MOMENTUM] = EPSILON, 0.1
    gamma, beta = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
    one.work.params[one.at(1, GAMMA) : one.at(1, GAMMA) + n] = gamma
    one.work.params[one.at(1, BETA) : one.at(1, BETA) + n] = beta
    z = (rng.normal(size=(count, n)) * rng.uniform(0.1, 3, n) + rng.normal(size=n)).astype(dtype)
    dy = rng.normal(size=(count, n)).astype(dtype)
    write(one, A, z)
    write(one, D, dy)
    exact: list[Any] = [array.astype(np.float64) for array in (z, dy, gamma, beta)]
    return Case(one, (kind, EPSILON), *exact)


def padding(one: Pass, place: int, count: int) -> np.ndarray:
    """What lies behind the units of the rows that count."""
    start, stride = one.at(1, place), one.at(1, STRIDE)
    flat = one.work.space.copy_to_host()[start : start + count * stride]
    return flat.reshape(count, stride)[:, one.at(1, layout.N_OUT) :]


def rest(one: Pass, place: int, count: int) -> bytes:
    """The rows behind those that count."""
    return harness.block(one, 1, place)[count:].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_feed_delta_and_gradients_are_the_oracle_s(case, dtype, shape):
    one, (count, n), eps = case.one, shape, np.finfo(dtype).eps
    behind = rest(one, A, count), rest(one, D, count)
    xhat, s = oracle.normalize(case.norm, case.z)
    norm.feed(one, 1)
    bound = 8 * eps * (abs(case.z) / s).max() * np.sqrt(max(shape))
    np.testing.assert_allclose(harness.block(one, 1, XHAT)[:count], xhat, rtol=0, atol=bound)
    y = case.gamma * xhat + case.beta
    np.testing.assert_allclose(harness.block(one, 1, A)[:count], y, rtol=0, atol=4 * bound * abs(case.gamma).max())
    norm.delta(one, 1)
    dz, dgamma, dbeta = oracle.backward(case.norm, case.dy, xhat, s, case.gamma)
    bound *= 4 * abs(case.dy).max() * max(1, abs(xhat).max()) ** 2
    scale = abs(case.gamma).max() / s.min()
    np.testing.assert_allclose(harness.block(one, 1, D)[:count], dz, rtol=0, atol=bound * scale)
    assert behind == (rest(one, A, count), rest(one, D, count))
    assert not padding(one, A, count).any()
    assert not padding(one, D, count).any()
    norm.gradient(one, 1)
    given = partials(one)
    for place, expected in ((GAMMA, dgamma), (BETA, dbeta)):
        start = one.at(1, place) - one.at(1, W)
        np.testing.assert_allclose(given[0, start : start + n], expected, rtol=0, atol=bound * np.sqrt(count))
        given[0, start : start + n] = 0
    first = one.at(1, B) - one.at(1, W) + (0 if case.norm[0] == "batch" else one.at(1, layout.WIDTH))
    assert not given[:, first:].any()  # of the bias, of padding, in the other splits
    assert given[:, :first].all()  # as it was


def partials(one: Pass) -> np.ndarray:
    """The partial gradients of layer 1: (splits, size)."""
    start, size, splits = one.at(1, PARTIAL), one.at(1, SIZE), one.at(1, SPLITS)
    return one.work.space.copy_to_host()[start : start + splits * size].reshape(splits, size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["batch"])
@pytest.mark.parametrize("shape", [(50, 9)])
def test_statistics_far_from_0_are_careful(case, dtype, shape):
    """Numbers that differ by 1 at 3000: in float32, x^2 - mean^2 has no digit. The mean is rounded as they are."""
    far = (case.z + 3000).astype(dtype)
    write(case.one, A, far)
    norm.feed(case.one, 1)
    xhat, s = oracle.normalize(case.norm, far)
    bound = 2 * np.finfo(dtype).eps * (abs(far) / s).max()
    np.testing.assert_allclose(harness.block(case.one, 1, XHAT)[: shape[0]], xhat, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["batch"])
@pytest.mark.parametrize("shape", [(6, 5)])
def test_running_averages_move_unless_the_flag_is_set(case, rng, dtype, shape):
    one, n = case.one, shape[1]
    width = one.at(1, layout.WIDTH)
    before = rng.uniform(1, 2, size=2 * width).astype(dtype)
    one.work.running.copy_to_device(before)
    norm.feed(one, 1)
    one.work.words[FLAG] = 1
    norm.average(one, 1)
    assert one.work.running.copy_to_host().tobytes() == before.tobytes()
    one.work.words[FLAG] = 0
    norm.average(one, 1)
    known = tuple(before.astype(np.float64).reshape(2, width)[:, :n])
    expected, given = oracle.average(known, case.z, 0.1), one.work.running.copy_to_host().reshape(2, width)
    np.testing.assert_allclose(given[:, :n], expected, rtol=40 * np.finfo(dtype).eps)
    assert given[:, n:].tobytes() == before.reshape(2, width)[:, n:].tobytes()
