"""How the work of a training step is divided: among threads, into passes and parts, by rows or by panels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fastnn import norms
from fastnn.augment import Augmentation
from fastnn_kernels import layout, machine
from fastnn_kernels.layout import Workspace, block_rows
from fastnn_kernels.noise import DROPOUT, SAMPLE_CONNECT
from fastnn_kernels.work import DENSE_BLOCKS, SPARSE_BLOCKS

if TYPE_CHECKING:
    from fastnn.job import Part, Settings
    from fastnn.network import MLP

PASS_ROWS = 512  # rows that go through the network at once in training; longer batches go in parts, see pass_rows
PARTS = 16  # of a batch that is divided for the workers, see division
PART_ROWS = 128  # rows of a pass through a part: activations that a core's cache holds
PART_BYTES = 1 << 19  # parameters up to which a core's cache holds them and a gradient beside the activations
FLOPS_PER_THREAD = 1.5e6  # a step's work below which one more thread may cost more at the barriers than it brings
FLOPS_TO_TRY = 1.5e5  # and for each of two, below which a second is not even tried
ROWS_PER_THREAD = 16  # of a small network: with fewer, meeting may cost more than it brings
CACHED_BYTES = 2 << 20  # parameters up to which a network is small: the caches of the cores hold it

PROBED = 64  # samples that tell how many inputs are 0
MOST_SPARSE = 0.28 if machine.VECTOR_BYTES == 64 else 0.4  # share of inputs that are not 0, below which skipping pays
LITTLE = 0.03  # of data, parameters and state: what each of several copies that make training faster may take
PANEL_WEIGHTS = 1 << 14  # of a layer, from which on fetching those that another core wrote costs more than meeting

MATRIX_LEAST_ROWS = 224  # of a pass that threads share, from which on packing for a matrix unit pays
MATRIX_LEAST_WIDTH = 224  # of a layer and of what goes into it: what is packed is multiplied by so many numbers
MATRIX_WEIGHTS = 3 << 18  # of a layer, from which on fewer rows do
MATRIX_FEWER_ROWS = 128  # the least of those
MATRIX_FILLED = 7 / 8  # share of the unit's steps that fewer rows are to fill: it takes whole ones
MATRIX_ROWS_OF_THREAD = 96  # of a pass, from which on threads may take their own through whole layers of the unit
MATRIX_NEAR_WEIGHTS = 1 << 18  # of a layer, below which its weights are near to every thread that reads them all


def suits_single_samples(net: MLP) -> bool:
    """Whether the path for steps of one sample knows all that the layers do."""
    is_noisy = net.has_noise or any(layer.function.is_noisy for layer in net.layers)
    return not is_noisy and not norms.has_norm(net)


def single_samples(net: MLP, part: Part, settings: Settings) -> int:
    """How steps of one sample go: work.DENSE_BLOCKS or work.SPARSE_BLOCKS, 0 for other steps.

    Normalized inputs are never sparse.
    """
    if not (settings.is_stochastic and suits_single_samples(net)):
        return 0
    probed = part.X[part.index[:PROBED]]
    is_sparse = net.normalization is None and np.count_nonzero(probed) < MOST_SPARSE * probed.size
    return SPARSE_BLOCKS if is_sparse else DENSE_BLOCKS


def flops_per_sample(net: MLP) -> float:
    """Floating point operations of training on one sample: three products a layer, two for the first."""
    sizes = net.layout.sizes
    return 6.0 * sum(a * b for a, b in pairwise(sizes)) - 2.0 * sizes[0] * sizes[1]


def choose_threads(net: MLP, batch: int, asked: int | None) -> int:
    """How many threads share a step: as asked, else as many as its work is worth and the process may use."""
    if asked is not None:
        return asked
    most = _most_threads(net, batch)
    return max(1, min(most, batch // ROWS_PER_THREAD)) if _is_cached(net) else most


def numbers_of_threads(net: MLP, batch: int, asked: int | None, single: int = 0) -> tuple[int, ...]:
    """That number, and behind it another one that may turn out to be faster: see crew.py. single: as single_samples."""
    if asked is not None:
        return (asked,)
    if single:
        most = _most_threads_of_single_samples(net)
        return (most, 1) if most > 1 else (1,)
    first, most = choose_threads(net, batch, None), _most_threads(net, batch)
    other = 1 if first > 1 else max(most, min(2, _most_threads(net, batch, FLOPS_TO_TRY)))
    return (first, other) if _is_cached(net) and other != first else (first,)


def _is_cached(net: MLP) -> bool:
    return net.layout.count * net.dtype.itemsize <= CACHED_BYTES


def _most_threads(net: MLP, batch: int, flops: float = FLOPS_PER_THREAD) -> int:
    """As many as have work, so many flops each, and rows."""
    by_work = int(flops_per_sample(net) * batch / flops)
    return max(1, min(machine.processors(), by_work, -(-batch // machine.UNIT)))


def _most_threads_of_single_samples(net: MLP) -> int:
    """As many as a block of them has work for, and the first layer panels."""
    return min(_most_threads(net, block_rows(net.layout)), -(-net.sizes[1] // (2 * machine.lanes(net.dtype))))


def parts_and_rows(net: MLP, batch: int, augment: Augmentation | None = None) -> tuple[int, int]:
    """(parts of a batch that workers take alone, rows that go through at once); parts is 0 where they work together.

    They take parts, see parts.py, where these have rows enough, gradients stay near, and nothing else is shared.
    """
    is_small = net.layout.count * net.dtype.itemsize <= PART_BYTES
    is_plain = augment is None and not (net.has_noise or norms.has_norm(net))
    if is_small and is_plain and batch >= 2 * PARTS * PART_ROWS:
        return PARTS, PART_ROWS
    return 0, pass_rows(net, batch)


def pass_rows(net: MLP, batch: int) -> int:
    """How many rows of a batch go through the network at once: all where batch normalization needs them."""
    return batch if norms.has_batch_norm(net) else min(batch, PASS_ROWS)


def panels(
    sizes: Sequence[int],
    noises: Sequence[int],
    rows: int,
    threads: int,
    most_inputs: float,
    matrix: Sequence[bool] = (),
) -> tuple[list[bool], int]:
    """Layer by layer, whether threads divide its panels of weights, not the rows of a pass: see passes.py. And how many
    copies of the input rows there are: one for each thread where it reads them all.

    sizes: of the input and all layers; noises: the layers' codes; rows: of a pass; most_inputs: elements that the
    copies behind the first may take; matrix: as by_matrix, empty where no layer is the matrix unit's.
    """
    divided = [
        threads > 1
        and n_in * n_out >= PANEL_WEIGHTS
        and code != SAMPLE_CONNECT
        and not (is_matrix and _goes_by_rows(n_in, n_out, rows, threads))
        for (n_in, n_out), code, is_matrix in zip(pairwise(sizes), noises, matrix or [False] * len(noises), strict=True)
    ]
    has_copies = divided[0] and (threads - 1) * rows * sizes[0] <= most_inputs
    return divided, threads if has_copies else 1


def _goes_by_rows(n_in: int, n_out: int, rows: int, threads: int) -> bool:
    """Whether each thread takes its own rows through a layer of the matrix unit, and packs all its weights.

    By panels it packs all rows, and its own weights.
    """
    is_little = n_in * n_out < MATRIX_NEAR_WEIGHTS or n_out <= rows
    return is_little and rows >= MATRIX_ROWS_OF_THREAD * threads


def kept(net: MLP) -> list[int]:
    """The units of each layer that take part in a step: fewer where dropout per batch or epoch leaves some out."""
    return [layer.units if layer.dropout is None else layer.dropout.kept(layer.units) for layer in net.layers]


def by_matrix(net: MLP, codes: Sequence[int], rows: int, parts: int) -> list[bool]:
    """Layer by layer, whether its products are the matrix unit's, in passes of `rows` rows; parts: as parts_and_rows.

    Not by the number of threads: the unit rounds otherwise, and results are to be the same on any number. Steps of a
    part of the network never take it.
    """
    has_unit = machine.HAS_MATRIX and net.dtype == np.float32 and kept(net) == list(net.sizes[1:])
    return [
        has_unit
        and code <= DROPOUT
        and min(n_in, n_out) >= MATRIX_LEAST_WIDTH
        and (parts > 0 or _has_rows(rows, n_in * n_out))
        for (n_in, n_out), code in zip(pairwise(net.sizes), codes, strict=True)
    ]


def _has_rows(rows: int, weights: int) -> bool:
    """Whether a pass has so many rows that packing for the matrix unit pays in a layer of so many weights."""
    fills = rows >= MATRIX_FILLED * layout.round_up(rows, layout.MATRIX_STEP)
    return rows >= MATRIX_LEAST_ROWS or (weights >= MATRIX_WEIGHTS and rows >= MATRIX_FEWER_ROWS and fills)


def workspace(
    net: MLP, codes: Sequence[int], rows: int, threads: int, single: int, most_inputs: float, packed: int, parts: int
) -> Workspace:
    """Where training works. codes: the layers' noises; threads: that share a pass of up to `rows` rows; single: as
    single_samples; most_inputs: as in panels; packed: elements that each thread's packed deltas may take; parts: as
    parts_and_rows."""
    disturbed = [code > SAMPLE_CONNECT for code in codes]
    if single:
        copies = 2 * threads if single == DENSE_BLOCKS else 1
        return layout.workspace(net.layout, rows, threads, True, disturbed, copies=copies, packed=layout.PACKED_BYTES)
    matrix = by_matrix(net, codes, rows, parts)
    divided, copies = panels(net.sizes, codes, rows, threads, most_inputs, matrix)
    return layout.workspace(
        net.layout,
        rows,
        threads,
        disturbed=disturbed,
        by_panels=divided,
        by_matrix=matrix,
        copies=copies,
        packed=packed,
    )


def gradients(batch: int, parts: int, rows: int, clips: bool) -> int:
    """How many whole gradients training holds: one for each part, or where an update waits for several passes."""
    return parts or int(clips or batch > rows)


def little(data: int, parameters: int, state: int) -> float:
    """Elements that are little beside so many of data, parameters and state."""
    return LITTLE * (data + parameters + state)
