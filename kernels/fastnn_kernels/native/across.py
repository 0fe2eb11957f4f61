"""What crosses lanes: sums and maxima of a vector, a mask as a word, a square block transposed."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn_kernels.native.vector import I32, Mask, Vec, native, of


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
def mask_word(typingctx, mask):
    """The mask as an integer: bit i is lane i."""
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.lanes)), ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic
def lowest_one(typingctx, word):
    """The number of the lowest bit that is 1; the word must not be 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@intrinsic
def transpose(typingctx, source, source_stride, target, target_stride):
    """Write the square block of lanes x lanes elements at `source` transposed to `target`; strides in elements."""
    vec = of(source.dtype)

    def codegen(context, builder, sig, args):
        source, source_stride, target, target_stride = args
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
