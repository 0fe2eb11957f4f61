"""Words that several threads share, and how a thread waits for one.

Pointers here point to int64 words; each word that is waited for has a cache line of its own (see team.py).
"""

from __future__ import annotations

import ctypes
import sys

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn_kernels import machine

I64 = ir.IntType(64)


@intrinsic
def fetch_add(typingctx, p, n):
    """Add n to the word and return what it was before."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], args[1], "acq_rel")

    return types.int64(p, types.int64), codegen


@intrinsic
def compare_exchange(typingctx, p, expected, value):
    """Write the word if it is as expected; whether it was."""

    def codegen(context, builder, sig, args):
        return builder.extract_value(builder.cmpxchg(*args, "acq_rel", "acquire"), 1)

    return types.boolean(p, types.int64, types.int64), codegen


@intrinsic
def load_acquire(typingctx, p):
    """The word, and everything that its writer wrote before it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(p), codegen


@intrinsic
def store_release(typingctx, p, value):
    """Write the word after everything written before it."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(p, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this loop waits (a hint; nothing where there is none)."""

    def codegen(context, builder, sig, args):
        if machine.IS_X86:
            name = "llvm.x86.sse2.pause"
            hint = builder.module.globals.get(name)
            builder.call(hint or ir.Function(builder.module, ir.FunctionType(ir.VoidType(), []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen


def _register_yield() -> None:
    """Make the operating system's call known to compiled code under a name of ours: a name can be cached."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    llvm.add_symbol("fastnn_yield", ctypes.cast(function, ctypes.c_void_p).value)


_register_yield()


@intrinsic
def give_way(typingctx):
    """Let the operating system run another thread on this processor."""

    def codegen(context, builder, sig, args):
        name = "fastnn_yield"
        function = builder.module.globals.get(name)
        builder.call(function or ir.Function(builder.module, ir.FunctionType(ir.IntType(32), []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen
