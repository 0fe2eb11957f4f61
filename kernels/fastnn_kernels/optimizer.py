"""Optimizers: one loop over lines of the flat vectors, see lines.py.

w: parameters; s1, s2, s3: state; g, beside the lines: the gradient of the mean loss, with the penalty's. w and the
state are overwritten.

sgd        w -= lr g
momentum   s1 = beta s1 + g;  w -= lr s1
nesterov   s1 = beta s1 + g;  w -= lr (g + beta s1)
lookahead  s1 = beta s1 - lr g;  w += s1
adagrad    s1 += g^2;  w -= lr g / (sqrt(s1 + eps_root) + eps)
rmsprop    s1 = rho s1 + (1 - rho) g^2;  w -= lr g / (sqrt(s1 + eps_root) + eps)
adam       s1 = beta1 s1 + (1 - beta1) g;  s2 = beta2 s2 + (1 - beta2) g^2
           w -= lr s1 / (1 - beta1^t) / (sqrt(s2 / (1 - beta2^t) + eps_root) + eps)
adamw      adam after w -= lr decay w, of weights only (`shrink`)
amsgrad    adam with s3 = max(s3, s2) in the root in place of s2
nadam      adam's s1 and s2; with mu_t = beta1 (1 - 0.96^(t decay) / 2) and M_t = mu_1 ... mu_t
           w -= lr (g (1 - mu_t) / (1 - M_t) + s1 mu_t+1 / (1 - M_t+1)) / (sqrt(s2 / (1 - beta2^t) + eps_root) + eps)

lookahead: the course orders a step as w += s1; g there; s1 = beta s1 - lr g. Here the first line of the next step is
done at the end of this one, so that between steps w is where the next gradient is taken.

Sources: Polyak 1964; Nesterov 1983 in the one-gradient form of Sutskever et al. 2013; Duchi, Hazan and Singer 2011;
Tieleman and Hinton 2012; Kingma and Ba 2015; Loshchilov and Hutter 2019; Reddi, Kale and Kumar 2018; Dozat 2016.
"""

import math
from typing import NamedTuple

from fastnn_kernels import schedule
from fastnn_kernels.elementary import descended, under_root
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.lines import beside, line, put
from fastnn_kernels.native import fma, load, maximum
from fastnn_kernels.schedule import factor

CODES = {
    "none": 0,
    "sgd": 1,
    "momentum": 2,
    "nesterov": 3,
    "adam": 4,
    "lookahead": 5,
    "adagrad": 6,
    "rmsprop": 7,
    "adamw": 8,
    "amsgrad": 9,
    "nadam": 10,
}
NONE, SGD, MOMENTUM, NESTEROV, ADAM, LOOKAHEAD, ADAGRAD, RMSPROP, ADAMW, AMSGRAD, NADAM = range(11)

# Indices of the constants.
LR = 0
BETA1 = 1
BETA2 = 2  # rho of rmsprop too
EPS = 3
EPS_ROOT = 4
DECAY = 5  # of the weights in adamw, of the momentum in nadam
PENALTY_L1 = 6
PENALTY_L2 = 7
PROXIMAL = 8  # not 0: l1 acts by soft thresholds after the update, not by its gradient
CLIP_VALUE = 9  # 0: none
CLIP_NORM = 10  # 0: none
AVERAGE = 11  # decay of the average of the weights; 0: none
SCHEDULE = 12  # the constants of schedule.py follow
CONSTANTS = SCHEDULE + schedule.CONSTANTS


class Rates(NamedTuple):
    """The constants as they stand at one step.

    rest1, rest2: 1 - beta1 and 1 - beta2, which float32 would lose; correction: factor on the mean of the gradients,
    beside lr; direct: on the gradient itself; shrink: lr times the decay of the weights; l1: as a gradient, threshold:
    as soft thresholds; blend: how far the average of the weights moves.

    What corrects the mean of the squares is taken out of the root: all that stands over or beside the root is divided
    by its root, eps_root by itself.
    """

    lr: float
    beta1: float
    beta2: float
    rest1: float
    rest2: float
    eps: float
    eps_root: float
    correction: float
    direct: float
    shrink: float
    l1: float
    l2: float
    threshold: float
    clip_value: float
    clip_norm: float
    blend: float


@kernel
def learning_rate(constants, t):
    """The learning rate at step t, counted from 1."""
    return constants[LR] * factor(constants, SCHEDULE, t)


@kernel
def _nadam_corrections(beta1, decay, t):
    """mu_t+1 / (1 - M_t+1) and (1 - mu_t) / (1 - M_t) as a function of t, so that a second fit goes on exactly.

    The product stops where no more factor can be seen in 1 - M.
    """
    ratio = 0.96**decay
    product, power, i = 1.0, 1.0, 0
    while i < t and product > 1e-20:
        power *= ratio
        product *= beta1 * (1.0 - 0.5 * power)
        i += 1
    now = beta1 * (1.0 - 0.5 * ratio**t)
    upcoming = beta1 * (1.0 - 0.5 * ratio ** (t + 1))
    return upcoming / (1.0 - product * upcoming), (1.0 - now) / (1.0 - product)


@kernel
def rates(code, constants, t):
    """The constants at step t, counted from 1."""
    correction = squares = 1.0
    direct = shrink = 0.0
    lr = learning_rate(constants, t)
    if code in (ADAM, ADAMW, AMSGRAD, NADAM):
        correction = 1.0 / (1.0 - constants[BETA1] ** t)
        squares = 1.0 - constants[BETA2] ** t
    if code == NADAM:
        correction, direct = _nadam_corrections(constants[BETA1], constants[DECAY], t)
    root = math.sqrt(squares)
    if code == ADAMW:
        shrink = lr * constants[DECAY]
    l1, threshold, blend = constants[PENALTY_L1], 0.0, 0.0
    if constants[PROXIMAL] != 0.0:
        l1, threshold = 0.0, lr * l1
    if constants[AVERAGE] > 0.0:
        blend = 1.0 - min(constants[AVERAGE], (1.0 + t) / (10.0 + t))
    return Rates(
        lr,
        constants[BETA1],
        constants[BETA2],
        1.0 - constants[BETA1],
        1.0 - constants[BETA2],
        constants[EPS] * root,
        constants[EPS_ROOT] * squares,
        correction * root,
        direct * root,
        shrink,
        l1,
        constants[PENALTY_L2],
        threshold,
        constants[CLIP_VALUE],
        constants[CLIP_NORM],
        blend,
    )


@kernel
def _sgd(rates, lines, w, g):
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        put(lines, w + i, fma(beside(lines, g, k), -rates.lr, weight))


@kernel
def _momentum(rates, lines, w, s1, g):
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        speed = fma(load(s1 + i), rates.beta1, beside(lines, g, k))
        put(lines, s1 + i, speed)
        put(lines, w + i, fma(speed, -rates.lr, weight))


@kernel
def _nesterov(rates, lines, w, s1, g):
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        speed = fma(load(s1 + i), rates.beta1, slope)
        put(lines, s1 + i, speed)
        put(lines, w + i, fma(fma(speed, rates.beta1, slope), -rates.lr, weight))


@kernel
def _lookahead(rates, lines, w, s1, g):
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        speed = fma(beside(lines, g, k), -rates.lr, load(s1 + i) * rates.beta1)
        put(lines, s1 + i, speed)
        put(lines, w + i, weight + speed)


@kernel
def _adagrad(rates, lines, w, s1, g):
    shift = under_root(w, rates.eps_root)
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        square = fma(slope, slope, load(s1 + i))
        put(lines, s1 + i, square)
        put(lines, w + i, descended(weight, slope, rates.lr, square, shift, rates.eps))


@kernel
def _rmsprop(rates, lines, w, s1, g):
    shift = under_root(w, rates.eps_root)
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        square = fma(load(s1 + i), rates.beta2, slope * slope * rates.rest2)
        put(lines, s1 + i, square)
        put(lines, w + i, descended(weight, slope, rates.lr, square, shift, rates.eps))


@kernel
def _moments(rates, slope, mean, square):
    """The running means of the gradient and of its square, one step further."""
    mean = fma(mean, rates.beta1, slope * rates.rest1)
    return mean, fma(square, rates.beta2, slope * slope * rates.rest2)


@kernel
def _adam(rates, lines, w, s1, s2, g):
    rate, shift = rates.lr * rates.correction, under_root(w, rates.eps_root)
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        mean, square = _moments(rates, slope, load(s1 + i), load(s2 + i))
        put(lines, s1 + i, mean)
        put(lines, s2 + i, square)
        put(lines, w + i, descended(weight, mean, rate, square, shift, rates.eps))


@kernel
def _amsgrad(rates, lines, w, s1, s2, s3, g):
    rate, shift = rates.lr * rates.correction, under_root(w, rates.eps_root)
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        mean, square = _moments(rates, slope, load(s1 + i), load(s2 + i))
        most = maximum(load(s3 + i), square)
        put(lines, s1 + i, mean)
        put(lines, s2 + i, square)
        put(lines, s3 + i, most)
        put(lines, w + i, descended(weight, mean, rate, most, shift, rates.eps))


@kernel
def _nadam(rates, lines, w, s1, s2, g):
    rate, direct = rates.lr * rates.correction, rates.lr * rates.direct
    shift = under_root(w, rates.eps_root)
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        slope = beside(lines, g, k)
        mean, square = _moments(rates, slope, load(s1 + i), load(s2 + i))
        put(lines, s1 + i, mean)
        put(lines, s2 + i, square)
        step = fma(slope, direct, mean * rate)
        put(lines, w + i, descended(weight, step, 1.0, square, shift, rates.eps))


@kernel
def shrink(lines, w, by):
    """w -= by w"""
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        put(lines, w + i, fma(weight, -by, weight))


@inline
def update(code, rates, lines, w, state, size, g):
    """One step of the optimizer; state: the first of its vectors, the next `size` further on."""
    s2 = state + size
    if code in (ADAM, ADAMW):
        _adam(rates, lines, w, state, s2, g)
    elif code == SGD:
        _sgd(rates, lines, w, g)
    elif code == MOMENTUM:
        _momentum(rates, lines, w, state, g)
    elif code == NESTEROV:
        _nesterov(rates, lines, w, state, g)
    elif code == LOOKAHEAD:
        _lookahead(rates, lines, w, state, g)
    elif code == ADAGRAD:
        _adagrad(rates, lines, w, state, g)
    elif code == RMSPROP:
        _rmsprop(rates, lines, w, state, g)
    elif code == AMSGRAD:
        _amsgrad(rates, lines, w, state, s2, s2 + size, g)
    elif code == NADAM:
        _nadam(rates, lines, w, state, s2, g)


@kernel
def states(code):
    """How many vectors of state an optimizer has; an average of the weights comes behind them."""
    if code in (NONE, SGD):
        return 0
    if code == AMSGRAD:
        return 3
    return 2 if code in (ADAM, ADAMW, NADAM) else 1
