"""What crosses lanes: sums and maxima of a vector, a mask as a word, permutations, a square block transposed."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn_kernels import machine
from fastnn_kernels.native.pointer import opaque
from fastnn_kernels.native.vector import I32, Mask, Vec, call, native, of, splat, suffix

I64 = ir.IntType(64)


def _halves(builder, v, lanes):
    low = ir.Constant(ir.VectorType(I32, lanes // 2), list(range(lanes // 2)))
    high = ir.Constant(ir.VectorType(I32, lanes // 2), list(range(lanes // 2, lanes)))
    return builder.shuffle_vector(v, v, low), builder.shuffle_vector(v, v, high)


def _reduction(combine):
    @intrinsic
    def operation(typingctx, v):
        if not isinstance(v, Vec):
            return None

        def codegen(context, builder, sig, args):
            value, lanes = args[0], v.lanes
            while lanes > 1:  # lane i with lane i + lanes / 2: one order, whatever the processor
                value = combine(builder, *_halves(builder, value, lanes))
                lanes //= 2
            return builder.extract_element(value, ir.Constant(I32, 0))

        return v.dtype(v), codegen

    return operation


sum_lanes = _reduction(lambda builder, a, b: builder.fadd(a, b))
max_lanes = _reduction(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


@intrinsic
def first_lane(typingctx, v):
    """The first element of a vector."""
    if not isinstance(v, Vec):
        return None

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(I32, 0))

    return v.dtype(v), codegen


@intrinsic
def mask_word(typingctx, mask):
    """The mask as an integer: bit i is lane i."""
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        return _word(builder, args[0])

    return types.int64(mask), codegen


def _word(builder, mask):
    return builder.zext(builder.bitcast(mask, ir.IntType(mask.type.count)), I64)


@intrinsic
def count_true(typingctx, mask):
    """In how many lanes the mask is true."""
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        return builder.ctpop(_word(builder, args[0]))

    return types.int64(mask), codegen


@intrinsic
def lowest_one(typingctx, word):
    """The number of the lowest bit that is 1; the word must not be 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


# For each byte its ones, by their places from the lowest: a byte each.
_ONES = [sum(place << 8 * i for i, place in enumerate(p for p in range(8) if byte >> p & 1)) for byte in range(256)]


@intrinsic
def put_true(typingctx, numbers, mask, first):
    """Write to int32 `numbers` those of the mask's lanes that are true, ascending, plus `first`; returns how many.

    What it writes behind them, 16 numbers altogether at most, is of no use.
    """
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        numbers, truth, first = args
        found = _true_lanes(builder, truth)
        found = builder.add(found, splat(builder, builder.trunc(first, I32), found.type.count))
        builder.store(found, builder.bitcast(opaque(builder, numbers), found.type.as_pointer())).align = 4
        return builder.ctpop(_word(builder, truth))

    return types.int64(numbers, mask, types.int64), codegen


def _true_lanes(builder, mask):
    """A vector that begins with the numbers of a mask's lanes that are true."""
    lanes = mask.type.count
    if machine.IS_X86 and machine.VECTOR_BYTES == 64:
        numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        name = f"llvm.experimental.vector.compress.{suffix(numbers.type)}"
        return call(builder, name, numbers.type, [numbers, mask, ir.Constant(numbers.type, ir.Undefined)])
    table = cgutils.global_constant(builder, "places_of_ones", ir.Constant(ir.ArrayType(I64, 256), _ONES))
    places = builder.load(builder.gep(table, [ir.Constant(I64, 0), _word(builder, mask)]))
    return builder.zext(builder.bitcast(places, ir.VectorType(ir.IntType(8), 8)), ir.VectorType(I32, 8))


@intrinsic
def has_permutations(typingctx, like):
    """Whether `permute` is one instruction or two for vectors of the dtype of `like`: a compile-time constant."""

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), int(machine.IS_X86 and machine.VECTOR_BYTES > 16))

    return types.boolean(like), codegen


@intrinsic
def permute(typingctx, v, index):
    """Lane i becomes lane index[i] of v, counted modulo the lanes; index: signed integers of the same width."""
    if not isinstance(v, Vec) or index != v.like(types.int32 if v.dtype.bitwidth == 32 else types.int64):
        return None

    def codegen(context, builder, sig, args):
        if machine.IS_X86 and machine.VECTOR_BYTES == 64:
            kind = "sf" if v.dtype == types.float32 else "df"
            return call(builder, f"llvm.x86.avx512.permvar.{kind}.512", args[0].type, list(args))
        if machine.IS_X86 and machine.VECTOR_BYTES == 32:
            return _permuted_256(builder, v, *args)
        return _permuted_one_by_one(builder, *args)

    return v(v, index), codegen


def _permuted_256(builder, vec, v, index):
    """AVX2 permutes eight lanes of 32 bits; of wider ones both halves go, from places 2 index and 2 index + 1."""
    if vec.dtype == types.float64:
        low = builder.shl(index, _number(index, 1))
        high = builder.shl(builder.or_(low, _number(index, 1)), _number(index, 32))
        index = builder.or_(builder.and_(low, _number(index, 7)), high)
    halves = [builder.bitcast(v, ir.VectorType(ir.FloatType(), 8)), builder.bitcast(index, ir.VectorType(I32, 8))]
    return builder.bitcast(call(builder, "llvm.x86.avx2.permps", halves[0].type, halves), v.type)


def _permuted_one_by_one(builder, v, index):
    within = builder.and_(index, _number(index, v.type.count - 1))
    out = v
    for i in range(v.type.count):
        place = builder.extract_element(within, ir.Constant(I32, i))
        out = builder.insert_element(out, builder.extract_element(v, place), ir.Constant(I32, i))
    return out


def _number(like, n):
    return ir.Constant(like.type, [n] * like.type.count)


@intrinsic
def transpose(typingctx, source, source_stride, target, target_stride):
    """Write the square block of lanes x lanes elements at `source` transposed to `target`; strides in elements."""
    vec = of(source.dtype)

    def codegen(context, builder, sig, args):
        source, source_stride, target, target_stride = args
        source, target = opaque(builder, source), opaque(builder, target)
        rows = [_row(builder, source, source_stride, i, vec) for i in range(vec.lanes)]
        loaded = []
        for at in rows:
            value = builder.load(at)
            value.align = vec.dtype.bitwidth // 8
            loaded.append(value)
        for i, value in enumerate(_transposed(builder, loaded, vec.lanes)):
            at = _row(builder, target, target_stride, i, vec)
            builder.store(value, at).align = vec.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), codegen


def _row(builder, base, stride, i, vec):
    at = builder.gep(base, [builder.mul(stride, ir.Constant(stride.type, i))])
    return builder.bitcast(at, native(vec).as_pointer())


def _transposed(builder, rows, lanes):
    """Exchange blocks of size lanes/2, lanes/4, ..., 1 between pairs of rows."""
    size = lanes // 2
    while size:
        keep = [i if not i & size else lanes + (i ^ size) for i in range(lanes)]
        move = [i | size if not i & size else lanes + i for i in range(lanes)]
        for i in range(lanes):
            if not i & size:
                a, b = rows[i], rows[i | size]
                rows[i] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, lanes), keep))
                rows[i | size] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, lanes), move))
        size //= 2
    return rows
