"""Calling machine code at an address: functions that users wrote, compiled apart from the trainer."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn_kernels.native.pointer import Pointer


@intrinsic
def call_row(typingctx, function, p, q, n):
    """The float64 that the C function f(p, q, n) at the address `function` returns; p and q: pointers, n: int64."""
    if not all(isinstance(kind, Pointer) for kind in (p, q)):
        return None

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.DoubleType(), [arg.type for arg in args[1:]])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.float64(types.int64, p, q, types.int64), codegen
