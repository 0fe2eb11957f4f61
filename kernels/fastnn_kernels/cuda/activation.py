"""Activations of one element, and the deltas that flow back through them: the formulas of ../activation.py.

feed:   z  ->  a = f(z)
delta:  d  ->  d * g, where g = f' is computed from the output a, or from z where `needs_z` says so

beta is the slope of leaky ReLU and the scale of ELU. All numbers are of one dtype, and so is the result. Exponentials
are of what is at most 0, so that nothing overflows. Softmax is no function of one element: see output.py.
"""

import math

from fastnn_kernels.activation import (
    ELU,
    GELU,
    HARD_SIGMOID,
    HARD_SWISH,
    HARD_TANH,
    LEAKY_RELU,
    NOISY_RELU,
    RELU,
    SIGMOID,
    SILU,
    SOFTPLUS,
    TANH,
    THRESHOLD,
)
from fastnn_kernels.activation import needs_z as _needs_z
from fastnn_kernels.cuda.driver import device, ported

needs_z = ported(_needs_z)


@device
def sigmoid(z):
    """1 / (1 + e^-z)"""
    real = type(z)
    small = math.exp(-abs(z))
    return (small if z < real(0) else real(1)) / (real(1) + small)


@device
def _threshold(z):
    """1 if z > 0 else 0; NaN stays NaN"""
    real = type(z)
    return real(1) if z > real(0) else z * real(0)


@device
def relu(z):
    """max(0, z); NaN stays NaN"""
    real = type(z)
    return real(0) if z < real(0) else z


@device
def _softplus(z):
    """ln(1 + e^z)"""
    return relu(z) + math.log1p(math.exp(-abs(z)))


@device
def bounded(z, low, high):
    """min(max(z, low), high); NaN stays NaN"""
    z = low if z < low else z
    return high if z > high else z


@device
def _hard_sigmoid(z):
    real = type(z)
    return bounded(z + real(3), real(0), real(6)) / real(6)


@device
def _normal_distribution(z):
    """(1 + erf(z / sqrt(2))) / 2"""
    real = type(z)
    return math.erf(z * real(0.7071067811865476)) * real(0.5) + real(0.5)


@device
def feed(code, beta, z):
    """f(z); z itself for linear and softmax; noisy ReLU without its noise."""
    real = type(z)
    if code in (RELU, NOISY_RELU):
        return relu(z)
    if code == SIGMOID:
        return sigmoid(z)
    if code == TANH:
        return real(math.tanh(z))
    if code == LEAKY_RELU:
        return z if z > real(0) else beta * z
    if code == ELU:
        return z if z > real(0) else beta * math.expm1(z)
    if code == SOFTPLUS:
        return _softplus(z)
    if code == THRESHOLD:
        return _threshold(z)
    if code == HARD_SIGMOID:
        return _hard_sigmoid(z)
    if code == HARD_TANH:
        return bounded(z, real(-1), real(1))
    if code == GELU:
        return z * _normal_distribution(z)
    if code == SILU:
        return z * sigmoid(z)
    if code == HARD_SWISH:
        return z * _hard_sigmoid(z)
    return z


@device
def _gelu_delta(d, z):
    """g = Phi(z) + z phi(z), phi(z) = e^(-z^2 / 2) / sqrt(2 pi): the normal density"""
    real = type(z)
    density = math.exp(real(-0.5) * z * z) * real(0.3989422804014327)
    return d * (_normal_distribution(z) + z * density)


@device
def _silu_delta(d, z):
    """g = s + z s (1 - s), s = sigmoid(z)"""
    s = sigmoid(z)
    return d * (s + z * s * (type(z)(1) - s))


@device
def _hard_swish_delta(d, z):
    real = type(z)
    if z < real(3):
        return d * (z * real(1.0 / 3.0) + real(0.5)) if z > real(-3) else d * real(0)
    return d


@device
def delta(code, beta, d, a):
    """d * g; a: the output, or the pre-activation where `needs_z`.

    Linear, and threshold by its straight-through surrogate, change nothing.
    """
    real = type(d)
    if code in (RELU, NOISY_RELU):
        return d if a > real(0) else real(0)
    if code == SIGMOID:
        return d * a * (real(1) - a)
    if code == TANH:
        return d * (real(1) - a * a)
    if code == LEAKY_RELU:
        return d if a > real(0) else beta * d
    if code == ELU:
        return d if a > real(0) else d * (a + beta)
    if code == SOFTPLUS:
        return -d * math.expm1(-a)  # sigmoid(z) = 1 - e^-a
    if code == HARD_SIGMOID:
        return d / real(6) if a > real(0) and a < real(1) else real(0)
    if code == HARD_TANH:
        return d if a > real(-1) and a < real(1) else real(0)
    if code == GELU:
        return _gelu_delta(d, a)
    if code == SILU:
        return _silu_delta(d, a)
    if code == HARD_SWISH:
        return _hard_swish_delta(d, a)
    return d
