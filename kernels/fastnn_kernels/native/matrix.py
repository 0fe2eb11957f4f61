"""The matrix unit of x86 processors (AMX), whose tile registers hold 16 rows of 64 bytes.

Registers are named by the instructions themselves: LLVM never takes them, but a call between these functions might.
Operands are tiles in memory, 1 KiB each, three of them a number's parts (see matrix.py); results are blocks of float32.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn_kernels.native.vector import I32, call

I8, I64, VOID = ir.IntType(8), ir.IntType(64), ir.VoidType()
SIDE = 16  # rows of a tile, and columns of float32
TILE = SIDE * SIDE  # elements of float32 that take the room of one tile
REGISTERS = 8
PARTS = 3  # of a float32, the largest first
PRODUCTS = ((0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0))
"""Products of parts whose sum is a product of float32, but for less than its rounding; each shares a part with the next
one, whose tiles stay in their registers."""


def _register(number):
    return ir.Constant(I8, number)


def _bytes_at(builder, base, elements):
    return builder.bitcast(builder.gep(base, [elements]), I8.as_pointer())


def _times(builder, value, factor):
    return builder.mul(value, ir.Constant(I64, factor))


@intrinsic
def matrix_open(typingctx):
    """Give all tile registers their full size, on this thread, until matrix_close."""
    palette, bytes_of_row, rows = bytes([1]), SIDE * 4, SIDE
    shape = (
        palette + bytes(15) + bytes([bytes_of_row, 0] * REGISTERS) + bytes(16) + bytes([rows] * REGISTERS) + bytes(8)
    )

    def codegen(context, builder, sig, args):
        data = ir.Constant(ir.ArrayType(I8, len(shape)), bytearray(shape))
        place = cgutils.global_constant(builder, "matrix_shape", data)
        call(builder, "llvm.x86.ldtilecfg", VOID, [builder.bitcast(place, I8.as_pointer())])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def matrix_close(typingctx):
    """Tell the processor that nothing in the tile registers is wanted any more."""

    def codegen(context, builder, sig, args):
        call(builder, "llvm.x86.tilerelease", VOID, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic(prefer_literal=True)
def matrix_zero(typingctx, tiles):
    """The first `tiles` registers become 0."""

    def codegen(context, builder, sig, args):
        for i in range(tiles.literal_value):
            call(builder, "llvm.x86.tilezero", VOID, [_register(i)])
        return context.get_dummy_value()

    return types.void(tiles), codegen


def _moving(instruction):
    @intrinsic(prefer_literal=True)
    def move(typingctx, c, stride, rows, columns):
        """Move rows x columns tiles between the first registers and c, whose rows are `stride` elements apart."""

        def codegen(context, builder, sig, args):
            c, stride = args[:2]
            for i in range(rows.literal_value):
                for j in range(columns.literal_value):
                    place = builder.add(_times(builder, stride, SIDE * i), ir.Constant(I64, SIDE * j))
                    number = _register(i * columns.literal_value + j)
                    call(builder, instruction, VOID, [number, _bytes_at(builder, c, place), _times(builder, stride, 4)])
            return context.get_dummy_value()

        return types.void(c, types.intp, rows, columns), codegen

    return move


matrix_load = _moving("llvm.x86.tileloadd64")
matrix_store = _moving("llvm.x86.tilestored64")


@intrinsic(prefer_literal=True)
def matrix_multiply(typingctx, a, a_next, b, b_next, rows, columns):
    """To rows x columns tiles in the first registers add a b, over 32 of their sum.

    a, b: the parts of `rows` and of `columns` tiles; a_next, b_next: elements from one tile's to the next one's.
    """

    def codegen(context, builder, sig, args):
        count = rows.literal_value, columns.literal_value
        first = count[0] * count[1], count[0] * count[1] + count[0]
        held: tuple = (None, None)
        for parts in PRODUCTS:
            for side, (base, step) in enumerate((args[0:2], args[2:4])):
                for i in range(count[side] if held[side] != parts[side] else 0):
                    place = builder.add(_times(builder, step, i), ir.Constant(I64, parts[side] * TILE))
                    operands = [_register(first[side] + i), _bytes_at(builder, base, place), ir.Constant(I64, SIDE * 4)]
                    call(builder, "llvm.x86.tileloadd64", VOID, operands)
            held = parts
            for i in range(count[0]):
                for j in range(count[1]):
                    numbers = i * count[1] + j, first[0] + i, first[1] + j
                    call(builder, "llvm.x86.tdpbf16ps", VOID, [_register(number) for number in numbers])
        return context.get_dummy_value()

    return types.void(a, types.intp, b, types.intp, rows, columns), codegen


def _split(builder, x):
    """A vector of float32 as the bits of PARTS others, whose lower halves are 0 and whose sum it is."""
    whole, parts = ir.VectorType(I32, SIDE), []
    for _ in range(PARTS - 1):
        up = builder.add(builder.bitcast(x, whole), ir.Constant(whole, [0x8000] * SIDE))
        parts.append(builder.and_(up, ir.Constant(whole, [0xFFFF0000] * SIDE)))
        x = builder.fsub(x, builder.bitcast(parts[-1], x.type))
    return [*parts, builder.bitcast(x, whole)]


@intrinsic
def matrix_split(typingctx, x, y, out):
    """A row of each of the three tiles of parts at `out`: those of x and y, lane by lane side by side."""

    def codegen(context, builder, sig, args):
        x, y, out = args
        half = ir.Constant(ir.VectorType(I32, SIDE), [16] * SIDE)
        for i, (low, high) in enumerate(zip(_split(builder, x), _split(builder, y), strict=True)):
            pairs = builder.bitcast(builder.or_(builder.lshr(low, half), high), x.type)
            place = builder.bitcast(builder.gep(out, [ir.Constant(I64, i * TILE)]), x.type.as_pointer())
            builder.store(pairs, place).align = 4
        return context.get_dummy_value()

    return types.void(x, y, out), codegen
