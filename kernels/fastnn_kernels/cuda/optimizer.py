"""Optimizers, one parameter at a time: the formulas of ../optimizer.py.

rates are computed once a step by one thread, in float64 and from the same source as the processor's.
"""

import math

import numpy as np

from fastnn_kernels import optimizer
from fastnn_kernels.cuda.driver import device, ported
from fastnn_kernels.cuda.elementary import cos_sin_turns
from fastnn_kernels.cuda.work import T
from fastnn_kernels.optimizer import (
    ADAGRAD,
    ADAM,
    ADAMW,
    AMSGRAD,
    LOOKAHEAD,
    MOMENTUM,
    NADAM,
    NESTEROV,
    RMSPROP,
    SGD,
    Rates,
)
from fastnn_kernels.work import OPTIMIZER


@device
def _cosine(turns):
    c, _ = cos_sin_turns(turns, np.float64)
    return c


_INSTEAD = {"cosine": _cosine}  # of the library's, which needs local memory

learning_rate = ported(optimizer.learning_rate, _INSTEAD)
states = ported(optimizer.states)
_rates = ported(optimizer.rates, _INSTEAD)


@device
def rates(work):
    """Write the constants at step now[T] to work.rates; for one thread."""
    real = work.rates.dtype.type
    for i, rate in enumerate(_rates(work.numbers[OPTIMIZER], work.constants, work.now[T])):
        work.rates[i] = real(rate)


@device
def stored(work):
    """The Rates that `rates` wrote."""
    r = work.rates
    return Rates(r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15])


@device
def _momentum(rates, state, s1, w, g):
    speed = state[s1] * rates.beta1 + g
    state[s1] = speed
    return w - speed * rates.lr


@device
def _nesterov(rates, state, s1, w, g):
    speed = state[s1] * rates.beta1 + g
    state[s1] = speed
    return w - (speed * rates.beta1 + g) * rates.lr


@device
def _lookahead(rates, state, s1, w, g):
    speed = state[s1] * rates.beta1 - g * rates.lr
    state[s1] = speed
    return w + speed


@device
def _divided_by_root(a, x, rates):
    return a / (math.sqrt(x + rates.eps_root) + rates.eps)


@device
def _adagrad(rates, state, s1, w, g):
    square = state[s1] + g * g
    state[s1] = square
    return w - _divided_by_root(g * rates.lr, square, rates)


@device
def _square(rates, state, s, g):
    """The average of squares in `state`, moved by g."""
    square = state[s] * rates.beta2 + g * g * rates.rest2
    state[s] = square
    return square


@device
def _mean(rates, state, s, g):
    """The average of gradients in `state`, moved by g."""
    mean = state[s] * rates.beta1 + g * rates.rest1
    state[s] = mean
    return mean


@device
def _rmsprop(rates, state, s1, w, g):
    return w - _divided_by_root(g * rates.lr, _square(rates, state, s1, g), rates)


@device
def _adam(rates, state, s1, s2, w, g):
    mean, square = _mean(rates, state, s1, g), _square(rates, state, s2, g)
    return w - _divided_by_root(mean * (rates.lr * rates.correction), square, rates)


@device
def _amsgrad(rates, state, s1, s2, s3, w, g):
    mean, square = _mean(rates, state, s1, g), _square(rates, state, s2, g)
    most = state[s3]
    most = most if most > square else square
    state[s3] = most
    return w - _divided_by_root(mean * (rates.lr * rates.correction), most, rates)


@device
def _nadam(rates, state, s1, s2, w, g):
    mean, square = _mean(rates, state, s1, g), _square(rates, state, s2, g)
    step = g * (rates.lr * rates.direct) + mean * (rates.lr * rates.correction)
    return w - _divided_by_root(step, square, rates)


@device
def update(code, rates, state, i, size, w, g):
    """The new value of parameter i from its value w and its gradient g; state: vectors of `size`, overwritten."""
    s2 = i + size
    if code in (ADAM, ADAMW):
        return _adam(rates, state, i, s2, w, g)
    if code == SGD:
        return w - g * rates.lr
    if code == MOMENTUM:
        return _momentum(rates, state, i, w, g)
    if code == NESTEROV:
        return _nesterov(rates, state, i, w, g)
    if code == LOOKAHEAD:
        return _lookahead(rates, state, i, w, g)
    if code == ADAGRAD:
        return _adagrad(rates, state, i, w, g)
    if code == RMSPROP:
        return _rmsprop(rates, state, i, w, g)
    if code == AMSGRAD:
        return _amsgrad(rates, state, i, s2, s2 + size, w, g)
    if code == NADAM:
        return _nadam(rates, state, i, s2, w, g)
    return w
