"""Calling machine code at an address: functions that users wrote, compiled apart from the trainer."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn_kernels.native.pointer import Pointer


@intrinsic
def call(typingctx, function, p, q, n):
    """Call the C function void f(p, q, n) at the address `function`; p and q: pointers, n: int64."""
    if not all(isinstance(kind, Pointer) for kind in (p, q)):
        return None

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, p, q, types.int64), codegen
