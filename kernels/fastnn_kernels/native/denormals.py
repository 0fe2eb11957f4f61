"""Numbers below the smallest normal one: many processors take a hundred cycles for each, and training meets them late,
where softmax is sure of nearly all samples. The switch that makes them 0 is each thread's own.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn_kernels import machine
from fastnn_kernels.native.vector import I32, call

I64 = ir.IntType(64)
X86_FLUSH = 0x8040  # of MXCSR: results that are denormal become 0, operands count as 0
ARM_FLUSH = 1 << 24  # of FPCR: both
IS_ARM = platform.machine().lower() in ("arm64", "aarch64")


def _mxcsr(builder, value=None):
    """Read MXCSR, or write it."""
    place = cgutils.alloca_once(builder, I32)
    at = builder.bitcast(place, ir.IntType(8).as_pointer())
    if value is None:
        call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [at])
        return builder.load(place)
    builder.store(value, place)
    return call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [at])


@intrinsic
def flush_denormals(typingctx):
    """From now on denormal numbers are 0 on this thread. Returns the state before, for restore_denormals."""

    def codegen(context, builder, sig, args):
        if machine.IS_X86:
            before = _mxcsr(builder)
            _mxcsr(builder, builder.or_(before, ir.Constant(I32, X86_FLUSH)))
            return builder.zext(before, I64)
        if IS_ARM:
            before = call(builder, "llvm.aarch64.get.fpcr", I64, [])
            call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [builder.or_(before, ir.Constant(I64, ARM_FLUSH))])
            return before
        return ir.Constant(I64, 0)

    return types.int64(), codegen


@intrinsic
def restore_denormals(typingctx, state):
    """Treat them as in the state that flush_denormals has returned."""

    def codegen(context, builder, sig, args):
        if machine.IS_X86:
            _mxcsr(builder, builder.trunc(args[0], I32))
        elif IS_ARM:
            call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
