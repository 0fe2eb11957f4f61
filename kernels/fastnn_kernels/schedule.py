"""Learning rate schedules: a factor on the learning rate at every step.

e: epochs done, a fraction within an epoch. The first `warm_up` epochs rise linearly to 1; then

constant     1
step         gamma^floor(e / every)
exponential  gamma^e
inverse      1 / (1 + gamma e)
cosine       floor + (1 - floor) (1 + cos(pi p)) / 2, where p goes from 0 after the warm-up to 1 at `every` epochs
one_cycle    along half a cosine each, or a line each, from gamma up to 1 at the share `peak` of `every` epochs, and
             down to floor

Sources: Loshchilov and Hutter 2017 (cosine); Goyal et al. 2017 (warm-up); Smith 2018 (one_cycle); the
course (the others).
"""

import math

from fastnn_kernels.jit import inline, kernel

CODES = {"constant": 0, "step": 1, "exponential": 2, "inverse": 3, "cosine": 4, "one_cycle": 5, "plateau": 0}
CONSTANT, STEP, EXPONENTIAL, INVERSE, COSINE, ONE_CYCLE = range(6)

# Indices of the constants, behind those of the optimizer.
CODE = 0
GAMMA = 1
EVERY = 2
FLOOR = 3
WARM_UP = 4
STEPS = 5  # of an epoch
FIRST = 6  # the step that e = 0 stands for
PEAK = 7
LINEAR = 8  # whether a cycle goes along lines
CONSTANTS = 9


@kernel
def cosine(turns):
    """cos(2 pi turns) for turns in [0, 1/2]"""
    return math.cos(2.0 * math.pi * turns)


@kernel
def _along_cosine(start, end, part):
    return end + (start - end) * 0.5 * (1.0 + cosine(0.5 * part))


@kernel
def _along(is_linear, start, end, part):
    return start + (end - start) * part if is_linear else _along_cosine(start, end, part)


@kernel
def _one_cycle(constants, first, done):
    """As PyTorch counts: the first step has gamma, the last one floor; 1 is one step before the share is over.

    A share of less than one step leaves the way down alone, which then has begun before the first step.
    """
    every, steps, is_linear = constants[first + EVERY], constants[first + STEPS], constants[first + LINEAR] != 0.0
    last, top = every * steps - 1.0, constants[first + PEAK] * every * steps - 1.0
    if done < top:
        return _along(is_linear, constants[first + GAMMA], 1.0, done / top)
    part = min((done - top) / (last - top), 1.0)
    return _along(is_linear, 1.0, constants[first + FLOOR], part)


@inline
def factor(constants, first, t):
    """The factor at step t, counted from 1. constants: float64, the nine above from number `first` on."""
    if constants[first + CODE] == CONSTANT and constants[first + WARM_UP] == 0.0:
        return 1.0
    return _changing(constants, first, t)


@kernel
def _changing(constants, first, t):
    """`factor` of a schedule that changes, were it by a warm-up alone."""
    code, steps = constants[first + CODE], constants[first + STEPS]
    warm_up, gamma, every = constants[first + WARM_UP], constants[first + GAMMA], constants[first + EVERY]
    done = t - 1 - constants[first + FIRST]
    epochs = done / steps
    if epochs < warm_up:
        return min((done + 1) / (warm_up * steps), 1.0)
    if code == STEP:
        return gamma ** math.floor(epochs / every)
    if code == EXPONENTIAL:
        return gamma**epochs
    if code == INVERSE:
        return 1.0 / (1.0 + gamma * epochs)
    if code == COSINE:
        part = min((epochs - warm_up) / max(every - warm_up, 1e-9), 1.0)
        return _along_cosine(1.0, constants[first + FLOOR], part)
    if code == ONE_CYCLE:
        return _one_cycle(constants, first, done)
    return 1.0
