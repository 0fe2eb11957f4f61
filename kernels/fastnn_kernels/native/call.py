"""Calling machine code at an address: functions that users wrote, compiled apart from the trainer."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn_kernels.native.pointer import Pointer


def _call(result: ir.Type, builder: ir.IRBuilder, args: tuple) -> ir.Value:
    kind = ir.FunctionType(result, [arg.type for arg in args[1:]])
    return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])


@intrinsic
def call(typingctx, function, p, q, n):
    """Call the C function void f(p, q, n) at the address `function`; p and q: pointers, n: int64."""
    if not all(isinstance(kind, Pointer) for kind in (p, q)):
        return None

    def codegen(context, builder, sig, args):
        _call(ir.VoidType(), builder, args)
        return context.get_dummy_value()

    return types.void(types.int64, p, q, types.int64), codegen


@intrinsic
def call_for_number(typingctx, function, p, q, n):
    """The same for a function that returns a float64."""
    if not all(isinstance(kind, Pointer) for kind in (p, q)):
        return None

    def codegen(context, builder, sig, args):
        return _call(ir.DoubleType(), builder, args)

    return types.float64(types.int64, p, q, types.int64), codegen
