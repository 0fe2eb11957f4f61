"""The three products of a dense layer, as ../dense.py has them, in the register tiles of product.py.

feed      Z (rows, n_out) = X (rows, n_in) W + b, then the activation
delta     dX (rows, n_in) = dZ (rows, n_out) W.T, times the derivative of the activation below
gradient  dW (n_in, n_out) = X.T dZ;  db = sum of dZ over the rows

No matrix is transposed or copied for them. The sums of feed and delta run over the whole depth, those of the gradient
over one of SPLITS parts of the rows; the parts are added up where the gradient is used. Every sum has one order, which
follows from the shapes and the number of the device's processors.

A library multiplies in place of the tiles where the Pass has one: see cublas.py.
"""

from typing import Any

import numpy as np

from fastnn_kernels.cuda import element, tile
from fastnn_kernels.cuda.driver import cuda, device, processors
from fastnn_kernels.cuda.element import feed_into, feeding, leading_back
from fastnn_kernels.cuda.native import near, set_near
from fastnn_kernels.cuda.product import Places, nothing, product
from fastnn_kernels.cuda.tile import Shape, shapes
from fastnn_kernels.cuda.work import COUNT, PARTIAL, SIZE, SPLITS, Pass, at
from fastnn_kernels.layout import (
    BATCH_NORM,
    DEPTH,
    N_IN,
    N_OUT,
    NO_NORM,
    NOISE,
    NOISY,
    NORM,
    STRIDE,
    WIDTH,
    A,
    D,
    W,
    Z,
)
from fastnn_kernels.noise import SAMPLE_CONNECT

_ZERO, _ONE = np.uint32(0), np.uint32(1)
_NO_NORM, _BATCH_NORM, _SAMPLE_CONNECT = np.uint32(NO_NORM), np.uint32(BATCH_NORM), np.uint32(SAMPLE_CONNECT)


@device
def weights(work, layer):
    """What the layer's products read, the bias behind it: its own weights, or those that noise has disturbed."""
    if at(work, layer, NOISE) > _SAMPLE_CONNECT:
        return work.space, at(work, layer, NOISY)
    return work.params, at(work, layer, W)


@device
def _rows_limits(work, layer, part, places):
    """The rows of c are those of the pass."""
    return np.uint32(work.now[COUNT]), _ZERO, places.depth


@device
def finish_feed(work, layer, asked, part, row, j, total):
    """Normalization reads its z from A."""
    weight, start = weights(work, layer)
    z = total + weight[start + at(work, layer, DEPTH) * at(work, layer, WIDTH) + j]
    if at(work, layer, NORM) != _NO_NORM:
        work.space[at(work, layer, A) + row * at(work, layer, STRIDE) + j] = z
    else:
        feed_into(work, layer, asked, row, j, z)


@device
def finish_delta(work, layer, asked, part, row, j, total):
    place = row * at(work, layer, STRIDE) + j
    kept = work.space[at(work, layer, Z) + place]
    work.space[at(work, layer, D) + place] = element.delta(work, layer, asked, row, j, total, kept)


@device
def part_of(work, layer, part):
    """The rows (first, last) of the pass that one of the layer's SPLITS parts adds up; it may have none."""
    count, parts = np.uint32(work.now[COUNT]), at(work, layer, SPLITS)
    rows = np.uint32(np.uint32(count + parts - _ONE) // parts)
    first, last = np.uint32(part * rows), np.uint32((part + _ONE) * rows)
    return first if first < count else count, last if last < count else count


@device
def _gradient_limits(work, layer, part, places):
    """The depth is a part of the rows."""
    first, last = part_of(work, layer, part)
    return places.m, first, np.uint32(last - first)


@device
def _nothing_to_ask(work, layer):
    return layer


@device
def finish_gradient(work, layer, asked, part, i, j, total):
    """What lies in the padding of the weights gets a gradient of 0."""
    real = work.params.dtype.type
    is_weight = i < at(work, layer, N_IN) and j < at(work, layer, N_OUT)
    place = at(work, layer, PARTIAL) + part * at(work, layer, SIZE) + i * at(work, layer, WIDTH) + j
    work.space[place] = total if is_weight else real(0)


@device
def bias(work, layer, part, column, sums, thread, columns, threads):
    """db of `columns` columns from `column` on, 0 in the padding: the threads of a column take every so many rows, and
    their sums are added up in order, in `sums` (threads,) of `shared`. Batch normalization takes the bias off again:
    its gradient is 0."""
    real = work.params.dtype.type
    width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
    j = np.uint32(column + thread % columns)
    first, last = part_of(work, layer, part)
    total = real(0)
    if j < at(work, layer, N_OUT) and at(work, layer, NORM) != _BATCH_NORM:
        row = np.uint32(first + thread // columns)
        while row < last:
            total += work.space[at(work, layer, D) + row * stride + j]
            row = np.uint32(row + threads // columns)
    set_near(sums, thread, 0, total)
    cuda.syncthreads()
    if thread < columns and j < width:
        e = np.uint32(thread + columns)
        while e < threads:
            total += near(sums, e, 0)
            e = np.uint32(e + columns)
        place = at(work, layer, PARTIAL) + part * at(work, layer, SIZE)
        work.space[place + at(work, layer, DEPTH) * width + j] = total


def _bias_of(shape: Shape) -> Any:
    """The work of one more row of blocks: db of their columns."""
    columns, threads = np.uint32(shape.columns), np.uint32(shape.threads)

    @device
    def last_row(work, layer, part, tile_row, column, sums, thread):
        if np.uint32(tile_row + _ONE) < np.uint32(cuda.gridDim.x):
            return False
        bias(work, layer, part, column, sums, thread, columns, threads)
        return True

    return last_row


def _kernels(dtype: Any, of_shape: Any) -> dict[tuple[int, Shape], Any]:
    """A kernel for every shape of tiles, by itemsize and shape."""
    return {(np.dtype(dtype).itemsize, shape): of_shape(shape, dtype) for shape in shapes(np.dtype(dtype))}


def _feed_of(shape: Shape, dtype: Any) -> Any:
    return product("dense.feed", shape, dtype, True, False, _rows_limits, feeding, finish_feed, nothing)


def _delta_of(shape: Shape, dtype: Any) -> Any:
    return product("dense.delta", shape, dtype, True, True, _rows_limits, leading_back, finish_delta, nothing)


def _gradient_of(shape: Shape, dtype: Any) -> Any:
    return product(
        "dense.gradient",
        shape,
        dtype,
        False,
        False,
        _gradient_limits,
        _nothing_to_ask,
        finish_gradient,
        _bias_of(shape),
    )


_FEED = _kernels(np.float32, _feed_of) | _kernels(np.float64, _feed_of)
_DELTA = _kernels(np.float32, _delta_of) | _kernels(np.float64, _delta_of)
_GRADIENT = _kernels(np.float32, _gradient_of) | _kernels(np.float64, _gradient_of)


def _launch(kernels: dict, p: Pass, layer: int, b: Any, places: Places, m: int, depth: int, parts: int) -> None:
    """m: rows of c; gradients have one row of blocks more."""
    itemsize = p.dtype.itemsize
    shape = tile.choose(m, int(places.n), depth, parts, processors(), itemsize)
    down, across = tile.tiles(shape, m, int(places.n))
    blocks = down + (kernels is _GRADIENT), across, parts
    kernels[itemsize, shape][blocks, shape.threads, p.stream](p.work, np.uint32(layer), b, places)


def _places(*numbers: int) -> Places:
    return Places(*(np.uint32(number) for number in numbers))  # type: ignore[arg-type]


def weights_of(p: Pass, layer: int) -> tuple[Any, int]:
    """The array that the layer's products read their weights from, and where they lie in it."""
    if p.at(layer, NOISE) > SAMPLE_CONNECT:
        return p.work.space, p.at(layer, NOISY)
    return p.work.params, p.at(layer, W)


def feed(p: Pass, layer: int) -> None:
    """A of the layer from A of the layer below."""
    below = layer - 1
    b, start = weights_of(p, layer)
    n_in, n_out = p.at(layer, N_IN), p.at(layer, N_OUT)
    places = _places(p.at(below, A), p.at(below, STRIDE), start, p.at(layer, WIDTH), p.rows, n_out, n_in)
    if p.library is not None:
        p.library.feed(p, layer, b, places)
    else:
        _launch(_FEED, p, layer, b, places, p.rows, n_in, 1)


def delta(p: Pass, layer: int) -> None:
    """D of the layer from D of the layer above."""
    above = layer + 1
    b, start = weights_of(p, above)
    n_in, n_out = p.at(above, N_IN), p.at(above, N_OUT)
    places = _places(p.at(above, D), p.at(above, STRIDE), start, p.at(above, WIDTH), p.rows, n_in, n_out)
    if p.library is not None:
        p.library.delta(p, layer, b, places)
    else:
        _launch(_DELTA, p, layer, b, places, p.rows, n_out, 1)


def gradient(p: Pass, layer: int) -> None:
    """dW and db of the layer, in SPLITS parts, into PARTIAL; 0 where the weights have padding."""
    below = layer - 1
    depth, width, space = p.at(layer, DEPTH), p.at(layer, WIDTH), p.work.space
    places = _places(p.at(below, A), p.at(below, STRIDE), p.at(layer, D), p.at(layer, STRIDE), depth, width, p.rows)
    if p.library is not None:
        p.library.gradient(p, layer, places)
    else:
        _launch(_GRADIENT, p, layer, space, places, depth, p.rows, p.at(layer, SPLITS))


def splits(rows: int, n_in: int, n_out: int, dtype: Any = np.float32) -> int:
    """Into how many parts the gradient of a layer is to be divided on the device in use."""
    return tile.splits(rows, n_in, n_out, processors(), np.dtype(dtype).itemsize)
