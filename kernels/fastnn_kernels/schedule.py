"""Learning rate schedules: a factor on the learning rate at every step.

e: epochs done, a fraction within an epoch. The first `warm_up` epochs rise linearly to 1; then

constant     1
step         gamma^floor(e / every)
exponential  gamma^e
inverse      1 / (1 + gamma e)
cosine       floor + (1 - floor) (1 + cos(pi p)) / 2, where p goes from 0 after the warm-up to 1 at `every` epochs

Sources: Loshchilov and Hutter 2017 (cosine); Goyal et al. 2017 (warm-up); the course (the others).
"""

import math

from fastnn_kernels.jit import kernel

CODES = {"constant": 0, "step": 1, "exponential": 2, "inverse": 3, "cosine": 4}
CONSTANT, STEP, EXPONENTIAL, INVERSE, COSINE = range(5)

# Indices of the constants, behind those of the optimizer.
CODE = 0
GAMMA = 1
EVERY = 2
FLOOR = 3
WARM_UP = 4
STEPS = 5  # of an epoch
FIRST = 6  # the step that e = 0 stands for
CONSTANTS = 7


@kernel
def factor(constants, t):
    """The factor at step t, counted from 1. constants: pointer to the seven above."""
    done = t - 1 - constants[FIRST]
    epochs = done / constants[STEPS]
    warm_up, gamma, every = constants[WARM_UP], constants[GAMMA], constants[EVERY]
    if epochs < warm_up:
        return min((done + 1) / (warm_up * constants[STEPS]), 1.0)
    if constants[CODE] == STEP:
        return gamma ** math.floor(epochs / every)
    if constants[CODE] == EXPONENTIAL:
        return gamma**epochs
    if constants[CODE] == INVERSE:
        return 1.0 / (1.0 + gamma * epochs)
    if constants[CODE] == COSINE:
        part = min((epochs - warm_up) / max(every - warm_up, 1e-9), 1.0)
        return constants[FLOOR] + (1.0 - constants[FLOOR]) * 0.5 * (1.0 + math.cos(math.pi * part))
    return 1.0
