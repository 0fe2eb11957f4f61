"""What a layer does beside its product and its activation, as cases to time: normalization and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

import fastnn as fn
from fastnn import description, losses, session
from fastnn.bench.case import Case
from fastnn.job import Part
from fastnn_kernels import noise, norm
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.layout import NOISE
from fastnn_kernels.step import Now
from fastnn_kernels.work import open_work

ROWS, UNITS = 128, 256


@njit(**FLAGS)
def _normalize(params, addresses, rows, repeats):
    work = open_work(params, addresses)
    for _ in range(repeats):
        norm.feed(work, 1, 0, rows, Now(1, 0, True, rows, 0, 1))


@njit(**FLAGS)
def _normalize_back(params, addresses, rows, repeats):
    work = open_work(params, addresses)
    for _ in range(repeats):
        norm.delta(work, 1, 0, rows, Now(1, 0, True, rows, 0, 1))


@njit(**FLAGS)
def _drop(params, addresses, rows, repeats):
    work = open_work(params, addresses)
    for _ in range(repeats):
        noise.drop(work, 1, 0, rows, Now(1, 0, True, rows, 0, 1))


@njit(**FLAGS)
def _drop_back(params, addresses, rows, repeats):
    work = open_work(params, addresses)
    for _ in range(repeats):
        noise.drop_delta(work, 1, 0, rows, Now(1, 0, True, rows, 0, 1))


# kind, option of the layer, operations an element, times that an element is read or written, the kernel
LAYER_KERNELS: dict[str, tuple[str, dict[str, Any], int, int, Any]] = {
    "batch norm feed": ("normalization", {"norm": "batch"}, 8, 6, _normalize),
    "batch norm delta": ("normalization", {"norm": "batch"}, 8, 5, _normalize_back),
    "layer norm feed": ("normalization", {"norm": "layer"}, 8, 3, _normalize),
    "layer norm delta": ("normalization", {"norm": "layer"}, 10, 3, _normalize_back),
    "dropout feed": ("noise", {"dropout": 0.5}, 1, 2, _drop),
    "dropout delta": ("noise", {"dropout": 0.5}, 3, 3, _drop_back),
}


def layer_kernel(name: str, dtype: str) -> Case:
    """The kernel over ROWS rows of a ReLU layer of UNITS units, in place, again and again."""
    kind, option, operations, moves, kernel = LAYER_KERNELS[name]
    net = fn.MLP(1, [fn.Dense(UNITS, "relu", **option), fn.Dense(1)], dtype=dtype)
    opened = session.open_session(
        net, Part.of(np.zeros((ROWS, 1), dtype)), losses.MSE(), ROWS, threads=1, gradient=np.zeros_like(net.params)
    )
    arrays = opened.arrays
    arrays.space[:] = np.random.default_rng(0).standard_normal(arrays.space.size)
    arrays.table[1:, NOISE], arrays.noise[:] = description.noises(net, True)
    addresses, elements = arrays.addresses(), ROWS * UNITS
    size = elements * net.dtype.itemsize

    def run(repeats: int) -> None:
        kernel(arrays.params, addresses, ROWS, repeats)

    moved = moves * size
    return Case(kind, name, f"{ROWS}x{UNITS}", dtype, elements, float(operations * elements), moved, moved, run)
