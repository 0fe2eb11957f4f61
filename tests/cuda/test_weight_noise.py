"""Disturbed weights and their gradients on the device against the oracle, with the processor's random numbers."""

import harness
import numpy as np
import pytest

import fastnn as fn
from fastnn_kernels import reference_noise as oracle
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import weight_noise
from fastnn_kernels.cuda.work import PARTIAL, SIZE, T
from fastnn_kernels.layout import DEPTH, FACTORS, NOISY, WIDTH, W
from fastnn_kernels.noise import CONSTANTS

NOISES = {
    "drop_connect": (fn.DropConnect(0.3), lambda W, t, seed: oracle.drop_connect(0.3, W, 1, t, seed)),
    "shakeout": (fn.Shakeout(0.4, 0.3), lambda W, t, seed: oracle.shakeout(0.4, 0.3, W, 1, t, seed)),
    "added": (fn.Whiteout(0.5, 1.0, 0.1), lambda W, t, seed: oracle.whiteout(0.5, 1.0, 0.1, "added", W, 1, t, seed)),
    "multiplied": (
        fn.Whiteout(0.4, 0.5, 0.2, "multiplied"),
        lambda W, t, seed: oracle.whiteout(0.4, 0.5, 0.2, "multiplied", W, 1, t, seed),
    ),
}
SHAPES = [(1, 1), (3, 5), (35, 9), (7, 70)]
STEP, SEED, SPLITS = 70_000, 5 << 33 | 9, 3


@pytest.fixture
def one(dtype, noise, shape):
    """A layer with noise; some of its weights are 0, some smaller than Whiteout's least."""
    given = NOISES[noise][0]
    numbers = {harness.work.SEED: SEED}
    made = harness.make(shape, [LINEAR], 2, dtype, noises=[given.code], splits=SPLITS, numbers=numbers)
    made.work.now[T] = STEP
    made.work.noise[CONSTANTS : CONSTANTS + len(given.constants())] = given.constants()
    weights = made.work.params.copy_to_host()
    weights[made.at(1, W) : made.at(1, W) + weights.size : 5] *= [0.0, 1e-5, 1.0][shape[0] % 3]
    made.work.params.copy_to_device(weights)
    return made


def parts(one, place):
    """NOISY or FACTORS without padding: (n_in, n_out), and what lies behind the weights."""
    depth, width, start = one.at(1, DEPTH), one.at(1, WIDTH), one.at(1, place)
    n_in, n_out = one.at(1, harness.layout.N_IN), one.at(1, harness.layout.N_OUT)
    whole = one.work.space.copy_to_host()[start : start + (depth + 1) * width].reshape(depth + 1, width)
    return whole[:n_in, :n_out].astype(np.float64), whole[depth, :n_out].astype(np.float64)


def expected(one, noise):
    weight, bias = (array.astype(np.float64) for array in harness.weight(one, 1, one.work.params.copy_to_host()))
    made = NOISES[noise][1](weight, STEP, SEED)
    slope = made.offset_slope if noise == "added" else made.slope
    return weight if made.weight is None else made.weight, bias + made.offset, np.broadcast_to(slope, weight.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("shape", SHAPES)
def test_disturbed_weights_are_the_oracle_s(one, dtype, noise, shape):
    weight_noise.disturb(one, 1)
    (weight, bias), (factors, _) = parts(one, NOISY), parts(one, FACTORS)
    noisy, offset, slope = expected(one, noise)
    assert np.array_equal(weight == 0, noisy == 0)  # the same mask
    eps = 32 * np.finfo(dtype).eps
    scale = max(1.0, abs(slope).max())
    np.testing.assert_allclose(factors, slope, rtol=eps, atol=eps * scale)
    np.testing.assert_allclose(weight, noisy, rtol=eps, atol=eps * scale)
    np.testing.assert_allclose(bias, offset, rtol=eps, atol=eps * scale * np.sqrt(shape[0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_become_those_of_the_weights_in_every_split(one, dtype, noise, shape):
    weight_noise.disturb(one, 1)
    start, size = one.at(1, PARTIAL), one.at(1, SIZE)
    before = one.work.space.copy_to_host()
    weight_noise.gradient(one, 1)
    after = one.work.space.copy_to_host()
    _, _, slope = expected(one, noise)
    for split in range(SPLITS):
        here = slice(start + split * size, start + (split + 1) * size)
        (g, db), (given, bias) = (harness.weight(one, 1, flat[here].astype(np.float64)) for flat in (before, after))
        bound = 64 * np.finfo(dtype).eps * max(1.0, abs(slope).max()) * max(abs(g).max(), abs(db).max())
        np.testing.assert_allclose(given, g + slope * db if noise == "added" else g * slope, rtol=0, atol=bound)
        assert np.array_equal(bias, db)
        before[here] = after[here]
    assert np.array_equal(before, after)  # nothing else is written
