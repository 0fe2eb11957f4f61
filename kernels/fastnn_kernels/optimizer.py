"""Optimizers: one loop over a stretch of the flat vectors.

w: parameters, s1 and s2: state, g: the gradient of the mean loss, with the penalty's; `count` elements of each, whole
vectors. w, s1 and s2 are overwritten.

sgd       w -= lr g
momentum  s1 = beta s1 + g;  w -= lr s1
nesterov  s1 = beta s1 + g;  w -= lr (g + beta s1)
adam      s1 = beta1 s1 + (1 - beta1) g;  s2 = beta2 s2 + (1 - beta2) g^2
          w -= lr s1 / (1 - beta1^t) / (sqrt(s2 / (1 - beta2^t) + eps_root) + eps)

Sources: Polyak 1964; Nesterov 1983 in the one-gradient form of Sutskever et al. 2013; Kingma and Ba 2015.
"""

from typing import NamedTuple

from fastnn_kernels import schedule
from fastnn_kernels.elementary import divided_by_root
from fastnn_kernels.jit import kernel
from fastnn_kernels.native import fma, lanes, load, store

CODES = {"none": 0, "sgd": 1, "momentum": 2, "nesterov": 3, "adam": 4}
NONE, SGD, MOMENTUM, NESTEROV, ADAM = range(5)

# Indices of the constants.
LR = 0
BETA1 = 1
BETA2 = 2
EPS = 3
EPS_ROOT = 4
PENALTY_L1 = 5
PENALTY_L2 = 6
SCHEDULE = 7  # the constants of schedule.py follow
CONSTANTS = SCHEDULE + schedule.CONSTANTS


class Rates(NamedTuple):
    """The constants as they stand at one step."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    eps_root: float
    correction1: float
    correction2: float
    l1: float
    l2: float


@kernel
def learning_rate(constants, t):
    """The learning rate at step t, counted from 1."""
    return constants[LR] * schedule.factor(constants + SCHEDULE, t)


@kernel
def rates(code, constants, t):
    """The constants at step t, counted from 1."""
    correction1 = correction2 = 1.0
    if code == ADAM:
        correction1 = 1.0 / (1.0 - constants[BETA1] ** t)
        correction2 = 1.0 / (1.0 - constants[BETA2] ** t)
    return Rates(
        learning_rate(constants, t),
        constants[BETA1],
        constants[BETA2],
        constants[EPS],
        constants[EPS_ROOT],
        correction1,
        correction2,
        constants[PENALTY_L1],
        constants[PENALTY_L2],
    )


@kernel
def _sgd(rates, w, s1, s2, g, count):
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        store(w + i, fma(load(g + i), -rates.lr, weight))


@kernel
def _momentum(rates, w, s1, s2, g, count):
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        speed = fma(load(s1 + i), rates.beta1, load(g + i))
        store(s1 + i, speed)
        store(w + i, fma(speed, -rates.lr, weight))


@kernel
def _nesterov(rates, w, s1, s2, g, count):
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        slope = load(g + i)
        speed = fma(load(s1 + i), rates.beta1, slope)
        store(s1 + i, speed)
        store(w + i, fma(fma(speed, rates.beta1, slope), -rates.lr, weight))


@kernel
def _adam(rates, w, s1, s2, g, count):
    rate = rates.lr * rates.correction1
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        slope = load(g + i)
        mean = fma(load(s1 + i), rates.beta1, slope * (1.0 - rates.beta1))
        square = fma(load(s2 + i), rates.beta2, slope * slope * (1.0 - rates.beta2))
        store(s1 + i, mean)
        store(s2 + i, square)
        corrected = fma(square, rates.correction2, rates.eps_root)
        store(w + i, weight - divided_by_root(mean * rate, corrected, rates.eps))


@kernel
def update(code, rates, w, s1, s2, g, count):
    """One step of the optimizer on `count` elements."""
    if code == ADAM:
        _adam(rates, w, s1, s2, g, count)
    elif code == SGD:
        _sgd(rates, w, s1, s2, g, count)
    elif code == MOMENTUM:
        _momentum(rates, w, s1, s2, g, count)
    elif code == NESTEROV:
        _nesterov(rates, w, s1, s2, g, count)


def states(code: int) -> int:
    """How many vectors of state an optimizer has."""
    return {NONE: 0, SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2}[code]
