"""Register tiles: rows x vectors accumulators that stay in registers through a product's inner loop.

A tile is a UniTuple of vectors, row by row. Its shape is a compile-time constant: `rows` and `vectors` must be
literal numbers where these functions are called.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn_kernels.machine import DOTS
from fastnn_kernels.native.pointer import opaque
from fastnn_kernels.native.vector import choose, extreme, multiply_add, native, of, splat


def _tile(dtype, rows, vectors):
    return types.UniTuple(of(dtype), rows * vectors)


def _shape(tile, vectors):
    return tile.count // vectors.literal_value, vectors.literal_value


def _at(builder, base, offset, vec):
    return builder.bitcast(builder.gep(base, [offset]), native(vec).as_pointer())


def _load(builder, base, offset, vec):
    value = builder.load(_at(builder, base, offset, vec))
    value.align = vec.dtype.bitwidth // 8
    return value


def _zero(vec):
    return ir.Constant(native(vec), [0.0] * vec.lanes)


def _columns(builder, base, vectors, vec):
    return [_load(builder, base, ir.Constant(ir.IntType(64), j * vec.lanes), vec) for j in range(vectors)]


@intrinsic(prefer_literal=True)
def tile_zero(typingctx, like, rows, vectors):
    """A tile of zeros, of the dtype of the pointer `like`."""
    out = _tile(like.dtype, rows.literal_value, vectors.literal_value)

    def codegen(context, builder, sig, args):
        return cgutils.pack_array(builder, [_zero(out.dtype)] * out.count)

    return out(like, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_rows(typingctx, b, rows, vectors):
    """A tile whose rows all hold the vectors at pointer b."""
    out = _tile(b.dtype, rows.literal_value, vectors.literal_value)

    def codegen(context, builder, sig, args):
        return cgutils.pack_array(
            builder, _columns(builder, args[0], vectors.literal_value, out.dtype) * rows.literal_value
        )

    return out(b, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_load(typingctx, c, stride, rows, vectors):
    """The tile at pointer c, its rows `stride` elements apart."""
    out = _tile(c.dtype, rows.literal_value, vectors.literal_value)

    def codegen(context, builder, sig, args):
        c, stride = args[:2]
        values = []
        for i in range(rows.literal_value):
            row = builder.gep(c, [builder.mul(stride, ir.Constant(stride.type, i))])
            values += _columns(builder, row, vectors.literal_value, out.dtype)
        return cgutils.pack_array(builder, values)

    return out(c, types.intp, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_bases(typingctx, a, stride, rows, per_base):
    """Pointers from which tile_rank1 addresses `rows` rows, `stride` elements apart, up to `per_base` from each."""
    out = types.UniTuple(a, -(-rows.literal_value // per_base.literal_value))

    def codegen(context, builder, sig, args):
        a, stride = args[:2]
        each = _rows_per_base(rows.literal_value, out)
        places = [builder.mul(stride, ir.Constant(stride.type, i * each)) for i in range(out.count)]
        return cgutils.pack_array(builder, [builder.gep(a, [place]) for place in places])

    return out(a, types.intp, rows, per_base), codegen


def _rows_per_base(rows, bases):
    return -(-rows // bases.count)


def _moved(bases, builder, args):
    bases_value, step = args
    return [builder.gep(builder.extract_value(bases_value, i), [step]) for i in range(bases.count)]


@intrinsic
def tile_beside(typingctx, bases, step):
    """All pointers `step` elements further, for the same turn of a loop: parts of an instruction."""

    def codegen(context, builder, sig, args):
        return cgutils.pack_array(builder, _moved(sig.args[0], builder, args))

    return bases(bases, types.intp), codegen


@intrinsic
def tile_next(typingctx, bases, step):
    """All pointers `step` elements further, for the next turn of a loop."""

    def codegen(context, builder, sig, args):
        return cgutils.pack_array(builder, [opaque(builder, base) for base in _moved(sig.args[0], builder, args)])

    return bases(bases, types.intp), codegen


@intrinsic(prefer_literal=True)
def tile_rank1(typingctx, tile, bases, stride, b, vectors):
    """tile[i, :] + a[i * stride] * b[:], where `bases` are those of a."""

    def codegen(context, builder, sig, args):
        tile, bases, stride, b = args[:4]
        rows, width = _shape(sig.args[0], vectors)
        each = _rows_per_base(rows, sig.args[1])
        vec = sig.args[0].dtype
        columns = _columns(builder, b, width, vec)
        out = []
        for i in range(rows):
            base = builder.extract_value(bases, i // each)
            at = builder.gep(base, [builder.mul(stride, ir.Constant(stride.type, i % each))])
            x = splat(builder, builder.load(at), vec.lanes)
            for j in range(width):
                acc = builder.extract_value(tile, i * width + j)
                out.append(multiply_add(builder, x, columns[j], acc))
        return cgutils.pack_array(builder, out)

    return tile(tile, bases, types.intp, b, vectors), codegen


@intrinsic
def tile_rectify(typingctx, tile):
    """The tile with 0 for what is negative; NaN stays NaN."""

    def codegen(context, builder, sig, args):
        zero = _zero(sig.args[0].dtype)
        values = [builder.extract_value(args[0], i) for i in range(sig.args[0].count)]
        return cgutils.pack_array(builder, [extreme(builder, ">", zero, v) for v in values])

    return tile(tile), codegen


@intrinsic(prefer_literal=True)
def tile_gate(typingctx, tile, gate, stride, vectors):
    """The tile with 0 where that at pointer `gate`, its rows `stride` elements apart, is not positive."""

    def codegen(context, builder, sig, args):
        tile, gate, stride = args[:3]
        (rows, width), zero, out = _shape(sig.args[0], vectors), _zero(sig.args[0].dtype), []
        for i in range(rows):
            row = builder.gep(gate, [builder.mul(stride, ir.Constant(stride.type, i))])
            for j, v in enumerate(_columns(builder, row, width, sig.args[0].dtype)):
                value = builder.extract_value(tile, i * width + j)
                out.append(choose(builder, builder.fcmp_ordered(">", v, zero), value, zero))
        return cgutils.pack_array(builder, out)

    return tile(tile, gate, types.intp, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_store(typingctx, tile, c, stride, vectors):
    """Write the tile at pointer c, its rows `stride` elements apart."""

    def codegen(context, builder, sig, args):
        tile, c, stride = args[:3]
        rows, width = _shape(sig.args[0], vectors)
        vec = sig.args[0].dtype
        for i in range(rows):
            row = builder.gep(c, [builder.mul(stride, ir.Constant(stride.type, i))])
            for j in range(width):
                at = _at(builder, row, ir.Constant(ir.IntType(64), j * vec.lanes), vec)
                builder.store(builder.extract_value(tile, i * width + j), at).align = vec.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, c, types.intp, vectors), codegen


@intrinsic
def tile_dot(typingctx, tile, a, a_stride, b, b_stride):
    """tile[i, j] + a[i] * b[j], lane by lane, for rows a[i] of vectors and DOTS rows b[j]."""

    def codegen(context, builder, sig, args):
        tile, a, a_stride, b, b_stride = args
        vec, zero = sig.args[0].dtype, ir.Constant(ir.IntType(64), 0)

        def row(base, stride, i):
            return _load(builder, builder.gep(base, [builder.mul(stride, ir.Constant(stride.type, i))]), zero, vec)

        columns = [row(b, b_stride, j) for j in range(DOTS)]
        out = []
        for i in range(sig.args[0].count // DOTS):
            x = row(a, a_stride, i)
            for j, column in enumerate(columns):
                out.append(multiply_add(builder, x, column, builder.extract_value(tile, i * DOTS + j)))
        return cgutils.pack_array(builder, out)

    return tile(tile, a, types.intp, b, types.intp), codegen


def _pair_sums(builder, a, b):
    """The sums of neighbours in a, and behind them those in b."""
    both = range(a.type.count * 2)
    even, odd = (
        builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))
        for lanes in (list(both[::2]), list(both[1::2]))
    )
    return builder.fadd(even, odd)


def _widened(builder, vector):
    """With zeros up to DOTS lanes."""
    lanes = [min(i, vector.type.count) for i in range(max(DOTS, vector.type.count))]
    zeros = ir.Constant(vector.type, [0.0] * vector.type.count)
    return builder.shuffle_vector(vector, zeros, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _sums(builder, vectors):
    """A vector of the sums over the lanes of DOTS vectors."""
    vectors = [_widened(builder, vector) for vector in vectors]
    while len(vectors) > 1:
        vectors = [_pair_sums(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    (whole,) = vectors
    while whole.type.count > DOTS:
        half = whole.type.count // 2
        low, high = (
            builder.shuffle_vector(whole, whole, ir.Constant(ir.VectorType(ir.IntType(32), half), lanes))
            for lanes in (list(range(0, 2 * half, 2)), list(range(1, 2 * half, 2)))
        )
        whole = builder.fadd(low, high)
    return whole


@intrinsic
def tile_add_sums(typingctx, tile, c, stride):
    """Add the sums over the lanes of tile[i, :] to the first DOTS elements of row i of c."""

    def codegen(context, builder, sig, args):
        tile, c, stride = args
        for i in range(sig.args[0].count // DOTS):
            sums = _sums(builder, [builder.extract_value(tile, i * DOTS + j) for j in range(DOTS)])
            row = builder.gep(c, [builder.mul(stride, ir.Constant(stride.type, i))])
            at, align = builder.bitcast(row, sums.type.as_pointer()), sig.args[0].dtype.dtype.bitwidth // 8
            value = builder.load(at)
            value.align = align
            builder.store(builder.fadd(value, sums), at).align = align
        return context.get_dummy_value()

    return types.void(tile, c, types.intp), codegen
