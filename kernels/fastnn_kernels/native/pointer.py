"""Typed addresses: what inner kernels take instead of arrays, which would count references at every call.

p = address(array, offset)    the address of element `offset` of a C-contiguous array
p = pointer(like, place)      the address given as a number or another pointer, to elements of the dtype of `like`
p + n                         n elements further
p[i], p[i] = x                element i, no bounds check
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from fastnn_kernels.native.templates import FirstTemplate

I64 = ir.IntType(64)


class Pointer(types.Type):
    """The address of an element of the given Numba dtype."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Pointer({dtype})")


@register_model(Pointer)
class PointerModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, dmm.lookup(fe_type.dtype).get_data_type().as_pointer())


def _index(context, builder, value, from_type):
    return context.cast(builder, value, from_type, types.int64)


def opaque(builder, value):
    """The same LLVM pointer, of which LLVM knows no more.

    Where an address is a row's of several, LLVM would find each row from the last, in a chain of additions, or keep a
    pointer to every row through the loops around, on the stack.
    """
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


@intrinsic
def address(typingctx, array, offset):
    """The address of element `offset` of a contiguous array, counted in elements."""
    if not isinstance(array, types.Array) or not isinstance(offset, types.Integer):
        return None

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.gep(data, [_index(context, builder, args[1], sig.args[1])])

    return Pointer(array.dtype)(array, offset), codegen


@intrinsic
def pointer(typingctx, like, place):
    """A numeric address (ndarray.ctypes.data), or another pointer, as a pointer to other elements.

    like: an array, a pointer, or a NumPy scalar type.
    """
    if not hasattr(like, "dtype") or not isinstance(place, types.Integer | Pointer):
        return None
    out = Pointer(like.dtype)

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(out)
        if isinstance(sig.args[1], Pointer):
            return builder.bitcast(args[1], kind)
        return builder.inttoptr(_index(context, builder, args[1], sig.args[1]), kind)

    return out(like, place), codegen


@intrinsic(prefer_literal=True)
def room(typingctx, like, count):
    """Room for `count` elements (a literal number) of the dtype of `like`, gone when the calling function returns."""
    if not isinstance(like, Pointer):
        return None

    def codegen(context, builder, sig, args):
        element = context.get_data_type(like.dtype)
        return cgutils.alloca_once(builder, element, size=count.literal_value)

    return like(like, count), codegen


@infer_global(operator.add)
class PointerAdd(FirstTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], args[1])


@lower_builtin(operator.add, Pointer, types.Integer)
def pointer_add(context, builder, sig, args):
    return builder.gep(args[0], [_index(context, builder, args[1], sig.args[1])])


@infer_global(operator.getitem)
class PointerGet(FirstTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], args[1])


@lower_builtin(operator.getitem, Pointer, types.Integer)
def pointer_get(context, builder, sig, args):
    at = builder.gep(args[0], [_index(context, builder, args[1], sig.args[1])])
    return builder.load(at)


@infer_global(operator.setitem)
class PointerSet(FirstTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], args[1], args[0].dtype)


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def pointer_set(context, builder, sig, args):
    at = builder.gep(args[0], [_index(context, builder, args[1], sig.args[1])])
    builder.store(args[2], at)
    return context.get_dummy_value()
