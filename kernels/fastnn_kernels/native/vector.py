"""Vectors of one register as Numba values: arithmetic in plain Python, one instruction an operation.

Vec(dtype, lanes) holds float32, float64 or the integers of the same width; Mask(lanes) holds a truth value a lane.
operators.py gives them + - * / and comparisons. Nothing is reassociated or contracted: what is written is what is
computed, on every thread the same bits.
"""

from __future__ import annotations

from llvmlite import ir
from llvmlite.ir.instructions import Instruction
from numba import types
from numba.extending import intrinsic, models, register_model

from fastnn_kernels import machine
from fastnn_kernels.native.pointer import Pointer

I32 = ir.IntType(32)
ELEMENT = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: I32,
    types.uint32: I32,
    types.int64: ir.IntType(64),
    types.uint64: ir.IntType(64),
}


class Vec(types.Type):
    """A vector of `lanes` elements of a Numba dtype."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vec({dtype}, {lanes})")

    def like(self, dtype: types.Type) -> Vec:
        return Vec(dtype, self.lanes)


class Mask(types.Type):
    """A truth value for each lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Mask({lanes})")


def native(vec: Vec) -> ir.VectorType:
    """The LLVM type of a Vec."""
    return ir.VectorType(ELEMENT[vec.dtype], vec.lanes)


@register_model(Vec)
class VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, native(fe_type))


@register_model(Mask)
class MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


def of(dtype: types.Type) -> Vec:
    """The Vec that fills one register."""
    return Vec(dtype, machine.VECTOR_BYTES // (dtype.bitwidth // 8))


def splat(builder: ir.IRBuilder, value, lanes: int):
    """A scalar LLVM value in every lane."""
    kind = ir.VectorType(value.type, lanes)
    if isinstance(value, ir.Constant):
        return ir.Constant(kind, [value.constant] * lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def call(builder: ir.IRBuilder, name: str, result, args):
    """A call of an LLVM intrinsic function."""
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def suffix(kind: ir.VectorType) -> str:
    """How LLVM names the type in an intrinsic's name ("v16f32")."""
    letter = {"float": "f32", "double": "f64", "i32": "i32", "i64": "i64"}[str(kind.element)]
    return f"v{kind.count}{letter}"


def multiply_add(builder: ir.IRBuilder, a, b, c):
    """a * b + c, rounded once where the processor can."""
    if machine.HAS_FMA:
        return call(builder, f"llvm.fma.{suffix(a.type)}", a.type, [a, b, c])
    return builder.fadd(builder.fmul(a, b), c)


def choose(builder: ir.IRBuilder, mask, a, b):
    """a where the mask is true, else b.

    Both are frozen, which costs nothing: else LLVM would write `*p = mask ? *p : b` as a masked store. Those take some
    processors 12 cycles, and a load behind one waits until it has reached the cache.
    """
    return builder.select(mask, _frozen(builder, a), _frozen(builder, b))


def _frozen(builder: ir.IRBuilder, value):
    """LLVM's freeze, for which llvmlite's builder has no method."""
    if isinstance(value, ir.Constant):
        return value
    instruction = Instruction(builder.block, value.type, "freeze", [value])
    builder._insert(instruction)
    return instruction


def operand(context, builder, value, given, vec):
    """An operand of type `given` as an LLVM vector of the type vec: a number goes into every lane."""
    if isinstance(given, Vec):
        return value
    return splat(builder, context.cast(builder, value, given, vec.dtype), vec.lanes)


# Memory


@intrinsic
def load(typingctx, p):
    """The vector at pointer p; no alignment is assumed."""
    if not isinstance(p, Pointer):
        return None

    def codegen(context, builder, sig, args):
        at = builder.bitcast(args[0], native(sig.return_type).as_pointer())
        value = builder.load(at)
        value.align = p.dtype.bitwidth // 8
        return value

    return of(p.dtype)(p), codegen


@intrinsic
def store(typingctx, p, v):
    """Write vector v at pointer p; no alignment is assumed."""
    if not isinstance(p, Pointer) or not isinstance(v, Vec) or p.dtype != v.dtype:
        return None

    def codegen(context, builder, sig, args):
        at = builder.bitcast(args[0], native(v).as_pointer())
        builder.store(args[1], at).align = p.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(p, v), codegen


@intrinsic
def store_where(typingctx, mask, p, v):
    """Write the lanes of v where the mask is true to theirs at pointer p, and touch no others."""
    if not isinstance(p, Pointer) or not isinstance(v, Vec) or p.dtype != v.dtype or mask != Mask(v.lanes):
        return None

    def codegen(context, builder, sig, args):
        at = builder.bitcast(args[1], native(v).as_pointer())
        alignment = ir.Constant(I32, v.dtype.bitwidth // 8)
        name = f"llvm.masked.store.{suffix(native(v))}.p0"
        call(builder, name, ir.VoidType(), [args[2], at, alignment, args[0]])
        return context.get_dummy_value()

    return types.void(mask, p, v), codegen


def _prefetch(writes, locality, what):
    @intrinsic
    def prefetch(typingctx, p):
        def codegen(context, builder, sig, args):
            at = builder.bitcast(args[0], ir.IntType(8).as_pointer())
            flags = [ir.Constant(I32, n) for n in (writes, locality, 1)]  # data, not instructions
            call(builder, "llvm.prefetch.p0", ir.VoidType(), [at, *flags])
            return context.get_dummy_value()

        return types.void(p), codegen

    prefetch.__doc__ = f"Ask for the cache line at pointer p to be {what}."
    return prefetch


prefetch_l1 = _prefetch(0, 3, "brought into the first level")
prefetch_l2 = _prefetch(0, 2, "brought into the second level")
prefetch_to_write = _prefetch(1, 3, "taken from other cores, which may have it too")


# Making vectors


@intrinsic
def lanes(typingctx, like):
    """How many elements a vector of the dtype of `like` (a pointer or a vector) has: a compile-time constant."""
    count = like.lanes if isinstance(like, Vec) else of(like.dtype).lanes

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), count)

    return types.intp(like), codegen


@intrinsic
def fill(typingctx, like, x):
    """The number x in every lane of a vector of the dtype of `like` (a pointer or a vector)."""
    vec = like if isinstance(like, Vec) else of(like.dtype)

    def codegen(context, builder, sig, args):
        return splat(builder, context.cast(builder, args[1], sig.args[1], vec.dtype), vec.lanes)

    return vec(like, x), codegen


def _lanes_that_are(symbol, like, n):
    """The mask of the lanes whose number compares so with n."""
    vec = like if isinstance(like, Vec) else of(like.dtype)

    def codegen(context, builder, sig, args):
        number = splat(builder, context.cast(builder, args[1], sig.args[1], types.int32), vec.lanes)
        numbers = ir.Constant(ir.VectorType(I32, vec.lanes), list(range(vec.lanes)))
        return builder.icmp_signed(symbol, numbers, number)

    return Mask(vec.lanes)(like, n), codegen


@intrinsic
def first_lanes(typingctx, like, n):
    """The mask that is true in the first n lanes of a vector of the dtype of `like`."""
    return _lanes_that_are("<", like, n)


@intrinsic
def only_lane(typingctx, like, n):
    """The mask that is true in lane n alone, and nowhere where there is no such lane."""
    return _lanes_that_are("==", like, n)


# Lane by lane


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c; b and c may be numbers."""
    if not isinstance(a, Vec):
        return None

    def codegen(context, builder, sig, args):
        x, y, z = (operand(context, builder, v, given, a) for v, given in zip(args, sig.args, strict=True))
        return multiply_add(builder, x, y, z)

    return a(a, b, c), codegen


@intrinsic
def select(typingctx, mask, a, b):
    """a where the mask is true, else b; one of them may be a number."""
    vec = a if isinstance(a, Vec) else b
    if not isinstance(mask, Mask) or not isinstance(vec, Vec):
        return None

    def codegen(context, builder, sig, args):
        x = operand(context, builder, args[1], sig.args[1], vec)
        y = operand(context, builder, args[2], sig.args[2], vec)
        return choose(builder, args[0], x, y)

    return vec(mask, a, b), codegen


def _unary(name):
    @intrinsic
    def operation(typingctx, v):
        if not isinstance(v, Vec):
            return None

        def codegen(context, builder, sig, args):
            kind = native(v)
            return call(builder, f"llvm.{name}.{suffix(kind)}", kind, list(args))

        return v(v), codegen

    return operation


sqrt = _unary("sqrt")
absolute = _unary("fabs")


def _estimate(names, exact):
    """An instruction of some processors that estimates to 12 or 14 bits, elsewhere the exact value. And whether there
    is one and it is faster: a compile-time constant.

    names: LLVM's, by the bytes of a vector.
    """

    def name(vec):
        fits = machine.IS_X86 and machine.HAS_FMA and vec.dtype == types.float32
        return names.get(machine.VECTOR_BYTES) if fits else None

    @intrinsic
    def estimate(typingctx, v):
        if not isinstance(v, Vec):
            return None

        def codegen(context, builder, sig, args):
            kind = native(v)
            if name(v) is None:
                return exact(builder, args[0], splat(builder, ir.Constant(kind.element, 1.0), v.lanes))
            masked = [args[0], ir.Constant(ir.IntType(v.lanes), -1)] if machine.VECTOR_BYTES == 64 else []
            return call(builder, f"llvm.x86.{name(v)}", kind, [args[0], *masked])

        return v(v), codegen

    @intrinsic
    def estimates(typingctx, v):
        if not isinstance(v, Vec):
            return None

        def codegen(context, builder, sig, args):
            return ir.Constant(ir.IntType(1), int(name(v) is not None))

        return types.boolean(v), codegen

    return estimate, estimates


@intrinsic
def is_single(typingctx, v):
    """Whether the vector holds float32: a compile-time constant."""
    if not isinstance(v, Vec):
        return None

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(1), int(v.dtype == types.float32))

    return types.boolean(v), codegen


def _exact_root(builder, v, one):
    return builder.fdiv(one, call(builder, f"llvm.sqrt.{suffix(v.type)}", v.type, [v]))


estimate_reciprocal, estimates_reciprocals = _estimate(
    {32: "avx.rcp.ps.256", 64: "avx512.rcp14.ps.512"}, lambda builder, v, one: builder.fdiv(one, v)
)
estimate_inverse_root, estimates_roots = _estimate({64: "avx512.rsqrt14.ps.512"}, _exact_root)


def extreme(builder: ir.IRBuilder, symbol, a, b):
    """a where the comparison with b holds, else b, also where one is NaN."""
    return choose(builder, builder.fcmp_ordered(symbol, a, b), a, b)


def _extreme(symbol):
    @intrinsic
    def operation(typingctx, a, b):
        if not isinstance(a, Vec):
            return None

        def codegen(context, builder, sig, args):
            other = operand(context, builder, args[1], sig.args[1], a)
            return extreme(builder, symbol, args[0], other)

        return a(a, b), codegen

    return operation


maximum = _extreme(">")
minimum = _extreme("<")


@intrinsic
def with_sign(typingctx, v, of):
    """The sizes of v with the signs of `of`."""
    if not isinstance(v, Vec) or v != of:
        return None

    def codegen(context, builder, sig, args):
        return call(builder, f"llvm.copysign.{suffix(native(v))}", native(v), list(args))

    return v(v, of), codegen


def _conversion(instruction, to_float):
    """Vectors of integers and floats of the same width into each other."""

    @intrinsic
    def operation(typingctx, v):
        if not isinstance(v, Vec):
            return None
        single = v.dtype.bitwidth == 32
        floats, integers = (types.float32, types.int32) if single else (types.float64, types.int64)
        out = v.like(floats if to_float else integers)

        def codegen(context, builder, sig, args):
            return getattr(builder, instruction)(args[0], native(out))

        return out(v), codegen

    return operation


bits = _conversion("bitcast", to_float=False)  # the bits of floats as signed integers
from_bits = _conversion("bitcast", to_float=True)  # integers read as the bits of floats
to_float = _conversion("sitofp", to_float=True)  # the values of signed integers


@intrinsic
def pick(typingctx, like, single, double):
    """One of two constants in every lane: the first where `like` has elements of 32 bits, the second at 64."""
    vec = like if isinstance(like, Vec) else of(like.dtype)
    chosen = 1 if vec.dtype.bitwidth == 32 else 2

    def codegen(context, builder, sig, args):
        return operand(context, builder, args[chosen], sig.args[chosen], vec)

    return vec(like, single, double), codegen


def polynomial(single, double):
    """A function of a vector x: the polynomial with these coefficients, highest power first, by Horner's rule.

    single, double: coefficients for float32 and for float64.
    """

    @intrinsic
    def evaluate(typingctx, x):
        if not isinstance(x, Vec):
            return None

        def codegen(context, builder, sig, args):
            kind = native(x)
            coefficients = single if x.dtype == types.float32 else double
            constants = [ir.Constant(kind, [c] * x.lanes) for c in coefficients]
            value = constants[0]
            for constant in constants[1:]:
                value = multiply_add(builder, value, args[0], constant)
            return value

        return x(x), codegen

    return evaluate
