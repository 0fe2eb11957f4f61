"""What happens to one element behind the products, against the oracle: activation, dropout, noisy ReLU, and back."""

import harness
import numpy as np
import pytest

from fastnn_kernels import noise
from fastnn_kernels import reference_activation as curves
from fastnn_kernels import reference_noise as noises
from fastnn_kernels.activation import CODES
from fastnn_kernels.cuda import element
from fastnn_kernels.cuda.driver import blocks_for, kernel, place
from fastnn_kernels.cuda.work import COUNT, START, TRAINING, T
from fastnn_kernels.layout import A, D, Z

DTYPES = [np.float32, np.float64]
SIZES, ROWS, SEED, STEP, FIRST = (3, 65, 5), 3, (1 << 40) + 5, 4, 2
P = 0.25
ORDER = np.array([7, 1, 4, 0, 6, 2, 3, 5])


@kernel
def _feed(work, layer, z, n):
    i = place()
    if i < z.size:
        element.feed_element(work, layer, i // n, i % n, z[i])


@kernel
def _delta(work, layer, d, n):
    i = place()
    if i < d.size:
        element.delta_element(work, layer, i // n, i % n, d[i])


def build(name, dtype, *, drops=False, is_training=True):
    now = np.zeros(4, np.int64)
    now[T], now[START], now[COUNT], now[TRAINING] = STEP, FIRST, ROWS, is_training
    constants = np.zeros((3, noise.CONSTANTS))
    if drops:
        constants[:, [noise.BORDER, noise.SCALE, noise.UNSCALE]] = P, 1 / (1 - P), 1 - P
    codes = [noise.DROPOUT if drops else noise.NONE] * 2
    betas = np.full(3, curves.BETAS.get(name, 0.0))
    order, numbers = ORDER, {harness.work.SEED: SEED}
    return harness.make(
        SIZES,
        [CODES[name]] * 2,
        ROWS,
        dtype,
        noises=codes,
        numbers=numbers,
        now=now,
        noise=constants.ravel(),
        betas=betas,
        order=order,
    )


def run(function, one, layer, values):
    values = np.ascontiguousarray(values, one.work.params.dtype).ravel()
    function[blocks_for(values.size, 64), 64](one.work, np.uint32(layer), values, np.uint32(SIZES[layer]))


def factors(layer, drops):
    if not drops:
        return 1.0
    return noises.dropout(P, ORDER[FIRST : FIRST + ROWS], SIZES[layer], layer, STEP, SEED).output


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("name", ["linear", "tanh", "elu", "gelu", "hard_swish"])
def test_a_hidden_element_there_and_back(name, drops, dtype, rng):
    one, eps = build(name, dtype, drops=drops), np.finfo(dtype).eps
    z, d = (rng.normal(size=(ROWS, SIZES[1])).astype(dtype) for _ in range(2))
    run(_feed, one, 1, z)
    exact, factor = z.astype(np.float64), factors(1, drops)
    np.testing.assert_allclose(
        harness.block(one, 1, A), curves.activate(name, exact) * factor, rtol=8 * eps, atol=8 * eps
    )
    if name in ("gelu", "hard_swish"):
        assert np.array_equal(harness.block(one, 1, Z), z)
    else:
        assert one.at(1, Z) == one.at(1, A)
    run(_delta, one, 1, d)
    expected = d * factor * curves.derivative(name, exact)
    np.testing.assert_allclose(harness.block(one, 1, D), expected, rtol=8 * eps, atol=16 * eps)
    if drops:
        assert 0 < (factor == 0).mean() < 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [1, 2])
def test_noisy_relu_draws_in_training(layer, dtype, rng):
    one, eps = build("noisy_relu", dtype), np.finfo(dtype).eps
    z = rng.normal(size=(ROWS, SIZES[layer])).astype(dtype)
    run(_feed, one, layer, z)
    rows = ORDER[FIRST : FIRST + ROWS]
    normal = np.array([noises.normals(SIZES[layer], "noisy_relu", layer, row, STEP, SEED) for row in rows])
    expected = curves.noisy_relu(z, normal)
    np.testing.assert_allclose(harness.block(one, layer, A), expected, rtol=0, atol=32 * eps)
    if layer == 1:
        run(_delta, one, 1, np.ones_like(z))
        assert np.array_equal(harness.block(one, 1, D), (harness.block(one, 1, A) > 0).astype(dtype))


@pytest.mark.parametrize("drops", [False, True])
def test_no_noise_outside_of_training(drops, rng):
    one = build("noisy_relu", np.float64, drops=drops, is_training=False)
    z = rng.normal(size=(ROWS, SIZES[1]))
    run(_feed, one, 1, z)
    assert np.array_equal(harness.block(one, 1, A), np.maximum(z, 0))
    run(_delta, one, 1, np.ones_like(z))
    assert np.array_equal(harness.block(one, 1, D), (z > 0).astype(float))


@pytest.mark.parametrize("name", ["tanh", "gelu", "softmax"])
def test_the_last_layer_keeps_its_logits(name, rng):
    one = build(name, np.float64)
    z = rng.normal(size=(ROWS, SIZES[2]))
    run(_feed, one, 2, z)
    assert np.array_equal(harness.block(one, 2, A), z)
    assert np.array_equal(harness.block(one, 2, Z), z)


def test_a_dropped_element_is_0_whatever_it_was():
    one = build("linear", np.float64, drops=True)
    run(_feed, one, 1, np.full((ROWS, SIZES[1]), np.inf))
    expected = np.where(factors(1, True) == 0, 0.0, np.inf)
    assert np.array_equal(harness.block(one, 1, A), expected)
