"""Activations of a block of rows, in place, and the deltas that flow back through them.

feed:   z (rows, width)  ->  a = f(z), written over z
delta:  d (rows, width)  ->  d * g(a), written over d, where g = f' is computed from the stored output a

beta is the slope of leaky ReLU and the scale of ELU. Rows are `stride` elements apart and padded to whole vectors.
Softmax is no function of one element: see output.py.
"""

from fastnn_kernels.elementary import expm1, sigmoid, softplus, tanh
from fastnn_kernels.jit import kernel
from fastnn_kernels.native import fill, fma, lanes, load, maximum, select, store

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
}
LINEAR, THRESHOLD, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS, SOFTMAX = range(9)


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
_delta_sigmoid = _each_delta(_sigmoid_delta)
_delta_tanh = _each_delta(_tanh_delta)
_delta_relu = _each_delta(_relu_delta)
_delta_leaky_relu = _each_delta(_leaky_relu_delta)
_delta_elu = _each_delta(_elu_delta)
_delta_softplus = _each_delta(_softplus_delta)


@kernel
def feed(code, beta, z, stride, rows, width):
    """z (rows, width) -> f(z) in place."""
    if code == RELU:
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


@kernel
def delta(code, beta, d, a, stride, rows, width):
    """d (rows, width) -> d * g(a) in place. Linear, and threshold by its straight-through surrogate, change nothing."""
    if code == RELU:
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
