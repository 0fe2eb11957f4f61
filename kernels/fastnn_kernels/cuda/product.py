"""A product of matrices in register tiles, and what is left to say of one: where its matrices lie, what becomes of c.

c (m, n) = a (m, depth) @ b (depth, n). A block computes a tile of c, and walks through the depth in steps: every group
of its threads (see tile.py) brings `depth` columns of a and rows of b into shared memory, while it multiplies those of
the step before; a thread reads strips of 4 and has own_rows x own_columns sums in registers. Beyond m, n and the depth
zeros are multiplied. In the end the sums go through shared memory, a slice of rows at a time, where the groups' are
added up in order and threads side by side get columns side by side: what becomes of an element is compiled once.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn_kernels.cuda.driver import VECTOR, cuda, device, kernel, load4, shared, store4
from fastnn_kernels.cuda.tile import Shape

_ZERO, _ONE, _TWO, _THREE, _FOUR = (np.uint32(n) for n in range(5))
_LANES, _LANE_ROWS, _LANE_COLUMNS = np.uint32(32), 4, 8
_PAD = 4  # elements between the lines of a panel in shared memory, for the sake of its banks


class Operands(NamedTuple):
    """a[i, k] and b[k, j] of a product. A panel `along` the depth has element (line, k) at start + line * stride + k,
    one across it at start + k * stride + line; a line is a row of a or a column of b.

    a, b: arrays; first, last: of the depth, for this block; m, n: lines of a and b.
    """

    a: object
    a_start: object
    a_stride: object
    b: object
    b_start: object
    b_stride: object
    m: object
    n: object
    first: object
    last: object


class _Panel(NamedTuple):
    """How a group brings its part of an operand into shared memory, `loads` vectors of 4 a thread."""

    loads: int
    begin: Any  # (start, stride, line, lines, k, member, places) -> the thread's own k; where its lines lie into places
    fetch: Any  # (source, stride, k, last, places, held): from memory into registers; 0 at `last` and beyond
    put: Any  # (panel, place, member, held): from there to shared memory, [depth][lines + _PAD]


def _along(lines: int, shape: Shape) -> _Panel:
    """Of an operand whose lines lie along the depth: four numbers of one line at a time."""
    loads = lines * shape.depth // VECTOR // shape.team
    per_line, stride = np.uint32(shape.depth // VECTOR), np.uint32(lines + _PAD)
    apart = np.uint32(shape.team * VECTOR // shape.depth)  # lines from one load to the next

    @device
    def begin(start, source_stride, line, lines, k, member, places):
        for load in range(loads):
            i = line + member // per_line + np.uint32(load) * apart
            places[load] = start + (i if i < lines else _ZERO) * source_stride
        return np.uint32(k + member % per_line * _FOUR)

    @device
    def fetch(source, source_stride, k, last, places, held):
        zero = source.dtype.type(0)
        for load in range(loads):
            x0, x1, x2, x3 = zero, zero, zero, zero
            if k < last:
                x0, x1, x2, x3 = load4(source, places[load] + k, 0)
            held[load, 0] = x0
            held[load, 1] = x1 if np.uint32(k + _ONE) < last else zero
            held[load, 2] = x2 if np.uint32(k + _TWO) < last else zero
            held[load, 3] = x3 if np.uint32(k + _THREE) < last else zero

    @device
    def put(panel, place, member, held):
        first = place + member % per_line * _FOUR * stride + member // per_line
        for load in range(loads):
            to = first + np.uint32(load) * apart
            panel[to] = held[load, 0]
            panel[to + stride] = held[load, 1]
            panel[to + _TWO * stride] = held[load, 2]
            panel[to + _THREE * stride] = held[load, 3]

    return _Panel(loads, begin, fetch, put)


def _across(lines: int, shape: Shape) -> _Panel:
    """Of an operand whose lines lie across the depth: four lines at a time, at one place of the depth."""
    loads = lines * shape.depth // VECTOR // shape.team
    per_row, stride = np.uint32(lines // VECTOR), np.uint32(lines + _PAD)
    apart = np.uint32(shape.team * VECTOR // lines)  # of the depth, from one load to the next

    @device
    def begin(start, source_stride, line, lines, k, member, places):
        i = line + member % per_row * _FOUR
        places[0] = start + (i if i < lines else _ZERO)
        return np.uint32(k + member // per_row)

    @device
    def fetch(source, source_stride, k, last, places, held):
        zero = source.dtype.type(0)
        for load in range(loads):
            x0, x1, x2, x3 = zero, zero, zero, zero
            q = np.uint32(k + np.uint32(load) * apart)
            if q < last:
                x0, x1, x2, x3 = load4(source, places[0] + q * source_stride, 0)
            held[load, 0], held[load, 1], held[load, 2], held[load, 3] = x0, x1, x2, x3

    @device
    def put(panel, place, member, held):
        first = place + member // per_row * stride + member % per_row * _FOUR
        for load in range(loads):
            to = first + np.uint32(load) * apart * stride
            store4(panel, to, 0, held[load, 0], held[load, 1], held[load, 2], held[load, 3])

    return _Panel(loads, begin, fetch, put)


def _spot(shape: Shape) -> Any:
    """Where in its group's tile a thread is: (r, c) of strips.

    Where there are enough, the lanes of a warp are 4 x 8, and lanes that differ in bit 0 read the same strip of b, in
    bit 1 the same of a: shared memory serves both at once.
    """
    down, across = shape.rows // shape.own_rows, shape.columns // shape.own_columns
    c_warps, width = np.uint32(max(1, across // _LANE_COLUMNS)), np.uint32(across)
    lane_rows, lane_columns = np.uint32(_LANE_ROWS), np.uint32(_LANE_COLUMNS)

    @device
    def by_warp(member):
        warp, lane = member // _LANES, member % _LANES
        r = lane % _TWO + _TWO * (lane // np.uint32(16))
        c = lane // _TWO % lane_columns
        return warp // c_warps * lane_rows + r, warp % c_warps * lane_columns + c

    @device
    def by_row(member):
        return member // width, member % width

    return by_warp if down % _LANE_ROWS == 0 and across % _LANE_COLUMNS == 0 else by_row


def _unrolled(multiply: Any, times: int) -> Any:
    """multiply for k, k + 1, ... k + times - 1, one behind the other: the compiler would leave them a loop."""
    if times == 1:
        return multiply
    half, first = _unrolled(multiply, times // 2), times // 2

    @device
    def both(panel, a_place, b_place, k, sums, a_strip, b_strip):
        half(panel, a_place, b_place, k, sums, a_strip, b_strip)
        half(panel, a_place, b_place, k + first, sums, a_strip, b_strip)

    return both


def product(
    name: str, shape: Shape, dtype: Any, a_along: bool, b_along: bool, operands: Any, finish: Any, also: Any
) -> Any:
    """The kernel of a product: kernel[(tiles below each other, beside each other, parts), threads](work, layer).

    operands(work, layer, part) -> Operands; finish(work, layer, part, i, j, sum) takes an element of c; also(work,
    layer, part, tile_row, column, panel, thread): what blocks do first of all, True where that was all they have to do.
    """
    a_loads, begin_a, fetch_a, put_a = (_along if a_along else _across)(shape.rows, shape)
    b_loads, begin_b, fetch_b, put_b = (_along if b_along else _across)(shape.columns, shape)
    spot = _spot(shape)
    own_rows, own_columns, depth, groups = shape.own_rows, shape.own_columns, shape.depth, shape.groups
    rows, columns, team = np.uint32(shape.rows), np.uint32(shape.columns), np.uint32(shape.team)
    step, span, threads = np.uint32(depth), np.uint32(shape.span), np.uint32(shape.threads)
    strips_down, strips_across = np.uint32(shape.rows // own_rows), np.uint32(shape.columns // own_columns)
    a_stride, b_stride = np.uint32(shape.rows + _PAD), np.uint32(shape.columns + _PAD)
    a_size, b_size = np.uint32(depth) * a_stride, np.uint32(depth) * b_stride
    buffer = np.uint32(a_size + b_size)
    slice_size = np.uint32(strips_down * columns)
    memory = int(max(2 * groups * buffer, groups * slice_size))
    own_rows_u = np.uint32(own_rows)
    a_line, b_line, a_apart, b_apart = (
        int(a_stride),
        int(b_stride),
        int(strips_down) * VECTOR,
        int(strips_across) * VECTOR,
    )

    @device
    def multiply(panel, a_place, b_place, k, sums, a_strip, b_strip):
        """sums += the outer product of column k of a and row k of b."""
        for q in range(own_rows // VECTOR):
            x = load4(panel, a_place, k * a_line + q * a_apart)
            a_strip[4 * q], a_strip[4 * q + 1], a_strip[4 * q + 2], a_strip[4 * q + 3] = x
        for q in range(own_columns // VECTOR):
            x = load4(panel, b_place, k * b_line + q * b_apart)
            b_strip[4 * q], b_strip[4 * q + 1], b_strip[4 * q + 2], b_strip[4 * q + 3] = x
        for i in range(own_rows):
            for j in range(own_columns):
                sums[i, j] += a_strip[i] * b_strip[j]

    multiply_step = _unrolled(multiply, depth)

    @device
    def put_slice(panel, place, sums, which):
        """Row `which` of a thread's tile."""
        for i in range(own_rows):
            if np.uint32(i) == which:
                for q in range(own_columns // VECTOR):
                    store4(
                        panel,
                        place,
                        q * b_apart,
                        sums[i, 4 * q],
                        sums[i, 4 * q + 1],
                        sums[i, 4 * q + 2],
                        sums[i, 4 * q + 3],
                    )

    def run(work, layer):
        real = work.params.dtype
        panel = shared(memory, real)
        sums = cuda.local.array((own_rows, own_columns), real)
        a_held, b_held = cuda.local.array((a_loads, VECTOR), real), cuda.local.array((b_loads, VECTOR), real)
        a_places, b_places = cuda.local.array(a_loads, np.uint32), cuda.local.array(b_loads, np.uint32)
        a_strip, b_strip = cuda.local.array(own_rows, real), cuda.local.array(own_columns, real)
        thread, part = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockIdx.z)
        tile_row, column = np.uint32(cuda.blockIdx.x), np.uint32(np.uint32(cuda.blockIdx.y) * columns)
        if also(work, layer, part, tile_row, column, panel, thread):
            return
        row = np.uint32(tile_row * rows)
        group, member = thread // team if groups > 1 else _ZERO, thread % team if groups > 1 else thread
        r, c = spot(member)
        o = operands(work, layer, part)
        for i in range(own_rows):
            for j in range(own_columns):
                sums[i, j] = real.type(0)
        a_room = np.uint32(group * _TWO * buffer)
        b_room = np.uint32(a_room + a_size)
        k = np.uint32(o.first + group * step)
        a_k = begin_a(o.a_start, o.a_stride, row, o.m, k, member, a_places)
        b_k = begin_b(o.b_start, o.b_stride, column, o.n, k, member, b_places)
        fetch_a(o.a, o.a_stride, a_k, o.last, a_places, a_held)
        fetch_b(o.b, o.b_stride, b_k, o.last, b_places, b_held)
        put_a(panel, a_room, member, a_held)
        put_b(panel, b_room, member, b_held)
        cuda.syncthreads()
        here, done = _ZERO, np.uint32(o.first)
        while done < o.last:
            done, a_k, b_k = np.uint32(done + span), np.uint32(a_k + span), np.uint32(b_k + span)
            fetch_a(o.a, o.a_stride, a_k, o.last, a_places, a_held)
            fetch_b(o.b, o.b_stride, b_k, o.last, b_places, b_held)
            multiply_step(panel, a_room + here + r * _FOUR, b_room + here + c * _FOUR, 0, sums, a_strip, b_strip)
            here = np.uint32(buffer - here)
            put_a(panel, a_room + here, member, a_held)
            put_b(panel, b_room + here, member, b_held)
            cuda.syncthreads()
        which = _ZERO
        while which < own_rows_u:
            cuda.syncthreads()
            put_slice(panel, group * slice_size + r * columns + c * _FOUR, sums, which)
            cuda.syncthreads()
            strip = np.uint32(row + which // _FOUR * strips_down * _FOUR + which % _FOUR)
            e = thread
            while e < slice_size:
                total = panel[e]
                for g in range(1, groups):
                    total += panel[np.uint32(g) * slice_size + e]
                i, j = np.uint32(strip + e // columns * _FOUR), np.uint32(column + e % columns)
                if i < o.m and j < o.n:
                    finish(work, layer, part, i, j, total)
                e = np.uint32(e + threads)
            which = np.uint32(which + _ONE)

    return kernel(run, f"{name}_{shape.name}", (shape.threads, shape.resident), dtype)


@device
def nothing(work, layer, part, tile_row, column, panel, thread):
    """For products that have nothing else to do."""
    return False
