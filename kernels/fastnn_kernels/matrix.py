"""Products of float32 on a matrix unit that multiplies bfloat16.

A float32 has 24 bits, a bfloat16 has 8, and as many powers of two: every float32 is the sum of three bfloat16, each the
rounding of what those before leave. Of the nine products of their parts six are computed. The other three are less than
2^-23 of the whole, mostly less than 2^-26, and as often above as below it: a product of float32 is rounded by 2^-24.
The unit adds up in float32, 16 products before they go to the others, which rounds less often than a chain of
multiply-adds does.

Operands are packed into tiles before. A row of a tile holds 16 pairs of numbers, both of the same sum and 16 places of
it apart, so that pairs are made of whole vectors:

rows a of a product      row i: a[i, k + j] and a[i, k + 16 + j] for j = 0 to 16
columns b of a product   row j: b[k + j, i] and b[k + 16 + j, i] for i = 0 to 16: the transpose, with a.T for b

Infinities, and the few numbers that a bfloat16 rounds to them, become NaN; what is below 2^-110 loses its last bits.
"""

from fastnn_kernels.dense import transpose_block
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import MATRIX_STEP as STEP
from fastnn_kernels.machine import PIECE
from fastnn_kernels.native import (
    fill,
    load,
    matrix_load,
    matrix_multiply,
    matrix_split,
    matrix_store,
    matrix_zero,
    prefetch_l2,
    room,
    store,
)
from fastnn_kernels.native.matrix import PARTS, SIDE, TILE
from fastnn_kernels.product import FROM_ROW, FROM_TARGET, FROM_ZERO, STEPS, Ahead

PACKED = PARTS * TILE  # elements of a packed tile
BLOCK = 2 * SIDE  # rows and columns of a block of a product
TURNS = STEP // STEPS  # of the loop of product.py, that a step is as long as
NEAR_STEPS = 4  # of a sum, whose packed columns a first cache holds beside the rows that go by
NEAR_STEPS_OF_UNIT = 3  # the same, where columns are three tiles and not two
TILES_OF_PIECE = PIECE // SIDE
ROOM_OF_BLOCK, ROOM_OF_UNIT = BLOCK * BLOCK, BLOCK * PIECE


@kernel
def steps_of(depth):
    """Steps of a sum of `depth` products."""
    return (depth + STEP - 1) // STEP


@kernel
def packed(depth, width):
    """Elements that `width` rows or columns of a product take, packed, over a sum of `depth` products."""
    return (width + SIDE - 1) // SIDE * steps_of(depth) * PACKED


@kernel
def pack(p, row_step, pair_step, firsts, seconds, out):
    """A tile: the first `firsts` rows from p, `row_step` elements apart, with their pairs `pair_step` behind them.

    What follows the first `seconds` pairs, and the first `firsts` rows, is 0.
    """
    zero = fill(p, 0.0)
    for _ in range(seconds):
        matrix_split(load(p), load(p + pair_step), out)
        p = p + row_step
        out = out + SIDE
    for _ in range(seconds, firsts):
        matrix_split(load(p), zero, out)
        p = p + row_step
        out = out + SIDE
    for _ in range(max(firsts, seconds), SIDE):
        matrix_split(zero, zero, out)
        out = out + SIDE


@kernel
def pack_transposed(p, row_step, pair_step, firsts, seconds, out):
    """The transpose of that tile."""
    tile = room(out, PACKED)
    pack(p, row_step, pair_step, firsts, seconds, tile)
    for i in range(PARTS):
        transpose_block(tile + i * TILE, SIDE, out + i * TILE, SIDE)


@kernel
def pack_rows(x, stride, rows, depth, out):
    """x (rows, depth) as rows of a product, BLOCK of them along its sum, then the next. depth: whole vectors."""
    for row in range(0, rows, BLOCK):
        for k in range(0, depth, STEP):
            for i in range(row, row + BLOCK, SIDE):
                count = min(SIDE, max(rows - i, 0))
                pack(x + (i * stride + k), stride, SIDE, count, count if k + SIDE < depth else 0, out)
                out = out + PACKED


@kernel
def _pairs(left):
    """Of `left` products that a sum still has, those in a tile: firsts of pairs, and seconds."""
    return min(SIDE, left), min(SIDE, max(left - SIDE, 0))


@kernel
def pack_inputs(x, stride, depth, columns, out):
    """x (depth, columns) as columns of product_of_unit. columns: whole vectors, up to PIECE."""
    for k in range(0, depth, STEP):
        firsts, seconds = _pairs(depth - k)
        for column in range(0, columns, SIDE):
            tile = out + column // SIDE * PACKED
            pack(x + (k * stride + column), stride, SIDE * stride, firsts, seconds, tile)
        out = out + TILES_OF_PIECE * PACKED


@kernel
def pack_deltas(d, stride, depth, columns, out):
    """The transpose of d (depth, columns) as rows of product_of_unit. columns: whole vectors."""
    for column in range(0, columns, SIDE):
        for k in range(0, depth, STEP):
            firsts, seconds = _pairs(depth - k)
            pack_transposed(d + (k * stride + column), stride, SIDE * stride, firsts, seconds, out)
            out = out + PACKED


@kernel
def _ask(p, step):
    """Ask for what a step of a product has time for: TURNS times `step` elements."""
    for i in range(0, TURNS * step, SIDE):
        prefetch_l2(p + i)


@kernel
def _after(pointers, step):
    """Two pointers, that much further."""
    return pointers[0] + TURNS * step, pointers[1] + TURNS * step


@kernel
def _part(ahead, half, step):
    """What half of a unit's product asks for from a step of its sum on: two of Ahead's four pointers."""
    soon, later, i = ahead.soon, ahead.later, 2 * half
    soon, later = (soon[i], soon[i + 1]), (later[i], later[i + 1])
    return Ahead(
        _after(soon, step * ahead.soon_step),
        ahead.soon_step,
        0,
        _after(later, step * ahead.later_step),
        ahead.later_step,
        0,
    )


def _product(rows, columns, asks):
    """A product that stays in tile registers; asks: whether it asks for what is Ahead, as product.py has it."""
    tiles = rows * columns

    @kernel
    def product(a, b, steps, c, c_stride, start, given, ahead):
        """c (rows, columns) = a @ b, all counted in tiles, over so many steps of the sum."""
        if asks:
            soon, later, soon_step, later_step = ahead.soon, ahead.later, ahead.soon_step, ahead.later_step
        if start == FROM_ZERO:
            matrix_zero(tiles)
        elif start == FROM_ROW:
            matrix_load(given, 0, rows, columns)
        else:
            matrix_load(c, c_stride, rows, columns)
        for _ in range(steps):
            matrix_multiply(a, PACKED, b, PACKED, rows, columns)
            a = a + rows * PACKED
            b = b + columns * PACKED
            if asks:
                for i in range(2):
                    _ask(soon[i], soon_step)
                    _ask(later[i], later_step)
                soon, later = _after(soon, soon_step), _after(later, later_step)
        matrix_store(c, c_stride, rows, columns)

    return product


_square, _narrow = _product(2, 2, False), _product(2, 1, False)
_flat, _flat_asking = _product(1, TILES_OF_PIECE, False), _product(1, TILES_OF_PIECE, True)


@kernel
def _copy(source, source_stride, target, target_stride, rows, columns):
    for row in range(rows):
        for j in range(0, columns, SIDE):
            store(target + (row * target_stride + j), load(source + (row * source_stride + j)))


@kernel
def product_block(a, b, steps, c, c_stride, rows, columns, start, given):
    """c (rows, columns) = a @ b over so many steps of the sum; up to BLOCK rows and BLOCK columns, whole vectors.

    a, b: packed. start: of product.py FROM_ZERO, FROM_ROW, with a row of BLOCK `given`, or FROM_TARGET.
    """
    out, stride = c, c_stride
    if rows < BLOCK:
        out, stride = room(c, ROOM_OF_BLOCK), BLOCK
        _copy(c, c_stride, out, stride, rows, columns)
    if columns > SIDE:
        _square(a, b, steps, out, stride, start, given, None)
    else:
        _narrow(a, b, steps, out, stride, start, given, None)
    if rows < BLOCK:
        _copy(out, stride, c, c_stride, rows, columns)


@kernel
def _add(source, target, count):
    for i in range(0, count, SIDE):
        store(target + i, load(target + i) + load(source + i))


@kernel
def product_of_unit(a, b, steps, g, rows, columns, adds, asks, ahead):
    """g (rows, columns), packed, = the transpose of a @ b, or that is added: a gradient of up to PIECE rows.

    a: the panel's deltas, b: what goes into the rows, both packed; ahead: of product.py, what is asked for where asks.
    """
    flat, upright = room(g, ROOM_OF_UNIT), room(g, ROOM_OF_UNIT)
    out = upright if adds else g
    for step in range(0, max(steps, 1), NEAR_STEPS_OF_UNIT):
        some, start = min(NEAR_STEPS_OF_UNIT, steps - step), FROM_TARGET if step > 0 else FROM_ZERO
        for half in range(columns // SIDE):
            d, x = a + (half * steps + step) * PACKED, b + step * TILES_OF_PIECE * PACKED
            sums = flat + half * SIDE * PIECE
            if asks:
                _flat_asking(d, x, some, sums, PIECE, start, sums, _part(ahead, half, step))
            else:
                _flat(d, x, some, sums, PIECE, start, sums, None)
    for column in range(0, columns, SIDE):
        for row in range(0, rows, SIDE):
            transpose_block(flat + (column * PIECE + row), PIECE, out + (row * columns + column), columns)
    if adds:
        _add(upright, g, rows * columns)
