"""Operators of vectors and masks.

+ - * / between vectors or with a number, comparisons (giving a Mask), & | ^ << >> on integers, & | ~ on masks.
"""

from __future__ import annotations

import operator

from numba import types
from numba.core.typing.templates import infer_global, signature
from numba.extending import lower_builtin

from fastnn_kernels.native.templates import FirstTemplate
from fastnn_kernels.native.vector import Mask, Vec, operand


def _vector_of(args):
    """The Vec among two operands, where the other is the same Vec or a number; None where that is not so."""
    vectors = [a for a in args if isinstance(a, Vec)]
    if len(args) != 2 or not vectors or any(v != vectors[0] for v in vectors):
        return None
    if not all(isinstance(a, Vec | types.Number) for a in args):
        return None
    return vectors[0]


def _binary(op, emit, result):
    class Template(FirstTemplate):
        def generic(self, args, kws):
            vec = _vector_of(args)
            if vec is not None:
                return signature(result(vec), *args)

    def lower(context, builder, sig, args):
        vec = _vector_of(sig.args)
        a, b = (operand(context, builder, x, given, vec) for x, given in zip(args, sig.args, strict=True))
        return emit(builder, vec, a, b)

    infer_global(op)(Template)
    for pair in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(op, *pair)(lower)


def _is_float(vec):
    return isinstance(vec.dtype, types.Float)


def _arithmetic(on_floats, on_integers):
    def emit(builder, vec, a, b):
        return getattr(builder, on_floats if _is_float(vec) else on_integers)(a, b)

    return emit


def _compare(symbol):
    def emit(builder, vec, a, b):
        if _is_float(vec):  # "not equal" is true for NaN, every other comparison false
            return builder.fcmp_unordered(symbol, a, b) if symbol == "!=" else builder.fcmp_ordered(symbol, a, b)
        return (builder.icmp_signed if vec.dtype.signed else builder.icmp_unsigned)(symbol, a, b)

    return emit


def _shift_right(builder, vec, a, b):
    return builder.ashr(a, b) if vec.dtype.signed else builder.lshr(a, b)


for _op, _floats, _integers in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", ""),
    (operator.and_, "", "and_"),
    (operator.or_, "", "or_"),
    (operator.xor, "", "xor"),
    (operator.lshift, "", "shl"),
):
    _binary(_op, _arithmetic(_floats, _integers), lambda vec: vec)
_binary(operator.rshift, _shift_right, lambda vec: vec)
for _op, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _binary(_op, _compare(_symbol), lambda vec: Mask(vec.lanes))


def _mask_binary(op, name):
    class Template(FirstTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Mask) and args[0] == args[1]:
                return signature(args[0], *args)

    infer_global(op)(Template)
    lower_builtin(op, Mask, Mask)(lambda context, builder, sig, args: getattr(builder, name)(*args))


_mask_binary(operator.and_, "and_")
_mask_binary(operator.or_, "or_")


@infer_global(operator.invert)
class MaskNot(FirstTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], Mask):
            return signature(args[0], args[0])


@lower_builtin(operator.invert, Mask)
def mask_not(context, builder, sig, args):
    return builder.not_(args[0])


@infer_global(operator.neg)
class VecNegate(FirstTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], Vec):
            return signature(args[0], args[0])


@lower_builtin(operator.neg, Vec)
def vec_negate(context, builder, sig, args):
    return builder.fneg(args[0]) if _is_float(sig.args[0]) else builder.neg(args[0])
