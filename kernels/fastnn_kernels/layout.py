"""Where everything lies: parameters in panels, activations in padded rows, one workspace.

Weights of a layer, (n_in, n_out), lie in panels of NR = 2 vectors of columns: [width / NR][depth][NR], where width
and depth are n_out and n_in rounded up to PAD. The last panel is one vector wide where the width asks for that.
Behind the panels lies the bias, width long; behind it gain and shift of the layer's normalization, where it has one.
For steps of one sample the workspace also holds, from the second layer on, the transposed panels,
[width of n_in / NR][width of n_out][NR]; larger steps transpose what they read into a thread's scratch. Activations and
deltas are row-major (rows, width), their row stride never a multiple of 512 bytes: rows would share few sets of the
cache.

Padding is zero where parameters lie, and stays zero. Padding of activations may hold anything finite.

A device other than the processor has a Tiling of its own: there a layer's weights are one panel, (depth, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastnn_kernels import machine
from fastnn_kernels.activation import NOISY_RELU, needs_z
from fastnn_kernels.rng import GROUP

# Columns of the layer table. Row 0 is the input, row l the layer l.
N_IN = 0  # neurons before the layer
N_OUT = 1  # neurons of the layer
DEPTH = 2  # n_in, rounded up
WIDTH = 3  # n_out, rounded up
STRIDE = 4  # elements from one row of activations or deltas to the next
W = 5  # offset of the weight panels in the parameters
B = 6  # offset of the bias in the parameters
T = 7  # offset of the transposed panels in the workspace
A = 8  # offset of the activations in the workspace
D = 9  # offset of the deltas in the workspace
ACTIVATION = 10  # code, see activation.py
Z = 11  # offset of what the activation's derivative is computed from: pre-activations, laid out as A, or A itself
DRAWS = 12  # offset of room for noisy ReLU's random numbers: a row of whole GROUPs for every UNIT rows
FUNCTION = 13  # address of a user's own activation, see rowwise.py
DERIVATIVE = 14  # address of its derivative
NORM = 15  # NO_NORM, BATCH_NORM or LAYER_NORM
GAMMA = 16  # offset of the gain in the parameters
BETA = 17  # offset of the shift in the parameters
XHAT = 18  # offset of the normalized z in the workspace, rows as in A
STATS = 19  # offset of norm.py's statistics in the workspace
RUNNING = 20  # offset of the running averages, means and behind them variances
NOISE = 21  # code, see noise.py; 0 but in training
NOISY = 22  # offset of the disturbed weights and bias in the workspace
FACTORS = 23  # offset of what takes their gradient to the weights', in panels
UNITS = 24  # offset of the numbers of a small network's units, see subnetwork.py
PLACES = 25  # offset of the places of the whole network's units among them
BY_PANELS = 26  # whether workers divide the layer's panels of weights, not the rows that go through it: see passes.py
BY_MATRIX = 27  # whether the layer's products are the matrix unit's: see matrix.py
COLUMNS = 28

BLOCK_ROWS = 12  # samples of a block, and twice as many where the first layer's weights are FAR
FAR = 1 << 17  # bytes: more than any first cache

NO_NORM, BATCH_NORM, LAYER_NORM = 0, 1, 2
BATCH_STATS = 5  # vectors as wide as the layer: mean, variance, 1 / deviation, sums for the gradients of beta and gamma
LAYER_STATS = 3  # numbers a row: 1 / deviation, and two means of its deltas

ALIGNMENT = 64  # bytes: a cache line
PACKED_BYTES = 1 << (19 if machine.VECTOR_BYTES == 64 else 21)
"""Of panels of deltas that gradient.py has side by side: the more, the less often is packed what goes into their layer.

Read in order, they may lie far away, but for processors with 512 bits, whose third cache is no match for their vectors.
"""


MATRIX_STEP = 32  # of a sum, that go through a matrix unit at once
MATRIX_ROWS, MATRIX_DEPTH = 256, 256
"""Of what goes into a layer, packed for the unit at a time: 393 KB, which a second cache holds."""
MATRIX_FEWEST_ROWS = 128  # where memory is short
MATRIX_BYTES = 3 << 18  # of panels of deltas, packed for it


@dataclass(frozen=True)
class Tiling:
    """pad: what widths and depths are rounded up to; panel: columns of a panel of weights, None for all of them."""

    pad: int
    panel: int | None


@dataclass(frozen=True)
class Parameters:
    """Where the parameters of a network lie in its flat vector.

    sizes: neurons of the input and of every layer; table: int64 (layers + 1, COLUMNS), the workspace's columns still
    zero; count: elements of the flat vector; running: elements of the running averages of batch normalization.
    """

    sizes: tuple[int, ...]
    dtype: np.dtype
    table: np.ndarray
    count: int
    running: int
    tiling: Tiling


@dataclass(frozen=True)
class Workspace:
    """Where everything else lies while `rows` rows go through the network on `threads` threads.

    table: the complete layer table; losses: offset of a loss for each row, then of what each is computed from; scratch:
    offset of the first thread's scratch, scratch_size elements each; block: offset of blocks.py's Gram matrices;
    inputs: elements from one copy of the input rows to the next one, 0 where there is one; count: elements of the
    workspace; meets: whether threads meet while a pass goes through the layers.
    """

    table: np.ndarray
    rows: int
    losses: int
    scratch: int
    scratch_size: int
    block: int
    inputs: int
    count: int
    meets: bool


def pad(dtype: np.dtype) -> int:
    """What widths and depths are rounded up to: whole vectors, whole tiles."""
    return max(machine.lanes(dtype), machine.UNIT)


def tiling(dtype: np.dtype) -> Tiling:
    """The processor's."""
    return Tiling(pad(dtype), 2 * machine.lanes(dtype))


def round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def row_stride(width: int, dtype: np.dtype) -> int:
    """The row stride of activations that are `width` wide: a column of 128 rows is to find room in a first cache, which
    has few places for lines that are a large power of two apart."""
    return width + pad(dtype) if width * dtype.itemsize % 512 == 0 else width


def parameters(
    sizes: Sequence[int],
    activations: Sequence[int],
    dtype: np.dtype,
    norms: Sequence[int] | None = None,
    tiling_: Tiling | None = None,
) -> Parameters:
    """Lay out the parameters; activations, norms: one code a layer; tiling_: the processor's unless given."""
    tiles = tiling(dtype) if tiling_ is None else tiling_
    table = np.zeros((len(sizes), COLUMNS), np.int64)
    table[1:, NORM] = NO_NORM if norms is None else norms
    count = running = 0
    for layer, n_out in enumerate(sizes):
        row = table[layer]
        row[N_OUT], row[WIDTH] = n_out, round_up(n_out, tiles.pad)
        row[STRIDE] = row_stride(row[WIDTH], dtype)
        if layer:
            row[N_IN], row[DEPTH] = sizes[layer - 1], table[layer - 1, WIDTH]
            row[ACTIVATION] = activations[layer - 1]
            row[W], row[B] = count, count + row[WIDTH] * row[DEPTH]
            count = _aligned(row[B] + row[WIDTH], dtype)
        if row[NORM]:
            row[GAMMA], row[BETA] = count, count + row[WIDTH]
            count = _aligned(row[BETA] + row[WIDTH], dtype)
        if row[NORM] == BATCH_NORM:
            row[RUNNING] = running
            running += 2 * int(row[WIDTH])
    return Parameters(tuple(sizes), dtype, table, count, running, tiles)


def block_rows(layout: Parameters) -> int:
    """How many samples a block of single ones has, see dense_blocks.py: whole tall tiles with any number of registers.

    The more, the less often are the first layer's weights read and written, but the more there is to correct.
    """
    weights = int(layout.table[1, DEPTH] * layout.table[1, WIDTH]) * layout.dtype.itemsize
    return 2 * BLOCK_ROWS if weights >= FAR else BLOCK_ROWS


def workspace(
    layout: Parameters,
    rows: int,
    threads: int,
    stochastic: bool = False,
    disturbed: Sequence[bool] = (),
    backwards: bool = True,
    by_panels: Sequence[bool] = (),
    by_matrix: Sequence[bool] = (),
    copies: int = 1,
    packed: int = 0,
) -> Workspace:
    """Lay out activations, deltas and scratch for passes of up to `rows` rows.

    stochastic: for steps of one sample, a block of them side by side and behind it the row of one before it, with
    transposed panels. disturbed: whether a layer has noise on its weights, layer by layer. backwards: whether passes go
    back through all layers; else only the last one has deltas, which the loss writes. by_panels, by_matrix: layer by
    layer, whether workers divide its panels, and whether its products are the matrix unit's. copies: of the input rows,
    1 where workers share them. packed: elements that a thread's packed panels of deltas may take; there is room for one
    in any case.
    """
    dtype, table = layout.dtype, layout.table.tolist()  # Python's own numbers are faster one by one
    block = block_rows(layout)
    rows = block + machine.UNIT if stochastic else round_up(rows, machine.UNIT)
    inputs = _aligned(rows * table[0][STRIDE], dtype) if copies > 1 else 0
    count = 0
    for layer, row in enumerate(table):
        has_deltas = layer == len(table) - 1 or (backwards and layer > 0)
        for column in (A, D) if has_deltas else (A,):
            row[column] = count
            count = _aligned(count + rows * row[STRIDE], dtype)
        if layer == 0:
            count += (copies - 1) * inputs
        row[Z] = row[A]
        if needs_z(row[ACTIVATION]):
            row[Z] = count
            count = _aligned(count + rows * row[STRIDE], dtype)
        if row[ACTIVATION] == NOISY_RELU:
            row[DRAWS] = count
            count = _aligned(count + rows // machine.UNIT * round_up(row[WIDTH], GROUP), dtype)
        if layer > 1 and stochastic:
            row[T] = count
            count = _aligned(count + row[WIDTH] * row[DEPTH], dtype)
        if row[NORM]:
            row[XHAT], row[STATS] = count, _aligned(count + rows * row[STRIDE], dtype)
            stats = BATCH_STATS * row[WIDTH] if row[NORM] == BATCH_NORM else LAYER_STATS * rows
            count = _aligned(row[STATS] + stats, dtype)
    for row, has_noise in zip(table[1:], disturbed, strict=False):
        if has_noise:
            row[NOISY], row[FACTORS] = count, _aligned(count + row[WIDTH] * (row[DEPTH] + 1), dtype)
            count = _aligned(row[FACTORS] + row[WIDTH] * row[DEPTH], dtype)
    for column, layers in ((BY_PANELS, by_panels), (BY_MATRIX, by_matrix)):
        for row, is_so in zip(table[1:], layers, strict=False):
            row[column] = int(is_so)
    meets = any(row[BY_PANELS] or row[NORM] == BATCH_NORM for row in table)
    table = np.array(table, np.int64)
    losses, count = count, _aligned(count + 2 * rows, dtype)
    scratch_size = _scratch_size(table, rows, packed, dtype) if backwards else _feed_scratch(table, dtype)
    if any(by_matrix):
        scratch_size = max(scratch_size, _matrix_scratch(table, rows, packed))
    scratch, count = count, count + threads * scratch_size
    gram, count = count, count + (2 * block * block if stochastic else 0)
    return Workspace(table, rows, losses, scratch, scratch_size, gram, int(inputs), int(count), meets)


def _feed_scratch(table: np.ndarray, dtype: np.dtype) -> int:
    """Elements of a thread's scratch for the feed: the panel of a layer of few outputs, transposed."""
    return _aligned(machine.lanes(dtype) * max(table[1:, DEPTH]), dtype)


def _scratch_size(table: np.ndarray, rows: int, packed: int, dtype: np.dtype) -> int:
    """Elements of a thread's scratch, which holds one after the other: what the feed needs; a panel of weights,
    transposed for deltas; the gradient of a unit of gradient.py, what goes into it and packed panels of deltas.
    """
    panel = 2 * machine.lanes(dtype)
    most = round_up(max(table[1:, WIDTH]), panel) // panel
    slots = max(1, min(most, min(packed, PACKED_BYTES // dtype.itemsize) // (panel * rows)))
    widest = max(table[2:, WIDTH], default=0)
    unit = machine.PIECE * (panel + rows) + slots * panel * rows
    return max(_aligned(max(unit, panel * widest), dtype), _feed_scratch(table, dtype))


def _matrix_scratch(table: np.ndarray, rows: int, packed: int) -> int:
    """The same where layers go by the matrix unit: a block of rows and one of weights; or a unit's gradient, what goes
    into it and panels of deltas. A float32 takes the room of one and a half.
    """
    rows, panel = round_up(rows, MATRIX_STEP), 2 * machine.lanes("float32")
    most = round_up(max(table[1:, WIDTH]), panel) // panel
    slots = max(1, min(most, 2 * min(packed, MATRIX_BYTES // 4) // (3 * panel * rows)))
    unit = machine.PIECE * panel + (machine.PIECE + slots * panel) * rows * 3 // 2
    most_rows = min(rows, MATRIX_ROWS if 2 * packed >= 3 * MATRIX_ROWS * MATRIX_DEPTH else MATRIX_FEWEST_ROWS)
    return max(unit, (most_rows + 2 * panel) * MATRIX_DEPTH * 3 // 2)


def _aligned(count: int, dtype: np.dtype) -> int:
    return int(round_up(count, ALIGNMENT // dtype.itemsize))


def zeros(count: int, dtype: np.dtype) -> np.ndarray:
    """A flat array of zeros that starts on a cache line."""
    raw = np.zeros(count * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count * dtype.itemsize].view(dtype)


def panels(layout: Parameters, layer: int, flat: np.ndarray) -> list[np.ndarray]:
    """The panels of a layer as views (depth, columns) of a flat vector, from left to right."""
    row = layout.table[layer]
    width, depth, start = int(row[WIDTH]), int(row[DEPTH]), int(row[W])
    full = layout.tiling.panel or width
    views = []
    for column in range(0, width, full):
        columns = min(full, width - column)
        views.append(flat[start : start + depth * columns].reshape(depth, columns))
        start += depth * columns
    return views


def get_layer(layout: Parameters, layer: int, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight (n_in, n_out) and bias (n_out,) of a layer of a flat vector, as copies."""
    row = layout.table[layer]
    weight = np.concatenate(panels(layout, layer, flat), axis=1)[: row[N_IN], : row[N_OUT]]
    return np.ascontiguousarray(weight), flat[row[B] : row[B] + row[N_OUT]].copy()


def set_layer(layout: Parameters, layer: int, flat: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    """Write weight (n_in, n_out) and bias (n_out,) into a flat vector."""
    row = layout.table[layer]
    n_in, n_out = int(row[N_IN]), int(row[N_OUT])
    column = 0
    for view in panels(layout, layer, flat):
        columns = min(view.shape[1], n_out - column)
        view[:n_in, :columns] = weight[:, column : column + columns]
        column += columns
    flat[row[B] : row[B] + n_out] = bias


def get_norm(layout: Parameters, layer: int, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain gamma and shift beta (n_out,) of a normalized layer of a flat vector, as views."""
    row = layout.table[layer]
    return flat[row[GAMMA] : row[GAMMA] + row[N_OUT]], flat[row[BETA] : row[BETA] + row[N_OUT]]


def get_running(layout: Parameters, layer: int, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running mean and variance (n_out,) of a layer with batch normalization, as views."""
    row = layout.table[layer]
    mean = int(row[RUNNING])
    variance = mean + int(row[WIDTH])
    return running[mean : mean + row[N_OUT]], running[variance : variance + row[N_OUT]]


def convert(source: Parameters, target: Parameters, flat: np.ndarray, out: np.ndarray) -> None:
    """Write a flat vector that lies as `source` says into `out` as `target` says: the same network, another tiling."""
    for layer in range(1, len(source.sizes)):
        set_layer(target, layer, out, *get_layer(source, layer, flat))
        if source.table[layer, NORM]:
            for to, given in zip(get_norm(target, layer, out), get_norm(source, layer, flat), strict=True):
                to[:] = given


def convert_running(source: Parameters, target: Parameters, running: np.ndarray, out: np.ndarray) -> None:
    """The same for running averages."""
    for layer in np.flatnonzero(source.table[:, NORM] == BATCH_NORM).tolist():
        for to, given in zip(get_running(target, layer, out), get_running(source, layer, running), strict=True):
            to[:] = given


def scale_layer(
    layout: Parameters, layer: int, flat: np.ndarray, scale: np.ndarray, before: np.ndarray, after: np.ndarray
) -> None:
    """W -> W scale and b -> (b - before) scale + after in a flat vector; all three float64 (n_out,)."""
    row = layout.table[layer]
    column, whole = 0, np.ones(row[WIDTH])
    whole[: row[N_OUT]] = scale
    for view in panels(layout, layer, flat):
        view *= whole[column : column + view.shape[1]]
        column += view.shape[1]
    bias = flat[row[B] : row[B] + row[N_OUT]]
    bias[:] = (bias - before) * scale + after
