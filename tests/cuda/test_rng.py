"""Random numbers of the device: the same as the processor's."""

import numpy as np
import pytest

from fastnn_kernels import rng as host_rng
from fastnn_kernels.cuda import rng
from fastnn_kernels.cuda.driver import blocks_for, cuda, kernel, place
from fastnn_kernels.jit import entry
from fastnn_kernels.native import address
from fastnn_kernels.rng import RUN

STREAM, SAMPLE, STEP, SEED = (3 << 16) + 1, 5, 70_000, 7 << 33 | 12


@kernel
def _draw(out, is_normal):
    j = place()
    if j < out.size:
        real = out.dtype.type
        if is_normal:
            out[j] = rng.normal(j, np.uint32(STREAM), np.uint32(SAMPLE), np.int64(STEP), np.int64(SEED), real)
        else:
            out[j] = rng.uniform(j, np.uint32(STREAM), np.uint32(SAMPLE), np.int64(STEP), np.int64(SEED), real)


@entry
def _draw_on_host(out, is_normal):
    if is_normal:
        host_rng.normals(address(out, 0), out.size, STREAM, SAMPLE, STEP, SEED)
    else:
        host_rng.uniforms(address(out, 0), out.size, STREAM, SAMPLE, STEP, SEED)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_normal", [False, True])
def test_a_row_of_numbers_is_the_processors(dtype, is_normal):
    expected, drawn = np.zeros(192, dtype), cuda.to_device(np.zeros(192, dtype))
    _draw_on_host(expected, is_normal)
    _draw[blocks_for(192, 32), 32](drawn, is_normal)
    np.testing.assert_allclose(drawn.copy_to_host(), expected, rtol=0, atol=8 * np.finfo(dtype).eps if is_normal else 0)


@kernel
def _draw_fours(out, is_normal):
    draw, real = place(), out.dtype.type
    if draw < rng.draws_of(np.uint32(out.size)):
        counter = np.uint32(STREAM), np.uint32(SAMPLE), np.int64(STEP), np.int64(SEED)
        four = rng.four_normals(draw, *counter, real) if is_normal else rng.four_uniforms(draw, *counter, real)
        for word in range(4):
            j = rng.first_element(draw) + np.uint32(word * RUN)
            if j < out.size:
                out[j] = four[word]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_normal", [False, True])
def test_the_four_numbers_of_a_draw_are_the_same(dtype, is_normal):
    single, fours = (cuda.to_device(np.zeros(150, dtype)) for _ in range(2))
    _draw[blocks_for(150, 32), 32](single, is_normal)
    _draw_fours[2, 32](fours, is_normal)
    assert fours.copy_to_host().tobytes() == single.copy_to_host().tobytes()
