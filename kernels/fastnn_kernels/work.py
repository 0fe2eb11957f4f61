"""Everything that a compiled run reads and writes, under one name: what Python passes, and what kernels see.

Python passes `Arrays`; the kernels see `Work`: the same as typed addresses, since passing arrays to inner functions
would count references at every call.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.layout import COLUMNS
from fastnn_kernels.native import address

# Indices of `numbers`: what is whole.
LAYERS = 0  # layers that have weights
LOSS = 1  # code, see loss.py
OPTIMIZER = 2  # code, see optimizer.py
TARGET = 3  # LABELS or DENSE
ACCURACY = 4  # NOTHING, CLASSES or BINARY
ROWS = 5  # rows that the workspace holds
LOSSES = 6  # offset of the rows' losses in the workspace
SCRATCH = 7  # offset of the threads' scratch in the workspace
SCRATCH_SIZE = 8
PARAMETERS = 9  # elements of the flat parameter vector
COLUMNS_IN = 10  # columns of the data
NORMALIZED = 11  # whether shift and scale are applied to the data
SEED = 12  # of the shuffles
SHUFFLED = 13  # whether every epoch has a new order
NUMBERS = 14

LABELS, DENSE = 0, 1
NOTHING, CLASSES, BINARY = 0, 1, 2


class Arrays(NamedTuple):
    """What Python passes. float: the dtype of the network.

    table, numbers: int64; betas: float64, a constant per row of the table; constants: float64, see optimizer.py;
    params, gradient, kept: float, flat; state: float, two flat vectors behind each other, as far as the optimizer
    has them; space: float, the workspace; X: float (samples, n_in), C order; shift, scale: float (n_in,); labels:
    int32 (samples,) and targets: float (samples, n_out), one of them empty; samples: int64, rows of X that take part;
    order: int64, as long as samples; words: int64, see team.py.
    """

    table: np.ndarray
    numbers: np.ndarray
    betas: np.ndarray
    constants: np.ndarray
    params: np.ndarray
    state: np.ndarray
    gradient: np.ndarray
    kept: np.ndarray
    space: np.ndarray
    X: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    samples: np.ndarray
    order: np.ndarray
    words: np.ndarray


class Work(NamedTuple):
    """The same as addresses."""

    table: object
    numbers: object
    betas: object
    constants: object
    params: object
    state: object
    gradient: object
    kept: object
    space: object
    X: object
    shift: object
    scale: object
    labels: object
    targets: object
    samples: object
    order: object
    words: object


@inline
def addresses(a):
    """Work from Arrays."""
    return Work(
        address(a.table, 0),
        address(a.numbers, 0),
        address(a.betas, 0),
        address(a.constants, 0),
        address(a.params, 0),
        address(a.state, 0),
        address(a.gradient, 0),
        address(a.kept, 0),
        address(a.space, 0),
        address(a.X, 0),
        address(a.shift, 0),
        address(a.scale, 0),
        address(a.labels, 0),
        address(a.targets, 0),
        address(a.samples, 0),
        address(a.order, 0),
        address(a.words, 0),
    )


@kernel
def at(work, layer, column):
    """An entry of the layer table."""
    return work.table[layer * COLUMNS + column]


@kernel
def share(count, rank, size):
    """The part (first, last) of `count` units that thread `rank` of `size` works on."""
    return count * rank // size, count * (rank + 1) // size
