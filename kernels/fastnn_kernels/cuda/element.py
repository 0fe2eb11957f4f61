"""What happens to one element of a layer behind its products: activation, noise, and the way back through both.

feed    z -> a = f(z), in training times the factor of dropout; noisy ReLU: a = max(0, z + sqrt(sigmoid(z)) n), n
        standard normal. The last layer keeps its logits (output.py), but for noisy ReLU.
delta   d = dL/da -> d times the factor of dropout, times g = f'(z)

z: with the bias, and behind the normalization where there is one. Columns from N_OUT on are not for here.
"""

import math

import numpy as np

from fastnn_kernels.activation import NOISY_RELU
from fastnn_kernels.cuda import activation, noise, rng
from fastnn_kernels.cuda.driver import device
from fastnn_kernels.cuda.work import START, TRAINING, T, at
from fastnn_kernels.layout import ACTIVATION, STRIDE, A, D, Z
from fastnn_kernels.noise import CONSTANTS, UNSCALE
from fastnn_kernels.rng import NOISY_RELU as STREAM
from fastnn_kernels.work import LAYERS, SEED

_STREAM, _CONSTANTS, _UNSCALE = np.uint32(STREAM), np.uint32(CONSTANTS), np.uint32(UNSCALE)


@device
def feed_element(work, layer, row, j, z):
    """Store the output of unit j of this row in A, and z in Z where the derivative needs it; layer, row, j: uint32."""
    place = row * at(work, layer, STRIDE) + j
    if at(work, layer, Z) != at(work, layer, A):
        work.space[at(work, layer, Z) + place] = z
    a = _activated(work, layer, row, j, z)
    work.space[at(work, layer, A) + place] = _dropped(work, layer, row, j, a) if _drops(work, layer) else a


@device
def delta_element(work, layer, row, j, d):
    """Store dL/dz of unit j of this row in D, from d = dL/da and from what its feed has stored."""
    place = row * at(work, layer, STRIDE) + j
    act, kept = at(work, layer, ACTIVATION), work.space[at(work, layer, Z) + place]
    if _drops(work, layer):
        d = _dropped(work, layer, row, j, d)
        if not activation.needs_z(act):
            kept *= work.noise[layer * _CONSTANTS + _UNSCALE]
    work.space[at(work, layer, D) + place] = activation.delta(act, work.betas[layer], d, kept)


@device
def _activated(work, layer, row, j, z):
    act, real = at(work, layer, ACTIVATION), type(z)
    if act == NOISY_RELU and work.now[TRAINING] != 0:
        sample = work.order[np.uint32(work.now[START]) + row]
        n = rng.normal(j, _STREAM + layer, sample, work.now[T], work.numbers[SEED], real)
        return activation.relu(z + math.sqrt(activation.sigmoid(z)) * n)
    if layer == np.uint32(work.numbers[LAYERS]) and act != NOISY_RELU:
        return z
    return activation.feed(act, work.betas[layer], z)


@device
def _drops(work, layer):
    return work.now[TRAINING] != 0 and noise.drops(work, layer)


@device
def _dropped(work, layer, row, j, value):
    """`value` times the factor of dropout; 0 where that is 0, whatever value is."""
    factor = noise.factor(work, layer, row, j)
    return value * factor if factor != type(value)(0) else factor
