"""Losses of one output, with their derivatives: the formulas of ../loss.py.

yhat: the output, or the logit z where the loss is computed from it; y: its target. Cross-entropy is of a whole row:
see output.py.
"""

import math

from fastnn_kernels.cuda.activation import bounded, relu, sigmoid
from fastnn_kernels.cuda.driver import device
from fastnn_kernels.loss import BINARY_CROSS_ENTROPY, HALF_MSE, HUBER, MAE, POISSON


@device
def smooth(y, smoothing, classes):
    """(1 - smoothing) y + smoothing / classes"""
    return (type(y)(1) - smoothing) * y + smoothing / classes


@device
def _huber(r, delta):
    """r^2 / 2 up to abs(r) = delta, delta (abs(r) - delta / 2) beyond"""
    inside = bounded(r, -delta, delta)
    return inside * (r - type(r)(0.5) * inside)


@device
def _binary_cross_entropy(z, y):
    """ln(1 + e^z) - y z"""
    return relu(z) - z * y + math.log1p(math.exp(-abs(z)))


@device
def term(code, delta, yhat, y):
    """What one output adds to the loss of its row; delta: huber's."""
    real, r = type(yhat), yhat - y
    if code == BINARY_CROSS_ENTROPY:
        return _binary_cross_entropy(yhat, y)
    if code == MAE:
        return abs(r)
    if code == HUBER:
        return _huber(r, delta)
    if code == POISSON:
        return real(math.exp(yhat)) - y * yhat
    return real(0.5) * r * r if code == HALF_MSE else r * r


@device
def slope(code, delta, yhat, y):
    """The derivative of `term` by yhat; of mae 0 at 0."""
    real, r = type(yhat), yhat - y
    if code == BINARY_CROSS_ENTROPY:
        return sigmoid(yhat) - y
    if code == MAE:
        return real(1) if r > real(0) else real(-1) if r < real(0) else real(0)
    if code == HUBER:
        return bounded(r, -delta, delta)
    if code == POISSON:
        return real(math.exp(yhat)) - y
    return r if code == HALF_MSE else real(2) * r
