"""A product of matrices in register tiles, and what is left to say of one: where its matrices lie, what becomes of c.

c (m, n) = a (m, depth) @ b (depth, n). A block computes a tile of c, and walks through the depth in steps: every group
of its threads (see tile.py) brings `depth` columns of a and rows of b into shared memory, while it multiplies those of
the step before; a thread reads strips of 4 and has own_rows x own_columns sums in registers. Beyond m, n and the depth
zeros are multiplied. In the end the sums go through shared memory, a slice of rows at a time, where the groups' are
added up in order and threads side by side get columns side by side: what becomes of an element is compiled once.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.native import VECTOR, load4, near, near4, set_near, set_near4, shared, thread_again
from fastnn_kernels.cuda.tile import Shape

_ZERO, _ONE, _TWO, _THREE, _FOUR = (np.uint32(n) for n in range(5))
_LANES, _LANE_ROWS, _LANE_COLUMNS = np.uint32(32), 4, 8
_UNROLLED = 4
_PAD = 4  # elements between the lines of a panel in shared memory, for the sake of its banks


class Places(NamedTuple):
    """Where the matrices of a product lie: uint32, known to the host, so that they cost the device no registers.

    A panel `along` the depth has element (line, k) at start + line * stride + k, one across it at
    start + k * stride + line; a line is a row of a or a column of b. m, n: lines of a and b; depth: where it is not a
    matter of the pass.
    """

    a: int
    a_stride: int
    b: int
    b_stride: int
    m: int
    n: int
    depth: int


class _Panel(NamedTuple):
    """How a group brings its part of an operand into shared memory, `loads` vectors of 4 a thread."""

    loads: int
    begin: Any  # (start, stride, line, lines, first, k, member, places) -> the thread's own k; where its lines begin
    fetch: Any  # (source, stride, k, count, places, held): from memory into registers; 0 from `count` on
    put: Any  # (panel, place, member, held): from there to shared memory, [depth][lines + _PAD]


def _along(lines: int, shape: Shape) -> _Panel:
    """Of an operand whose lines lie along the depth: four numbers of one line at a time."""
    loads = lines * shape.depth // VECTOR // shape.team
    per_line, stride, stride_u = np.uint32(shape.depth // VECTOR), lines + _PAD, np.uint32(lines + _PAD)
    apart = np.uint32(shape.team * VECTOR // shape.depth)  # lines from one load to the next

    @device
    def begin(start, source_stride, line, lines, first, k, member, places):
        for load in range(loads):
            i = np.uint32(line + member // per_line + np.uint32(load) * apart)
            places[load] = start + (i if i < lines else _ZERO) * source_stride + first
        return np.uint32(k + member % per_line * _FOUR)

    @device
    def fetch(source, source_stride, k, count, places, held):
        zero = source.dtype.type(0)
        for load in range(loads):
            x0, x1, x2, x3 = zero, zero, zero, zero
            if k < count:
                x0, x1, x2, x3 = load4(source, np.uint32(places[load] + k))
            held[load, 0] = x0
            held[load, 1] = x1 if np.uint32(k + _ONE) < count else zero
            held[load, 2] = x2 if np.uint32(k + _TWO) < count else zero
            held[load, 3] = x3 if np.uint32(k + _THREE) < count else zero

    @device
    def put(panel, place, member, held):
        first = place + member % per_line * _FOUR * stride_u + member // per_line
        for load in range(loads):
            to = first + np.uint32(load) * apart
            set_near(panel, to, 0, held[load, 0])
            set_near(panel, to, stride, held[load, 1])
            set_near(panel, to, 2 * stride, held[load, 2])
            set_near(panel, to, 3 * stride, held[load, 3])

    return _Panel(loads, begin, fetch, put)


def _across(lines: int, shape: Shape) -> _Panel:
    """Of an operand whose lines lie across the depth: four lines at a time, at one place of the depth."""
    loads = lines * shape.depth // VECTOR // shape.team
    per_row, stride = np.uint32(lines // VECTOR), np.uint32(lines + _PAD)
    apart = np.uint32(shape.team * VECTOR // lines)  # of the depth, from one load to the next

    @device
    def begin(start, source_stride, line, lines, first, k, member, places):
        i = np.uint32(line + member % per_row * _FOUR)
        places[0] = start + (i if i < lines else _ZERO) + first * source_stride
        return np.uint32(k + member // per_row)

    @device
    def fetch(source, source_stride, k, count, places, held):
        zero = source.dtype.type(0)
        for load in range(loads):
            x0, x1, x2, x3 = zero, zero, zero, zero
            q = np.uint32(k + np.uint32(load) * apart)
            if q < count:
                x0, x1, x2, x3 = load4(source, np.uint32(places[0] + q * source_stride))
            held[load, 0], held[load, 1], held[load, 2], held[load, 3] = x0, x1, x2, x3

    @device
    def put(panel, place, member, held):
        first = place + member // per_row * stride + member % per_row * _FOUR
        for load in range(loads):
            to = first + np.uint32(load) * apart * stride
            set_near4(panel, to, 0, held[load, 0], held[load, 1], held[load, 2], held[load, 3])

    return _Panel(loads, begin, fetch, put)


def _spot(shape: Shape) -> Any:
    """Where in its group's tile a thread is: (r, c) of strips.

    Where there are enough, the lanes of a warp are 4 x 8, and lanes that differ in bit 0 read the same strip of b, in
    bit 1 the same of a: shared memory serves both at once.
    """
    down, across = shape.strips_down, shape.strips_across
    c_warps, width = np.uint32(max(1, across // _LANE_COLUMNS)), np.uint32(across)
    lane_rows, lane_columns = np.uint32(_LANE_ROWS), np.uint32(_LANE_COLUMNS)

    @device
    def by_warp(member):
        warp, lane = member // _LANES, member % _LANES
        r = lane % _TWO + _TWO * (lane // np.uint32(16))
        c = lane // _TWO % lane_columns
        return np.uint32(warp // c_warps * lane_rows + r), np.uint32(warp % c_warps * lane_columns + c)

    @device
    def by_row(member):
        return np.uint32(member // width), np.uint32(member % width)

    return by_warp if down % _LANE_ROWS == 0 and across % _LANE_COLUMNS == 0 else by_row


class _Room(NamedTuple):
    """The shared memory of a block, in elements: two buffers a group, each a panel of a and one of b; then slices."""

    a_stride: int  # from one k to the next
    b_stride: int
    a_size: int
    buffer: int
    slice: int
    all: int


def _room(shape: Shape) -> _Room:
    a_stride, b_stride = shape.rows + _PAD, shape.columns + _PAD
    buffer = shape.depth * (a_stride + b_stride)
    slice_size = shape.strips_down * shape.columns
    return _Room(
        a_stride, b_stride, shape.depth * a_stride, buffer, slice_size, shape.groups * max(2 * buffer, slice_size)
    )


def _team_of(shape: Shape) -> Any:
    """(thread) -> its group, and its number there."""
    team, groups = np.uint32(shape.team), shape.groups

    @device
    def team_of(thread):
        return (np.uint32(thread // team), np.uint32(thread % team)) if groups > 1 else (_ZERO, thread)

    return team_of


def _multiply(shape: Shape) -> Any:
    """(panel, a_place, b_place, sums, a_strip, b_strip): sums += the columns of a times the rows of b of a step."""
    own_rows, own_columns = shape.own_rows, shape.own_columns
    a_line, b_line, *_ = _room(shape)
    a_apart, b_apart = VECTOR * shape.strips_down, VECTOR * shape.strips_across

    @device
    def multiply(panel, a_place, b_place, k, sums, a_strip, b_strip):
        for q in range(own_rows // VECTOR):
            x = near4(panel, a_place, k * a_line + q * a_apart)
            a_strip[4 * q], a_strip[4 * q + 1], a_strip[4 * q + 2], a_strip[4 * q + 3] = x
        for q in range(own_columns // VECTOR):
            x = near4(panel, b_place, k * b_line + q * b_apart)
            b_strip[4 * q], b_strip[4 * q + 1], b_strip[4 * q + 2], b_strip[4 * q + 3] = x
        for i in range(own_rows):
            for j in range(own_columns):
                sums[i, j] += a_strip[i] * b_strip[j]

    several = _unrolled(multiply, _UNROLLED)
    depth, a_lines, b_lines = np.uint32(shape.depth), np.uint32(_UNROLLED * a_line), np.uint32(_UNROLLED * b_line)
    unrolled = np.uint32(_UNROLLED)

    @device
    def multiply_step(panel, a_place, b_place, sums, a_strip, b_strip):
        k = _ZERO
        while k < depth:
            several(panel, a_place, b_place, 0, sums, a_strip, b_strip)
            k, a_place, b_place = np.uint32(k + unrolled), a_place + a_lines, b_place + b_lines

    return multiply_step


def _unrolled(multiply: Any, times: int) -> Any:
    """multiply for k, k + 1, ... k + times - 1, one behind the other: the compiler would leave them a loop."""
    if times == 1:
        return multiply
    half, middle = _unrolled(multiply, times // 2), times // 2

    @device
    def both(panel, a_place, b_place, k, sums, a_strip, b_strip):
        half(panel, a_place, b_place, k, sums, a_strip, b_strip)
        half(panel, a_place, b_place, k + middle, sums, a_strip, b_strip)

    return both


def _write(shape: Shape, ask: Any, finish: Any) -> Any:
    """(work, layer, part, row, column, m, n, panel, sums): a tile goes through shared memory to `finish`."""
    own_rows, strips, groups = shape.own_rows, shape.own_columns // VECTOR, shape.groups
    columns, apart = np.uint32(shape.columns), VECTOR * shape.strips_across
    slice_size, threads, slices = np.uint32(_room(shape).slice), np.uint32(shape.threads), np.uint32(own_rows)
    slice_step = _room(shape).slice
    strips_apart = np.uint32(VECTOR * shape.strips_down)
    spot, team_of = _spot(shape), _team_of(shape)

    @device
    def put(panel, place, sums, which):
        """Row `which` of a thread's sums."""
        for i in range(own_rows):
            if np.uint32(i) == which:
                for q in range(strips):
                    x0, x1, x2, x3 = sums[i, 4 * q], sums[i, 4 * q + 1], sums[i, 4 * q + 2], sums[i, 4 * q + 3]
                    set_near4(panel, place, q * apart, x0, x1, x2, x3)

    @device
    def write(work, layer, part, row, column, m, n, panel, sums):
        thread = thread_again()
        group, member = team_of(thread)
        r, c = spot(member)
        asked = ask(work, layer)
        which = _ZERO
        while which < slices:
            cuda.syncthreads()
            put(panel, group * slice_size + r * columns + c * _FOUR, sums, which)
            cuda.syncthreads()
            strip = np.uint32(row + which // _FOUR * strips_apart + which % _FOUR)
            e = thread
            while e < slice_size:
                i, j = np.uint32(strip + e // columns * _FOUR), np.uint32(column + e % columns)
                if i < m and j < n:
                    value = near(panel, e, 0)
                    for g in range(1, groups):
                        value += near(panel, e, g * slice_step)
                    finish(work, layer, asked, part, i, j, value)
                e = np.uint32(e + threads)
            which = np.uint32(which + _ONE)

    return write


def product(
    key: str, shape: Shape, dtype: Any, a_along: bool, b_along: bool, limits: Any, ask: Any, finish: Any, also: Any
) -> Any:
    """The kernel of a product: kernel[(tiles below each other, beside each other, parts), threads](work, layer, b,
    places); a lies in the workspace, b in an array of its own.

    limits(work, layer, part, places) -> m, where this block's part of the depth begins, and how long it is;
    ask(work, layer): what finish needs to know, asked for once; finish(work, layer, asked, part, i, j, sum) takes an
    element of c; also(work, layer, part, tile_row, column, panel,
    thread): what blocks do first of all, True where that was all they have to do.

    Every step asks for its thread's number again: what follows from it is computed anew rather than kept, since the
    sums leave no registers for it.
    """
    a_loads, begin_a, fetch_a, put_a = (_along if a_along else _across)(shape.rows, shape)
    b_loads, begin_b, fetch_b, put_b = (_along if b_along else _across)(shape.columns, shape)
    spot, team_of, multiply, write = _spot(shape), _team_of(shape), _multiply(shape), _write(shape, ask, finish)
    own_rows, own_columns = shape.own_rows, shape.own_columns
    rows, columns = np.uint32(shape.rows), np.uint32(shape.columns)
    step, span = np.uint32(shape.depth), np.uint32(shape.span)
    room = _room(shape)
    memory, buffer, a_size = room.all, np.uint32(room.buffer), np.uint32(room.a_size)

    def run(work, layer, b, places):
        real = work.params.dtype
        panel = shared(memory, real)
        sums = cuda.local.array((own_rows, own_columns), real)
        a_held, b_held = cuda.local.array((a_loads, VECTOR), real), cuda.local.array((b_loads, VECTOR), real)
        a_lines, b_lines = cuda.local.array(a_loads, np.uint32), cuda.local.array(b_loads, np.uint32)
        a_strip, b_strip = cuda.local.array(own_rows, real), cuda.local.array(own_columns, real)
        thread, part = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockIdx.z)
        tile_row, column = np.uint32(cuda.blockIdx.x), np.uint32(np.uint32(cuda.blockIdx.y) * columns)
        if also(work, layer, part, tile_row, column, panel, thread):
            return
        row = np.uint32(tile_row * rows)
        group, member = team_of(thread)
        m, first, count = limits(work, layer, part, places)
        if row >= m:
            return
        for i in range(own_rows):
            for j in range(own_columns):
                sums[i, j] = real.type(0)
        a_room = np.uint32(group * _TWO * buffer)
        b_room = np.uint32(a_room + a_size)
        k = np.uint32(group * step)
        a_k = begin_a(places.a, places.a_stride, row, m, first, k, member, a_lines)
        b_k = begin_b(places.b, places.b_stride, column, places.n, first, k, member, b_lines)
        fetch_a(work.space, places.a_stride, a_k, count, a_lines, a_held)
        fetch_b(b, places.b_stride, b_k, count, b_lines, b_held)
        put_a(panel, a_room, member, a_held)
        put_b(panel, b_room, member, b_held)
        cuda.syncthreads()
        done = _ZERO
        while done < count:
            here = np.uint32(done // span % _TWO * buffer)
            group, member = team_of(thread_again())
            r, c = spot(member)
            done, a_k, b_k = np.uint32(done + span), np.uint32(a_k + span), np.uint32(b_k + span)
            fetch_a(work.space, places.a_stride, a_k, count, a_lines, a_held)
            fetch_b(b, places.b_stride, b_k, count, b_lines, b_held)
            multiply(panel, a_room + here + r * _FOUR, b_room + here + c * _FOUR, sums, a_strip, b_strip)
            here = np.uint32(buffer - here)
            group, member = team_of(thread_again())
            put_a(panel, a_room + here, member, a_held)
            put_b(panel, b_room + here, member, b_held)
            cuda.syncthreads()
        write(work, layer, part, row, column, m, places.n, panel, sums)

    return kernel(run, f"{key}_{shape.name}", (shape.threads, shape.resident), dtype)


@device
def nothing(work, layer, part, tile_row, column, panel, thread):
    """For products that have nothing else to do."""
    return False
