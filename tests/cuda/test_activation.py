"""Activations of one element and their deltas against the oracle."""

import numpy as np
import pytest

from fastnn_kernels import activation as codes
from fastnn_kernels import reference_activation as curves
from fastnn_kernels.cuda import activation
from fastnn_kernels.cuda.driver import cuda, kernel, place

NAMES = [name for name in codes.CODES if name not in ("softmax", "custom")]
DTYPES = [np.float32, np.float64]
BETA = 0.3
KINKS = np.array(curves.KINKS)
Z = np.concatenate([KINKS, np.linspace(-9, 9, 31), [-0.0, 1e-6, -1e-6, 3e-20, -3e-20, 30, -30, 87, -87]])


@kernel
def _feed(code, beta, z):
    j = place()
    if j < z.size:
        z[j] = activation.feed(code, beta[0], z[j])


@kernel
def _delta(code, beta, d, a):
    j = place()
    if j < d.size:
        d[j] = activation.delta(code, beta[0], d[j], a[j])


def feed(name, z):
    array = cuda.to_device(z.copy())
    _feed[2, 32](codes.CODES[name], cuda.to_device(np.array([BETA], z.dtype)), array)
    return array.copy_to_host()


def delta(name, d, a):
    array = cuda.to_device(d.copy())
    _delta[2, 32](codes.CODES[name], cuda.to_device(np.array([BETA], d.dtype)), array, cuda.to_device(a))
    return array.copy_to_host()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_the_oracles(name, dtype):
    z, eps = Z.astype(dtype), np.finfo(dtype).eps
    a = feed(name, z)
    assert a.dtype == dtype
    # 1 + erf loses what lies below eps: so does the processor's
    lost = 2 * eps * abs(z) if name == "gelu" else 0.0
    error = abs(a - curves.activate(name, z.astype(np.float64), float(dtype(BETA))))
    assert (error <= 8 * eps * abs(a) + lost + np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_deltas_are_the_oracles(name, dtype, rng):
    z, eps = Z.astype(dtype), np.finfo(dtype).eps
    d = rng.normal(size=z.size).astype(dtype)
    kept = z if codes.needs_z(codes.CODES[name]) else feed(name, z)
    slope = curves.derivative(name, z.astype(np.float64), float(dtype(BETA)))
    if name == "threshold":
        slope = np.ones_like(slope)  # straight-through: Bengio, Leonard and Courville 2013
    # derivatives from outputs near 1 know no more than those outputs do
    np.testing.assert_allclose(delta(name, d, kept), d * slope, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_far_out_and_not_a_number(name, dtype):
    z = np.array([-1e4, -1e3, 1e3, 1e4, np.nan], dtype)
    a = feed(name, z)
    assert np.isnan(a).tolist() == [False] * 4 + [True]
    expected = curves.activate(name, z[:4].astype(np.float64), float(dtype(BETA)))
    np.testing.assert_allclose(a[:4], expected, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", NAMES)
def test_a_delta_that_is_not_a_number_is_seen(name):
    d, kept = np.array([np.nan]), np.array([0.5])  # where no activation is flat
    assert np.isnan(delta(name, d, kept)).all()
