"""The rows of a batch gathered and augmented, by the formulas and counters of ../augment.py.

A block has a row; a thread has every so many-th pixel, from its random numbers to the normalized input. A pixel is
displaced by the four by four nodes around it. The block draws all nodes into shared memory, or, where they are too many
for that, a thread draws those that it needs.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels.augment import (
    DEVIATION,
    DROP,
    DROPS,
    ELASTIC,
    FILL,
    HEIGHT,
    MAP,
    MAP_DRAWS,
    NODES,
    NODES_X,
    NODES_Y,
    NOISE,
    ROTATE,
    SCALE_FROM,
    SCALE_TO,
    SHEAR,
    SHIFT,
    SPACING,
    WARPED,
    WIDTH,
)
from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.elementary import cos_sin_turns
from fastnn_kernels.cuda.rng import draws_of, normal, uniform
from fastnn_kernels.cuda.work import COUNT, START, Pass, T, at, data_row
from fastnn_kernels.layout import STRIDE, A
from fastnn_kernels.layout import WIDTH as PADDED
from fastnn_kernels.work import COLUMNS_IN, NORMALIZED, SEED

THREADS = 256
MOST_NODES = 4096  # numbers of nodes that a block keeps
AROUND = 4  # nodes to a side that move a pixel

_THREADS, _MOST_NODES, _AROUND = np.uint32(THREADS), np.uint32(MOST_NODES), np.uint32(AROUND)
_MAP, _NODES, _DROPS, _NOISE = np.uint32(MAP), np.uint32(NODES), np.uint32(DROPS), np.uint32(NOISE)
_ZERO, _ONE, _TWO, _FOUR = np.uint32(0), np.uint32(1), np.uint32(2), np.uint32(4)


def gather(p: Pass) -> None:
    """A of the input: the samples at positions START to START + COUNT of the order, augmented, then normalized."""
    _gather_kernel[p.rows, THREADS, p.stream](p.work)


class Map(NamedTuple):
    """A^-1 and the shift: x_source = xx x + xy y, y_source = yx x + yy y; down and right in pixels."""

    xx: object
    xy: object
    yx: object
    yy: object
    down: object
    right: object


class Image(NamedTuple):
    """The sample of a block: its number, where it begins in the data, and its size in pixels."""

    sample: object
    start: object
    height: object
    width: object


@device
def _uniform(work, j, stream, sample):
    return uniform(j, stream, sample, work.now[T], work.numbers[SEED], work.augment.dtype.type)


@device
def _normal(work, j, stream, sample):
    return normal(j, stream, sample, work.now[T], work.numbers[SEED], work.augment.dtype.type)


@device
def _map(work, draws):
    real, constants = work.augment.dtype.type, work.augment
    scale = constants[SCALE_FROM] + (constants[SCALE_TO] - constants[SCALE_FROM]) * draws[1]
    turns = constants[ROTATE] * (real(2) * draws[0] - real(1))
    shear = constants[SHEAR] * (real(2) * draws[2] - real(1))
    down = constants[SHIFT] * (real(2) * draws[3] - real(1))
    right = constants[SHIFT] * (real(2) * draws[4] - real(1))
    cosine, sine = cos_sin_turns(turns if turns >= real(0) else turns + real(1), real)
    cosine, sine = cosine / scale, sine / scale
    return Map(cosine - shear * sine, -sine - shear * cosine, sine, cosine, down, right)


@device
def _nothing(real):
    return Map(real(1), real(0), real(0), real(1), real(0), real(0))


@device
def _node(work, nodes, is_kept, i, sample):
    """Number i of the grid (NODES_Y, 2, NODES_X): displacements to the right and down."""
    return nodes[i] if is_kept else _normal(work, i, _NODES, sample)


@device
def _first_node(work, x, count):
    """The first of the nodes around a pixel."""
    return min(np.uint32(work.augment.dtype.type(x) / work.augment[SPACING]), count - _AROUND)


@device
def _displacement(work, nodes, is_kept, image, y, x):
    """How far to the right and down the source of pixel (y, x) is moved."""
    real, rows, columns = work.augment.dtype.type, np.uint32(work.augment[NODES_Y]), np.uint32(work.augment[NODES_X])
    first_y, first_x = _first_node(work, y, rows), _first_node(work, x, columns)
    by = y * rows + first_y
    right, down = real(0), real(0)
    for i in range(AROUND):
        bx = _FOUR * (draws_of(image.height * rows) + first_x * draws_of(image.width)) + x
        node = (first_y + np.uint32(i)) * _TWO * columns + first_x
        to_right, to_down = real(0), real(0)
        for _ in range(AROUND):
            b = work.basis[bx]
            to_right += b * _node(work, nodes, is_kept, node, image.sample)
            to_down += b * _node(work, nodes, is_kept, node + columns, image.sample)
            bx += _FOUR * draws_of(image.width)
            node += _ONE
        b = work.basis[by + np.uint32(i)]
        right += b * to_right
        down += b * to_down
    return right * work.augment[ELASTIC], down * work.augment[ELASTIC]


@device
def _source(work, image, y, x):
    """The pixel (y - 1, x - 1) of the sample, or what lies outside of it."""
    if y < _ONE or y > image.height or x < _ONE or x > image.width:
        return work.augment[FILL]
    return work.X[image.start + np.uint64((y - _ONE) * image.width + (x - _ONE))]


@device
def _inside(place, pixels):
    """A place that is not farther outside than the pixels around the image, which are numbered from 0."""
    real = type(place)
    return min(max(place, real(0)), real(pixels + _ONE))


@device
def _warped(work, nodes, is_kept, map_, image, j):
    """Pixel j from a point of the source, between four pixels."""
    real, y, x = work.augment.dtype.type, j // image.width, j % image.width
    middle_y, middle_x = real(0.5) * real(image.height - _ONE), real(0.5) * real(image.width - _ONE)
    from_y, from_x = real(y) - middle_y - map_.down, real(x) - middle_x - map_.right
    at_x = from_x * map_.xx + (middle_x + real(1) + map_.xy * from_y)
    at_y = from_x * map_.yx + (middle_y + real(1) + map_.yy * from_y)
    if work.augment[ELASTIC] > real(0):
        right, down = _displacement(work, nodes, is_kept, image, y, x)
        at_x, at_y = at_x + right, at_y + down
    at_x, at_y = _inside(at_x, image.width), _inside(at_y, image.height)
    x, y = np.uint32(at_x), np.uint32(at_y)
    share_x, share_y = at_x - real(x), at_y - real(y)
    left = _source(work, image, y, x)
    above = left + share_x * (_source(work, image, y, x + _ONE) - left)
    left = _source(work, image, y + _ONE, x)
    below = left + share_x * (_source(work, image, y + _ONE, x + _ONE) - left)
    return above + share_y * (below - above)


@device
def _changed(work, j, sample, value):
    """A pixel dropped, or with its noise, and normalized."""
    real = work.augment.dtype.type
    if work.augment[DROP] > real(0) and _uniform(work, j, _DROPS, sample) < work.augment[DROP]:
        value = work.augment[FILL]
    if work.augment[DEVIATION] > real(0):
        value += _normal(work, j, _NOISE, sample) * work.augment[DEVIATION]
    if work.numbers[NORMALIZED] != 0:
        value = (value - work.shift[j]) * work.scale[j]
    return value


@kernel
def _gather_kernel(work):
    real = work.augment.dtype.type
    nodes = cuda.shared.array(MOST_NODES, work.augment.dtype)
    draws = cuda.shared.array(MAP_DRAWS, work.augment.dtype)
    row, j, columns = np.uint32(cuda.blockIdx.x), np.uint32(cuda.threadIdx.x), np.uint32(work.numbers[COLUMNS_IN])
    if row >= np.uint32(work.now[COUNT]):
        return
    sample, constants = work.order[np.uint32(work.now[START]) + row], work.augment
    start = np.uint64(data_row(work, np.uint32(work.now[START]) + row)) * np.uint64(columns)
    image = Image(sample, start, np.uint32(constants[HEIGHT]), np.uint32(constants[WIDTH]))
    is_warped, count = constants[WARPED] != real(0), _TWO * np.uint32(constants[NODES_Y] * constants[NODES_X])
    is_kept = count <= _MOST_NODES
    if is_warped:
        if j < np.uint32(MAP_DRAWS):
            draws[j] = _uniform(work, j, _MAP, sample)
        while is_kept and j < count:
            nodes[j] = _normal(work, j, _NODES, sample)
            j += _THREADS
    cuda.syncthreads()
    map_, j = _map(work, draws) if is_warped else _nothing(real), np.uint32(cuda.threadIdx.x)
    target = at(work, _ZERO, A) + row * at(work, _ZERO, STRIDE)
    while j < columns:
        value = _warped(work, nodes, is_kept, map_, image, j) if is_warped else work.X[start + np.uint64(j)]
        work.space[target + j] = _changed(work, j, sample, value)
        j += _THREADS
    while j < at(work, _ZERO, PADDED):
        work.space[target + j] = real(0)
        j += _THREADS
