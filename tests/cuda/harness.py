"""A network's arrays on the simulated device, filled with random numbers, for tests of single kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn_kernels import layout, optimizer, work
from fastnn_kernels import loss as loss_kernels
from fastnn_kernels.cuda import work as device_work
from fastnn_kernels.cuda.driver import cuda
from fastnn_kernels.cuda.work import BATCH, COUNT, DEVICE, TRAINING, Pass, T, Work, dtype_of, workspace
from fastnn_kernels.noise import CONSTANTS as NOISE_CONSTANTS
from fastnn_kernels.noise import SAMPLE_CONNECT
from fastnn_kernels.norm import CONSTANTS as NORM_CONSTANTS


def make(
    sizes: Sequence[int],
    activations: Sequence[int],
    rows: int,
    dtype: Any = np.float64,
    *,
    norms: Sequence[int] | None = None,
    noises: Sequence[int] | None = None,
    splits: int = 2,
    states: int = 0,
    seed: int = 3,
    numbers: dict[int, int] | None = None,
    **arrays: Any,
) -> Pass:
    """A Pass in training, in step 1. numbers: by index; arrays: fields of Work by name, in place of the defaults."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    parameters = layout.parameters(sizes, activations, dtype, norms, DEVICE)
    layers = len(sizes) - 1
    codes = [0] * layers if noises is None else list(noises)
    space = workspace(parameters, rows, [splits] * layers, [code > SAMPLE_CONNECT for code in codes])
    space.table[1:, layout.NOISE] = codes
    given = np.zeros(device_work.NUMBERS, np.int64)
    given[work.LAYERS], given[work.ROWS], given[work.LOSSES] = layers, rows, space.losses
    given[work.PARAMETERS], given[work.COLUMNS_IN], given[work.SAMPLES] = parameters.count, sizes[0], rows
    given[work.SEED], given[work.RUNNING_SIZE] = seed, parameters.running
    for index, number in (numbers or {}).items():
        given[index] = number
    now = np.zeros(device_work.NOW, np.int64)
    now[T], now[COUNT], now[BATCH], now[TRAINING] = 1, rows, rows, 1
    fields: dict[str, np.ndarray] = {
        "table": space.table.ravel(),
        "numbers": given,
        "now": now,
        "words": np.zeros(device_work.WORDS),
        "sums": np.zeros(device_work.SUMS + 64),
        "rates": np.zeros(len(optimizer.Rates._fields)),
        "constants": np.zeros(optimizer.CONSTANTS),
        "betas": np.zeros(layers + 1),
        "params": np.zeros(parameters.count),
        "state": np.zeros(states * parameters.count),
        "gradient": np.zeros(parameters.count),
        "space": rng.normal(size=space.count),
        "X": rng.normal(size=rows * sizes[0]),
        "order": rng.permutation(rows),
        "loss_constants": np.zeros(loss_kernels.CONSTANTS),
        "norms": np.zeros((layers + 1) * NORM_CONSTANTS),
        "running": np.zeros(parameters.running),
        "noise": np.zeros((layers + 1) * NOISE_CONSTANTS),
    }
    for layer in range(1, layers + 1):
        shape = sizes[layer - 1], sizes[layer]
        layout.set_layer(parameters, layer, fields["params"], rng.normal(size=shape), rng.normal(size=shape[1]))
    fields |= {name: np.asarray(array) for name, array in arrays.items()}
    host = [np.ascontiguousarray(fields.get(name, np.zeros(0)), dtype_of(name, dtype)) for name in Work._fields]
    device = Work(*(cuda.to_device(array if array.size else np.zeros(1, array.dtype)) for array in host))
    constants = np.asarray(fields["constants"], np.float64)
    return Pass(device, space.table, given, constants, rows, 0)


def block(one: Pass, layer: int, column: int) -> np.ndarray:
    """A, D, Z or XHAT of a layer as it lies on the device: (rows, n), without padding."""
    stride, n = one.at(layer, layout.STRIDE), one.at(layer, layout.N_OUT)
    start = one.at(layer, column)
    flat = one.work.space.copy_to_host()[start : start + one.rows * stride]
    return flat.reshape(one.rows, stride)[:, :n]


def put(one: Pass, layer: int, column: int, values: np.ndarray) -> None:
    """Write a block of a layer, (rows, n) as `block` gives it."""
    stride, n, start = one.at(layer, layout.STRIDE), one.at(layer, layout.N_OUT), one.at(layer, column)
    flat = one.work.space.copy_to_host()
    flat[start : start + one.rows * stride].reshape(one.rows, stride)[:, :n] = values
    one.work.space.copy_to_device(flat)


def weight(one: Pass, layer: int, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W (n_in, n_out) and b (n_out,) of a layer in a vector laid out as the parameters."""
    width, depth = one.at(layer, layout.WIDTH), one.at(layer, layout.DEPTH)
    start, bias = one.at(layer, layout.W), one.at(layer, layout.B)
    n_in, n_out = one.at(layer, layout.N_IN), one.at(layer, layout.N_OUT)
    return flat[start : start + depth * width].reshape(depth, width)[:n_in, :n_out], flat[bias : bias + n_out]
