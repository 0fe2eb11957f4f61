"""What happens to one element of a layer behind its products: activation, noise, and the way back through both.

feed    z -> a = f(z), in training times the factor of dropout; noisy ReLU: a = max(0, z + sqrt(sigmoid(z)) n), n
        standard normal. The last layer keeps its logits (output.py), but for noisy ReLU.
delta   d = dL/da -> d times the factor of dropout, times g = f'(z)

z: with the bias, and behind the normalization where there is one. A product reads what a layer says once, before its
elements: `feeding` or `leading_back`. Columns from N_OUT on are not for here.
"""

import math
from typing import NamedTuple

import numpy as np

from fastnn_kernels.activation import LINEAR, NOISY_RELU
from fastnn_kernels.cuda import activation, noise, rng
from fastnn_kernels.cuda.driver import device
from fastnn_kernels.cuda.work import START, TRAINING, T, at
from fastnn_kernels.layout import ACTIVATION, STRIDE, A, D, Z
from fastnn_kernels.noise import CONSTANTS, UNSCALE
from fastnn_kernels.rng import NOISY_RELU as STREAM
from fastnn_kernels.work import LAYERS, SEED

_LINEAR, _NOISY_RELU, _STREAM = np.uint32(LINEAR), np.uint32(NOISY_RELU), np.uint32(STREAM)
_CONSTANTS, _UNSCALE = np.uint32(CONSTANTS), np.uint32(UNSCALE)


class Layer(NamedTuple):
    """act: code of the activation to be applied; beta: its constant; is_drawn: whether noisy ReLU draws; drops: whether
    there is dropout; unscale: what takes a stored output to what it was before dropout."""

    act: object
    beta: object
    is_drawn: object
    drops: object
    unscale: object


@device
def feeding(work, layer):
    """What `feed` asks of a layer; layer: uint32."""
    act, is_training = at(work, layer, ACTIVATION), work.now[TRAINING] != 0
    if layer == np.uint32(work.numbers[LAYERS]) and act != _NOISY_RELU:
        act = _LINEAR
    drops = is_training and noise.drops(work, layer)
    return Layer(act, work.betas[layer], is_training and act == _NOISY_RELU, drops, work.betas.dtype.type(1))


@device
def _noisy_relu(work, layer, row, j, z):
    sample = work.order[np.uint32(work.now[START]) + row]
    n = rng.normal(j, _STREAM + layer, sample, work.now[T], work.numbers[SEED], type(z))
    return activation.relu(z + math.sqrt(activation.sigmoid(z)) * n)


@device
def _dropped(work, layer, row, j, value):
    """`value` times the factor of dropout; 0 where that is 0, whatever value is."""
    factor = noise.factor(work, layer, row, j)
    return value * factor if factor != type(value)(0) else factor


@device
def feed(work, layer, one, row, j, z):
    """The output a of unit j of this row from z; one: of `feeding`."""
    a = _noisy_relu(work, layer, row, j, z) if one.is_drawn else activation.feed(one.act, one.beta, z)
    return _dropped(work, layer, row, j, a) if one.drops else a


@device
def leading_back(work, layer):
    """What `delta` asks of a layer; layer: uint32."""
    real, act = work.betas.dtype.type, at(work, layer, ACTIVATION)
    drops = work.now[TRAINING] != 0 and noise.drops(work, layer)
    unscale = real(1)
    if drops and not activation.needs_z(act):
        unscale = work.noise[layer * _CONSTANTS + _UNSCALE]
    return Layer(act, work.betas[layer], False, drops, unscale)


@device
def delta(work, layer, one, row, j, d, kept):
    """dL/dz of unit j of this row from d = dL/da; one: of `leading_back`; kept: the stored output, or z from Z."""
    if one.drops:
        d = _dropped(work, layer, row, j, d)
    return activation.delta(one.act, one.beta, d, kept * one.unscale)


@device
def feed_into(work, layer, one, row, j, z):
    """`feed`, with z stored in Z where the derivative needs it, and the output in A."""
    place = row * at(work, layer, STRIDE) + j
    if at(work, layer, Z) != at(work, layer, A):
        work.space[at(work, layer, Z) + place] = z
    work.space[at(work, layer, A) + place] = feed(work, layer, one, row, j, z)


@device
def feed_element(work, layer, row, j, z):
    """`feed_into` for one element of a layer."""
    feed_into(work, layer, feeding(work, layer), row, j, z)


@device
def delta_element(work, layer, row, j, d):
    """`delta`, stored in D."""
    place = row * at(work, layer, STRIDE) + j
    kept = work.space[at(work, layer, Z) + place]
    work.space[at(work, layer, D) + place] = delta(work, layer, leading_back(work, layer), row, j, d, kept)
