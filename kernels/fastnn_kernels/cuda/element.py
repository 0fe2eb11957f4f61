"""STAND-IN"""

from fastnn_kernels.cuda.driver import device
from fastnn_kernels.cuda.work import at
from fastnn_kernels.layout import STRIDE, A, D, Z


@device
def feed_element(work, layer, row, j, z):
    i = row * at(work, layer, STRIDE) + j
    work.space[at(work, layer, Z) + i] = z
    work.space[at(work, layer, A) + i] = z


@device
def delta_element(work, layer, row, j, d):
    work.space[at(work, layer, D) + row * at(work, layer, STRIDE) + j] = d
