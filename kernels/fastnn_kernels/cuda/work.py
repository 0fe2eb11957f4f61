"""Everything that the kernels of a device read and write, under one name, as ../work.py for the processor.

Layers and their columns are those of layout.py, for the tiling DEVICE, in uint32, with the columns below behind them;
`numbers` are those of ../work.py. What changes from step to step lies in `now`, `rates`, `words` and `sums` on the
device: a step is the same launches every time, so that it can be recorded once and replayed.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastnn_kernels import layout, work
from fastnn_kernels.activation import needs_z
from fastnn_kernels.cuda.driver import device
from fastnn_kernels.cuda.native import fixed
from fastnn_kernels.layout import BATCH_NORM, DEPTH, NORM, Parameters, Tiling

DEVICE = Tiling(pad=4, panel=None)  # four numbers are what a thread reads at once

# Columns of the layer table behind layout.py's.
SIZE = layout.COLUMNS  # elements of the layer's parameters, from W on
PARTIAL = layout.COLUMNS + 1  # offset of its partial gradients in the workspace: SPLITS times SIZE elements
SPLITS = layout.COLUMNS + 2  # into how many parts the rows of a batch are divided for the gradient
COLUMNS = layout.COLUMNS + 3

_COLUMNS = np.uint32(COLUMNS)

# Indices of `now`: the moment of a pass through the network.
T = 0  # the number of the step, from 1
START = 1  # position in the order of row 0
COUNT = 2  # rows of this pass
TRAINING = 3  # whether there is noise
EPOCH = 4  # epochs done before
BATCH = 5  # rows of the batch, over which losses and gradients are averaged
DONE = 6  # of them in passes before this one
FIRST = 7  # position in the order of the first sample that the device has, where it has not all
NOW = 8

# Indices of `numbers` behind those of ../work.py.
BATCH_SIZE = work.NUMBERS  # rows of a batch, the last one of an epoch may be shorter
STREAMED = work.NUMBERS + 1  # whether the device has samples in their order, from now[FIRST] on
NUMBERS = work.NUMBERS + 2

# Indices of `words`, int64: a run's progress.
FLAG = 0  # not 0: something is not finite; parameters stay as they are from then on
HITS = 1  # right answers in this epoch
CLIPPED_STEPS = 2  # that clipped their gradient in this epoch
STEPS = 3  # done in this call
CLIPPED = 4  # not 0: this step clips
WORDS = 5

# Indices of `sums`, float64.
LOSS = 0  # of the rows of this epoch
FACTOR = 1  # on the gradient, where its norm is clipped
COST = 2  # of the penalty
ZEROS = 3  # the share of the weights that are 0
SUMS = 4  # behind them: flat.sums sums, one a block of a loop over all parameters


class Work(NamedTuple):
    """Arrays on the device, all one-dimensional and contiguous; real: the dtype of the network.

    table: uint32 (layers + 1) * COLUMNS; numbers: int64; now: int64; words: int64; sums: float64; rates: real, the
    fields of optimizer.Rates at this step; constants: float64, see optimizer.py; betas: real, a constant per row of the
    table; params, gradient: real, flat; kept: two such; state: real, vectors behind each other; space: real, the
    workspace; X: real (samples * n_in); shift, scale: real (n_in); labels: int32; targets: real (samples * n_out);
    weights: real (samples); order: uint32, rows of X; loss_constants: real; norms: real, norm.CONSTANTS per row of the
    table; running: real; kept_running: two such; noise: real, noise.CONSTANTS per row of the table; units: uint32, see
    subnetwork.py; augment: real, basis: real, see augment.py.
    """

    table: Any
    numbers: Any
    now: Any
    words: Any
    sums: Any
    rates: Any
    constants: Any
    betas: Any
    params: Any
    gradient: Any
    kept: Any
    state: Any
    space: Any
    X: Any
    shift: Any
    scale: Any
    labels: Any
    targets: Any
    weights: Any
    order: Any
    loss_constants: Any
    norms: Any
    running: Any
    kept_running: Any
    noise: Any
    units: Any
    augment: Any
    basis: Any


_DTYPES: dict[str, Any] = {"table": np.uint32, "order": np.uint32, "units": np.uint32, "labels": np.int32}
_DTYPES |= {"numbers": np.int64, "now": np.int64, "words": np.int64, "sums": np.float64, "constants": np.float64}


def dtype_of(field: str, real: np.dtype) -> np.dtype:
    """The dtype of a field of Work where the network's is `real`."""
    return np.dtype(_DTYPES.get(field, real))


@device
def at(work, layer, column):
    """An entry of the layer table, uint32; layer: uint32."""
    return fixed(work.table, np.uint32(layer * _COLUMNS + np.uint32(column)))


@device
def data_row(work, position):
    """Where the sample at a position of the order lies in X, labels, targets and weights; both uint32."""
    return position - np.uint32(work.now[FIRST]) if work.numbers[STREAMED] != 0 else work.order[position]


@dataclass(frozen=True)
class Workspace:
    """Where activations, deltas and the rest lie for passes of up to `rows` rows.

    table: int64 (layers + 1, COLUMNS); losses: offset of a loss a row; count: elements of the workspace.
    """

    table: np.ndarray
    rows: int
    losses: int
    count: int


def workspace(
    parameters: Parameters, rows: int, splits: list[int], disturbed: list[bool] | None = None, trains: bool = True
) -> Workspace:
    """Lay out the workspace. splits, disturbed: one a layer; disturbed: whether its weights have noise; trains: whether
    deltas and gradients have a place."""
    table = np.zeros((len(parameters.table), COLUMNS), np.int64)
    table[:, : layout.COLUMNS] = parameters.table
    table[:, layout.STRIDE] = table[:, layout.WIDTH]
    places = _Places()
    for layer, row in enumerate(table):
        block = rows * int(row[layout.STRIDE])
        row[layout.A] = places.take(block)
        row[layout.Z] = places.take(block) if needs_z(row[layout.ACTIVATION]) else row[layout.A]
        if layer == 0:
            continue
        row[SIZE] = row[DEPTH] * row[layout.WIDTH] + row[layout.WIDTH]
        if row[NORM]:
            row[SIZE] = row[layout.BETA] + row[layout.WIDTH] - row[layout.W]
            row[layout.XHAT] = places.take(block)
            width = int(row[layout.WIDTH])
            row[layout.STATS] = places.take(layout.BATCH_STATS * width if row[NORM] == BATCH_NORM else rows + 2 * width)
        if disturbed is not None and disturbed[layer - 1]:
            row[layout.NOISY] = places.take((int(row[DEPTH]) + 1) * int(row[layout.WIDTH]))
            row[layout.FACTORS] = places.take(int(row[DEPTH]) * int(row[layout.WIDTH]))
        if trains:
            row[layout.D] = places.take(block)
            row[SPLITS] = splits[layer - 1]
            row[PARTIAL] = places.take(splits[layer - 1] * int(row[SIZE]))
    losses = places.take(rows)
    return Workspace(table, rows, losses, places.count)


class _Places:
    """Stretches of the workspace, one behind the other, each on a boundary of 128 bytes or more."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, elements: int) -> int:
        start = self.count
        self.count += layout.round_up(elements, 32)
        return start


@dataclass(frozen=True)
class Pass:
    """What the host needs to launch the kernels of a pass.

    work: the arrays on the device; table: int64 (layers + 1, COLUMNS) and numbers: int64, the same as on the device;
    constants: float64, optimizer.py's, as they are at the start; rows: of the largest pass: grids are made for it, and
    kernels look at now[COUNT] for the rows of this one; stream: of CUDA; is_augmented: whether samples are changed in
    training; library: cublas.Cublas where that multiplies, None for fastnn's own loops.
    """

    work: Work
    table: np.ndarray
    numbers: np.ndarray
    constants: np.ndarray
    rows: int
    stream: object
    is_augmented: bool = False
    library: Any = None

    @property
    def dtype(self) -> np.dtype:
        """The network's."""
        return np.dtype(self.work.params.dtype)

    @property
    def has_parts(self) -> bool:
        """Whether a batch takes several passes, whose gradients are added up before the update."""
        return bool(self.numbers[BATCH_SIZE] > self.numbers[work.PASS_ROWS])

    def on(self, stream: object) -> "Pass":
        """The same on another stream."""
        return replace(self, stream=stream)

    def at(self, layer: int, column: int) -> int:
        """An entry of the layer table."""
        return int(self.table[layer, column])
