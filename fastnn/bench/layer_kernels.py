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
from fastnn_kernels.passes import Now
from fastnn_kernels.work import open_work

ROWS, UNITS = 128, 256


def _repeated(kernel: Any) -> Any:
    """The kernel over the first layer, again and again."""

    @njit(**FLAGS)
    def run(params, addresses, rows, repeats):
        work = open_work(params, addresses, True)
        for _ in range(repeats):
            kernel(work, 1, 0, rows, Now(1, 0, True, rows, 0, 1))

    return run


# kind, option of the layer, operations an element, times that an element is read or written, the kernel
LAYER_KERNELS: dict[str, tuple[str, dict[str, Any], int, int, Any]] = {
    "batch norm feed": ("normalization", {"norm": "batch"}, 8, 6, _repeated(norm.feed)),
    "batch norm delta": ("normalization", {"norm": "batch"}, 8, 5, _repeated(norm.delta)),
    "layer norm feed": ("normalization", {"norm": "layer"}, 8, 3, _repeated(norm.feed)),
    "layer norm delta": ("normalization", {"norm": "layer"}, 10, 3, _repeated(norm.delta)),
    "dropout feed": ("noise", {"dropout": 0.5}, 1, 2, _repeated(noise.drop)),
    "dropout delta": ("noise", {"dropout": 0.5}, 3, 3, _repeated(noise.drop_delta)),
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
