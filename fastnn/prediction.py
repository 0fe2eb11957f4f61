"""How fast training should be: a simple model of a step, in the time that this machine's multiply-adds would take.

    seconds of a step = (operations of the products / PRODUCT_SHARE + what the rest costs) / limit

The limit is measured once in a process, in some milliseconds. What the rest costs is counted in operations too: in so
many that the processor could do at its limit meanwhile. So the model knows no clock rate, and is as good on another
machine as that machine is balanced like those that the numbers below come from: one without vectors of 512 bits, and
one with them, whose products slow its clock, while most of the rest takes as long as at half the limit.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fastnn import description, division
from fastnn_kernels.activation import CODES
from fastnn_kernels.layout import DEPTH, WIDTH, block_rows, round_up
from fastnn_kernels.machine import UNIT, VECTOR_BYTES
from fastnn_kernels.optimizer import states

if TYPE_CHECKING:
    from fastnn.network import MLP
    from fastnn.optimizers import Optimizer

# Calibrate these together, on a quiet machine: `fastnn bench --kernels` and the workloads of bench/.
PRODUCT_SHARE, REST = (0.66, 2.0) if VECTOR_BYTES == 64 else (0.92, 1.0)
"""Of the limit, that products reach in their inner loops; factor on most of what the rest costs."""
MATRIX_SHARE = 1.0  # of it, that a matrix unit reaches with its operands packed in turn
RESULT = REST * 9.0  # an element of a product's result, whatever the length of its sum
ROW_SHARE = 0.27  # of the limit, that products of a single row reach: they read a weight for every multiplication
SIMPLE = REST * 12.0  # feed and delta of a hidden element, for activations that are a choice
SMOOTH = REST * 60.0  # for those with an exponential
GATHERED = REST * 4.0  # an input element copied
LOSS_ROW = 4000.0  # targets, loss and delta of a row
LOSS_ELEMENT = 50.0  # of an output element
UPDATED = REST * 9.0  # a parameter updated
REMEMBERED = REST * 13.0  # for each state that its optimizer keeps
PASS = REST * 80_000.0  # what a pass costs whatever its size
MEETING = REST * 120_000.0  # of the threads
SAMPLE = 3_000.0  # what a stochastic step costs whatever its size

SIMPLE_NAMES = ("linear", "threshold", "relu", "leaky_relu", "noisy_relu", "hard_sigmoid", "hard_tanh", "hard_swish")
SIMPLE_CODES = [CODES[name] for name in SIMPLE_NAMES]


@cache
def limit(dtype: str) -> float:
    """Operations per second of one core, measured once."""
    from fastnn.bench.limit import fma_limit

    return fma_limit(dtype, 1, seconds=0.0005, rounds=8)


def seconds_of_step(net: MLP, batch: int, optimizer: Optimizer, threads: int, stochastic: bool) -> float:
    """The predicted time of a training step of `batch` samples; stochastic: on the path for one sample a step."""
    operations = _stochastic(net, threads) if stochastic else _minibatch(net, batch, states(optimizer.code), threads)
    return operations / limit(str(net.dtype))


def _minibatch(net: MLP, batch: int, remembered: int, threads: int) -> float:
    """Operations of the thread that has most to do."""
    depth, width = _sizes(net)
    rows = round_up(-(-batch // threads), UNIT)
    weights = depth * width
    both = np.where(np.arange(len(weights)) > 0, 2.0, 1.0)  # feed and delta: the first layer has no delta
    products = (2 * rows * both + 2 * batch / threads) * weights / _shares(net, batch)
    results = rows * (width.sum() + depth[1:].sum()) + weights.sum() / threads
    update = net.layout.count * (UPDATED + REMEMBERED * remembered) / threads
    parts, at_once = division.parts_and_rows(net, batch)
    passes = -(-batch // at_once)
    meetings = 1 if parts else 2 * passes
    fixed = passes / (threads if parts else 1) * PASS + (meetings * MEETING if threads > 1 else 0.0)
    return float(products.sum()) + RESULT * results + rows * _per_row(net) + update + fixed


def _shares(net: MLP, batch: int) -> np.ndarray:
    """Of the limit, what the products of each layer reach."""
    codes, _ = description.noises(net, True)
    parts, rows = division.parts_and_rows(net, batch)
    return np.where(division.by_matrix(net, codes, rows, parts), MATRIX_SHARE, PRODUCT_SHARE)


def _stochastic(net: MLP, threads: int) -> float:
    """Operations of a sample in a block, on the thread that takes the steps.

    The first layer's products are those of several rows, and divided among the threads, the others' of one row.
    """
    depth, width = _sizes(net)
    block = block_rows(net.layout)
    first = 4.0 * depth[0] * width[0] / threads
    gram = 2.0 * depth[0] * block if threads == 1 else 2 * MEETING / block * PRODUCT_SHARE
    others = 8.0 * (depth[1:] @ width[1:])  # both copies of the weights are updated
    return (first + gram) / PRODUCT_SHARE + others / ROW_SHARE + _per_row(net) + SAMPLE


def _per_row(net: MLP) -> float:
    """Operations of a row outside the products."""
    hidden = sum(
        width * (SIMPLE if layer.function.code in SIMPLE_CODES else SMOOTH)
        for layer, width in zip(net.layers[:-1], net.sizes[1:-1], strict=True)
    )
    return GATHERED * net.n_in + hidden + LOSS_ROW + LOSS_ELEMENT * net.n_out


def _sizes(net: MLP) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of every layer, as wide as the kernels compute them."""
    table = net.layout.table[1:]
    return table[:, DEPTH].astype(float), table[:, WIDTH].astype(float)
