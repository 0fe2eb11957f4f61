"""Activations of a block of rows, in place, and the deltas that flow back through them.

feed:   z (rows, width)  ->  a = f(z), written over z
delta:  d (rows, width)  ->  d * g, written over d, where g = f' is computed from the stored output a, or from a copy of
        z where `needs_z` says so

beta is the slope of leaky ReLU and the scale of ELU. Rows are `stride` elements apart and padded to whole vectors.
Softmax is no function of one element: see output.py. Noise and the users' own functions are in rowwise.py.
"""

from fastnn_kernels.elementary import erf, exp, expm1, sigmoid, softplus, tanh
from fastnn_kernels.jit import kernel
from fastnn_kernels.native import fill, fma, lanes, load, maximum, minimum, select, store

CODES = {
    "linear": 0,
    "threshold": 1,
    "sigmoid": 2,
    "tanh": 3,
    "relu": 4,
    "leaky_relu": 5,
    "elu": 6,
    "softplus": 7,
    "softmax": 8,
    "hard_sigmoid": 9,
    "hard_tanh": 10,
    "noisy_relu": 11,
    "gelu": 12,
    "silu": 13,
    "hard_swish": 14,
    "custom": 15,
}
LINEAR, THRESHOLD, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, SOFTMAX = range(9)
HARD_SIGMOID, HARD_TANH, NOISY_RELU, GELU, SILU, HARD_SWISH, CUSTOM = range(9, 16)


@kernel
def needs_z(code):
    """Whether the derivative is computed from z: the output does not tell it."""
    return code >= GELU


@kernel
def _threshold(z, beta):
    """1 if z > 0 else 0; NaN stays NaN"""
    return select(z > 0.0, fill(z, 1.0), z * 0.0)


@kernel
def _sigmoid(z, beta):
    return sigmoid(z)


@kernel
def _tanh(z, beta):
    return tanh(z)


@kernel
def _relu(z, beta):
    return maximum(fill(z, 0.0), z)  # in this order NaN stays NaN


@kernel
def _leaky_relu(z, beta):
    return select(z > 0.0, z, beta * z)


@kernel
def _elu(z, beta):
    return select(z > 0.0, z, beta * expm1(z))


@kernel
def _softplus(z, beta):
    return softplus(z)


@kernel
def _hard_sigmoid(z, beta):
    return minimum(fill(z, 6.0), maximum(fill(z, 0.0), z + 3.0)) / 6.0


@kernel
def _hard_tanh(z, beta):
    return minimum(fill(z, 1.0), maximum(fill(z, -1.0), z))


@kernel
def _gelu(z, beta):
    """z Phi(z), Phi(z) = (1 + erf(z / sqrt(2))) / 2: the normal distribution"""
    return 0.5 * z * (1.0 + erf(z * 0.7071067811865476))


@kernel
def _silu(z, beta):
    return z * sigmoid(z)


@kernel
def _hard_swish(z, beta):
    return z * _hard_sigmoid(z, beta)


@kernel
def _sigmoid_delta(d, a, beta):
    return d * a * (1.0 - a)


@kernel
def _tanh_delta(d, a, beta):
    return d * fma(-a, a, 1.0)


@kernel
def _relu_delta(d, a, beta):
    return select(a > 0.0, d, 0.0)


@kernel
def _leaky_relu_delta(d, a, beta):
    return select(a > 0.0, d, beta * d)


@kernel
def _elu_delta(d, a, beta):
    return select(a > 0.0, d, d * (a + beta))


@kernel
def _softplus_delta(d, a, beta):
    return -d * expm1(-a)  # sigmoid(z) = 1 - e^-a


@kernel
def _hard_sigmoid_delta(d, a, beta):
    return select((a > 0.0) & (a < 1.0), d / 6.0, 0.0)


@kernel
def _hard_tanh_delta(d, a, beta):
    return select((a > -1.0) & (a < 1.0), d, 0.0)


@kernel
def _gelu_delta(d, z, beta):
    """g = Phi(z) + z phi(z), phi(z) = e^(-z^2 / 2) / sqrt(2 pi): the normal density"""
    distribution = fma(erf(z * 0.7071067811865476), 0.5, 0.5)
    return d * fma(z * exp(-0.5 * z * z), 0.3989422804014327, distribution)


@kernel
def _silu_delta(d, z, beta):
    """g = s + z s (1 - s), s = sigmoid(z)"""
    s = sigmoid(z)
    return d * fma(z * s, 1.0 - s, s)


@kernel
def _hard_swish_delta(d, z, beta):
    g = select(z > -3.0, fma(z, 1.0 / 3.0, 0.5), 0.0)
    return select(z < 3.0, d * g, d)


def _each_output(function):
    @kernel
    def block(z, stride, rows, width, beta):
        for _ in range(rows):
            for j in range(0, width, lanes(z)):
                store(z + j, function(load(z + j), beta))
            z = z + stride

    return block


def _each_delta(function):
    @kernel
    def block(d, a, stride, rows, width, beta):
        for _ in range(rows):
            for j in range(0, width, lanes(d)):
                store(d + j, function(load(d + j), load(a + j), beta))
            d = d + stride
            a = a + stride

    return block


_feed_threshold = _each_output(_threshold)
_feed_sigmoid = _each_output(_sigmoid)
_feed_tanh = _each_output(_tanh)
_feed_relu = _each_output(_relu)
_feed_leaky_relu = _each_output(_leaky_relu)
_feed_elu = _each_output(_elu)
_feed_softplus = _each_output(_softplus)
_feed_hard_sigmoid = _each_output(_hard_sigmoid)
_feed_hard_tanh = _each_output(_hard_tanh)
_feed_gelu = _each_output(_gelu)
_feed_silu = _each_output(_silu)
_feed_hard_swish = _each_output(_hard_swish)
_delta_sigmoid = _each_delta(_sigmoid_delta)
_delta_tanh = _each_delta(_tanh_delta)
_delta_relu = _each_delta(_relu_delta)
_delta_leaky_relu = _each_delta(_leaky_relu_delta)
_delta_elu = _each_delta(_elu_delta)
_delta_softplus = _each_delta(_softplus_delta)
_delta_hard_sigmoid = _each_delta(_hard_sigmoid_delta)
_delta_hard_tanh = _each_delta(_hard_tanh_delta)
_delta_gelu = _each_delta(_gelu_delta)
_delta_silu = _each_delta(_silu_delta)
_delta_hard_swish = _each_delta(_hard_swish_delta)


@kernel
def feed(code, beta, z, stride, rows, width):
    """z (rows, width) -> f(z) in place; noisy ReLU without its noise."""
    if code in (RELU, NOISY_RELU):
        _feed_relu(z, stride, rows, width, beta)
    elif code == SIGMOID:
        _feed_sigmoid(z, stride, rows, width, beta)
    elif code == TANH:
        _feed_tanh(z, stride, rows, width, beta)
    elif code == LEAKY_RELU:
        _feed_leaky_relu(z, stride, rows, width, beta)
    elif code == ELU:
        _feed_elu(z, stride, rows, width, beta)
    elif code == SOFTPLUS:
        _feed_softplus(z, stride, rows, width, beta)
    elif code == THRESHOLD:
        _feed_threshold(z, stride, rows, width, beta)
    elif code == HARD_SIGMOID:
        _feed_hard_sigmoid(z, stride, rows, width, beta)
    elif code == HARD_TANH:
        _feed_hard_tanh(z, stride, rows, width, beta)
    elif code == GELU:
        _feed_gelu(z, stride, rows, width, beta)
    elif code == SILU:
        _feed_silu(z, stride, rows, width, beta)
    elif code == HARD_SWISH:
        _feed_hard_swish(z, stride, rows, width, beta)


@kernel
def delta(code, beta, d, a, stride, rows, width):
    """d (rows, width) -> d * g in place; a: outputs, or pre-activations where `needs_z`.

    Linear, and threshold by its straight-through surrogate, change nothing.
    """
    if code in (RELU, NOISY_RELU):
        _delta_relu(d, a, stride, rows, width, beta)
    elif code == SIGMOID:
        _delta_sigmoid(d, a, stride, rows, width, beta)
    elif code == TANH:
        _delta_tanh(d, a, stride, rows, width, beta)
    elif code == LEAKY_RELU:
        _delta_leaky_relu(d, a, stride, rows, width, beta)
    elif code == ELU:
        _delta_elu(d, a, stride, rows, width, beta)
    elif code == SOFTPLUS:
        _delta_softplus(d, a, stride, rows, width, beta)
    elif code == HARD_SIGMOID:
        _delta_hard_sigmoid(d, a, stride, rows, width, beta)
    elif code == HARD_TANH:
        _delta_hard_tanh(d, a, stride, rows, width, beta)
    elif code == GELU:
        _delta_gelu(d, a, stride, rows, width, beta)
    elif code == SILU:
        _delta_silu(d, a, stride, rows, width, beta)
    elif code == HARD_SWISH:
        _delta_hard_swish(d, a, stride, rows, width, beta)
