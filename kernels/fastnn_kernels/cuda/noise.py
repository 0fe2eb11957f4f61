"""Dropout per sample, drawn by the same counters as ../noise.py does."""

import numpy as np

from fastnn_kernels.cuda.driver import device
from fastnn_kernels.cuda.rng import uniform
from fastnn_kernels.cuda.work import START, T, at
from fastnn_kernels.layout import NOISE
from fastnn_kernels.noise import BORDER, CONSTANTS, SCALE
from fastnn_kernels.noise import DROPOUT as CODE
from fastnn_kernels.rng import DROPOUT as STREAM
from fastnn_kernels.work import SEED

_CODE, _CONSTANTS, _STREAM = np.uint32(CODE), np.uint32(CONSTANTS), np.uint32(STREAM)


@device
def drops(work, layer):
    """Whether the layer has dropout in this pass."""
    return at(work, layer, NOISE) == _CODE


@device
def factor(work, layer, row, j):
    """What dropout multiplies unit j of this row by: 0 where it is off, else the scale."""
    real = work.noise.dtype.type
    constants = layer * _CONSTANTS
    border, scale = work.noise[constants + np.uint32(BORDER)], work.noise[constants + np.uint32(SCALE)]
    sample = work.order[np.uint32(work.now[START]) + row]
    is_on = border == real(0) or uniform(j, _STREAM + layer, sample, work.now[T], work.numbers[SEED], real) >= border
    return scale if is_on else real(0)
