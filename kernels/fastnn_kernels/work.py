"""Everything that a compiled run reads and writes, under one name: what Python passes, and what kernels see.

Python passes the addresses of `Arrays`; the kernels see `Work`: the same as typed pointers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import ALIGNMENT, COLUMNS, A
from fastnn_kernels.machine import HAS_MATRIX, UNIT, VECTOR_BYTES
from fastnn_kernels.native import Pointer, Record, lanes, open_record, prefetch_l2, prefetch_to_write

# Indices of `numbers`: what is whole.
LAYERS = 0  # layers that have weights
LOSS = 1  # code, see loss.py
OPTIMIZER = 2  # code, see optimizer.py
TARGET = 3  # LABELS or DENSE
ACCURACY = 4  # NOTHING, CLASSES or BINARY
ROWS = 5  # rows that the workspace holds
LOSSES = 6  # offset in the workspace of the rows' losses, then of as many numbers that they are computed from
SCRATCH = 7  # offset of the threads' scratch in the workspace
SCRATCH_SIZE = 8
PARAMETERS = 9  # elements of the flat parameter vector
COLUMNS_IN = 10  # columns of the data
NORMALIZED = 11  # whether shift and scale are applied to the data
SEED = 12  # of the shuffles and of noise
SHUFFLED = 13  # whether every epoch has a new order
SAMPLES = 14  # rows that take part
STOCHASTIC = 15  # how steps of one sample go, see blocks.py: DENSE_BLOCKS, SPARSE_BLOCKS, or 0 for others
BLOCK = 16  # offset of blocks.py's Gram matrices in the workspace
KEPT_AT = 17  # the step after which the parameters were last kept
WEIGHTED = 18  # whether samples have weights
CUSTOM_LOSS = 19  # address of the user's loss, see loss.py
RUNNING_SIZE = 20  # elements of the running averages; 0 where no layer has batch normalization
SUBNETWORK = 21  # whether steps are of a part of the network: NEVER, PER_BATCH or PER_EPOCH of noise.py
STATES = 22  # vectors of state that the optimizer has, where they are
PASS_ROWS = 23  # rows of a batch that go through the network at once
PARTS = 24  # into which a batch is divided for the workers, see parts.py; 0: into rows of one pass
KEEP_AFTER = 25  # steps after which an epoch's end keeps the parameters; 0: it never does
KEPT = 26  # how often they were kept, the first time not counted: number i lies in half i % 2 of `kept`
PREFETCHES = 27  # whether updates through a small network ask for their memory first
INPUTS = 28  # elements from one copy of the input rows to the next; 0 where workers share them
MEETS = 29  # whether workers meet while a pass goes through the layers
NUMBERS = 30

ROW = np.uint32  # the number of a row of X: shuffles of rng.py reach no further

DENSE_BLOCKS, SPARSE_BLOCKS = 1, 2
LABELS, DENSE = 0, 1
NOTHING, CLASSES, BINARY = 0, 1, 2


class Arrays(NamedTuple):
    """What Python passes, in this order as addresses. float: the dtype of the network.

    table, numbers: int64; betas: float64, a constant per row of the table; constants: float64, see optimizer.py;
    params, gradient: float, flat; kept: float, two such or none; state: float, flat vectors behind each other, as many
    as the optimizer has, and one more where there is an average; space: float, the workspace; X: float (samples, n_in),
    C order; shift, scale: float (n_in,); labels: int32 (samples,) and targets: float (samples, n_out), one of them
    empty; samples: ROW, rows of X that take part; order: ROW, as long, the same array where nothing is shuffled;
    indices: int32, where steps skip zeros, see sparse_blocks.py; words: int64, see team.py; loss_constants: float64,
    see loss.py; weights: float (samples,) where samples have them; norms: float64, norm.CONSTANTS per row of the table;
    running: float, see layout.RUNNING; kept_running: two of it or none; noise: float64, noise.CONSTANTS per row of the
    table; inner: int64, addresses of a small network's Arrays; of a small network outer: int64, addresses of the
    whole's Arrays, and units: integers as wide as float, see subnetwork.py; augment: float64, basis, room: float, see
    augment.py; alone: int64, see `alone_with`.
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
    indices: np.ndarray
    words: np.ndarray
    loss_constants: np.ndarray
    weights: np.ndarray
    norms: np.ndarray
    running: np.ndarray
    kept_running: np.ndarray
    noise: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    units: np.ndarray
    augment: np.ndarray
    basis: np.ndarray
    room: np.ndarray
    alone: np.ndarray

    def addresses(self) -> np.ndarray:
        """int64, one address an array, 0 for an empty one. They hold as long as this object lives.

        Numbers, not arrays, since a read-only or unaligned array would be another type: another compilation. NumPy
        takes microseconds to tell each, and most are empty where one sample is predicted.
        """
        return np.array([array.ctypes.data if array.size else 0 for array in self], np.int64)

    def alone_with(self, spaces: int, space: int, gradients: int) -> Arrays:
        """The arrays with the addresses of the same but with one of many workspaces and one of many gradients, for
        threads that work alone: int64 (spaces, gradients, fields). space: elements of one workspace.
        """
        alone = np.tile(self.addresses(), (spaces, gradients, 1))
        size = self.space.itemsize
        alone[:, :, FIELDS.index("space")] += np.arange(spaces)[:, np.newaxis] * (space * size)
        alone[:, :, FIELDS.index("gradient")] += np.arange(gradients) * (self.params.size * size)
        return self._replace(alone=alone)


FIELDS = Arrays._fields


def _fields(dtype):
    """What kernels find at each address: the dtype of its elements, for networks of a float dtype."""
    whole, real, row, short = types.int64, types.float64, from_dtype(np.dtype(ROW)), types.int32
    unit = types.int32 if dtype.bitwidth == 32 else types.int64
    known = {
        **dict.fromkeys(("table", "numbers", "words", "inner", "outer", "alone"), whole),
        **dict.fromkeys(("betas", "constants", "loss_constants", "norms", "noise", "augment"), real),
        **dict.fromkeys(("samples", "order"), row),
        **dict.fromkeys(("labels", "indices"), short),
        "units": unit,
    }
    return {name: known.get(name, dtype) for name in Arrays._fields}


@intrinsic
def open_work(typingctx, params, addresses, extras):
    """Work, the typed pointers by the names of Arrays, from the addresses of Arrays: an array, or a pointer to them.

    params: any array of the network's dtype. extras: None for a network that has nothing of what jit.extra leaves out:
    then it is left out, wherever this Work is handed on.
    """
    if not isinstance(addresses, Pointer | types.Array):
        return None
    is_plain, has_matrix = isinstance(extras, types.NoneType), HAS_MATRIX and params.dtype == types.float32
    label = f"{'PlainWork' if is_plain else 'Work'}({params.dtype})"
    out = Record(label, _fields(params.dtype), not is_plain, has_matrix)

    def codegen(context, builder, sig, args):
        return open_record(context, builder, sig.args[1], args[1])

    return out(params, addresses, extras), codegen


@intrinsic
def open_other(typingctx, work, addresses):
    """The same from a pointer to other addresses, for the network that `work` is of."""

    def codegen(context, builder, sig, args):
        return args[1]

    return work(work, addresses), codegen


@kernel
def at(work, layer, column):
    """An entry of the layer table."""
    return work.table[layer * COLUMNS + column]


@kernel
def scratch(work, rank):
    """The scratch of one thread."""
    return work.space + (work.numbers[SCRATCH] + rank * work.numbers[SCRATCH_SIZE])


@kernel
def below(work, layer, rank):
    """Where the rows that go into a layer begin, for one worker."""
    a = at(work, layer - 1, A)
    if layer == 1:
        a += rank * work.numbers[INPUTS]
    return work.space + a


@kernel
def share(count, rank, size):
    """The part (first, last) of `count` units that thread `rank` of `size` works on."""
    return count * rank // size, count * (rank + 1) // size


@kernel
def share_of_rows(count, rank, size):
    """The part (first, last) of `count` rows that is a thread's: whole UNITs."""
    first, last = share((count + UNIT - 1) // UNIT, rank, size)
    return first * UNIT, min(last * UNIT, count)


@kernel
def sample_at(work, position):
    """The row of X that comes at a position of the order."""
    return np.int64(work.order[position])


@kernel
def cache_line(p):
    """Elements of a cache line."""
    return ALIGNMENT // VECTOR_BYTES * lanes(p)


@kernel
def ask_for_elements(p, count):
    """Bring what lies at pointer p near, before it is wanted."""
    for j in range(0, count, cache_line(p)):
        prefetch_l2(p + j)


@kernel
def ask_to_write(p, count):
    """Take what lies at pointer p from the cores that have read it, before it is written."""
    for j in range(0, count, cache_line(p)):
        prefetch_to_write(p + j)


@kernel
def ask_for(work, position):
    """Bring the sample at a position of the order near: a random order gives the processor nothing to guess from."""
    columns = work.numbers[COLUMNS_IN]
    ask_for_elements(work.X + sample_at(work, position) * columns, columns)
