"""Augmented rows on the device against the oracle, and without augmentation against the data themselves."""

from __future__ import annotations

import harness
import numpy as np
import pytest

from fastnn.augment import Image, Noise
from fastnn_kernels import reference_augment as oracle
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import augment
from fastnn_kernels.cuda.work import COUNT, START, T
from fastnn_kernels.layout import STRIDE, A
from fastnn_kernels.work import NORMALIZED, SEED

IMAGES = {
    "rotate": Image(5, 7, rotate=30.0),
    "turn": Image(6, 6, rotate=180.0),
    "scale": Image(5, 7, scale=(0.5, 2.0)),
    "shear": Image(7, 5, shear=0.5),
    "shift": Image(5, 7, shift=2.5, fill=3.0),
    "out of sight": Image(3, 4, shift=100.0, fill=-1.0),
    "elastic": Image(5, 9, elastic=1.5, smooth=1.0),
    "coarse": Image(4, 13, elastic=2.0, smooth=50.0),
    "drop": Image(5, 7, drop=0.3, fill=2.0),
    "noise": Image(1, 70, noise=0.5),
    "all": Image(7, 9, 15.0, (0.9, 1.1), 0.1, 1.0, 0.7, 1.5, 0.05, 0.1, 0.25),
}
SAMPLES, FIRST, ROWS, ROWS_BEHIND, STEP, KEY = 5, 1, 2, 1, 70_001, 2**40 + 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Fewer threads than pixels."""
    monkeypatch.setattr(augment, "THREADS", 16)
    monkeypatch.setattr(augment, "_THREADS", np.uint32(16))


def gathered(a, X, dtype, **fields):
    """A of the input after `gather`, the rows that count, and their samples; nothing but padding is written beside."""
    samples, columns = X.shape
    plan = a.plan(columns, np.dtype(dtype), 1)
    order = np.random.default_rng(3).permutation(samples)
    fields |= {"X": X.ravel(), "order": order, "augment": plan.constants, "basis": plan.basis}
    numbers = {SEED: KEY, NORMALIZED: int("shift" in fields)}
    one = harness.make([columns, 2], [LINEAR], ROWS + ROWS_BEHIND, dtype, numbers=numbers, **fields)
    one.work.now[START], one.work.now[COUNT], one.work.now[T] = FIRST, ROWS, STEP
    start, stride = one.at(0, A), one.at(0, STRIDE)
    before = one.work.space.copy_to_host()
    augment.gather(one)
    after = one.work.space.copy_to_host()
    rows = after[start : start + ROWS * stride].reshape(ROWS, stride).astype(np.float64)
    assert not rows[:, columns:].any()
    after[start : start + ROWS * stride] = before[start : start + ROWS * stride]
    assert after.tobytes() == before.tobytes()
    return rows[:, :columns], order[FIRST : FIRST + ROWS]


def bound(a, dtype):
    """A point is computed from numbers of the size of a.width / scale; the value changes by at most `range` a pixel."""
    largest = (max(a.height, a.width) + a.shift) / a.scale[0]
    return 40 * np.finfo(dtype).eps * largest * 2 * max(1.0, abs(a.fill))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_the_oracle_s(rng, name, dtype):
    a = IMAGES[name]
    X = rng.uniform(0, 1, (SAMPLES, a.height * a.width)).astype(dtype)
    rows, samples = gathered(a, X, dtype)
    expected = oracle.augment(a, X.astype(np.float64), STEP, KEY)[samples]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=bound(a, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nodes_that_are_too_many_to_be_kept_are_the_same(rng, dtype, monkeypatch):
    a = IMAGES["all"]
    X = rng.uniform(0, 1, (SAMPLES, a.height * a.width)).astype(dtype)
    kept, _ = gathered(a, X, dtype)
    monkeypatch.setattr(augment, "_MOST_NODES", np.uint32(8))
    drawn, _ = gathered(a, X, dtype)
    assert drawn.tobytes() == kept.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_map_that_moves_nothing_leaves_the_bits(rng, dtype):
    a = Image(3, 7, shift=1e-300)  # 0 in steps of any pixel
    X = rng.normal(size=(SAMPLES, 21)).astype(dtype)
    rows, samples = gathered(a, X, dtype)
    assert np.array_equal(rows, X[samples])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_comes_before_normalization(rng, dtype):
    a, columns = Noise(0.5), 37
    X, shift, scale = (
        rng.normal(size=(SAMPLES, columns)).astype(dtype),
        rng.normal(size=columns),
        rng.normal(size=columns),
    )
    rows, samples = gathered(a, X, dtype, shift=shift, scale=scale)
    image = Image(1, columns, noise=0.5)
    expected = (oracle.augment(image, X.astype(np.float64), STEP, KEY)[samples] - shift) * scale
    np.testing.assert_allclose(rows, expected, rtol=0, atol=40 * np.finfo(dtype).eps)
