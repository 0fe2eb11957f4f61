"""Calling functions that users wrote: compiled apart from the trainer, in loops over rows, which it calls by address.

A C function goes through rows of n elements in order and returns how many of them it has done: fewer than n where
the user's function raised an exception.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn_kernels.native.pointer import Pointer


def _call(context, builder, sig, args):
    kind = ir.FunctionType(ir.IntType(64), [arg.type for arg in args[1:]])
    return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])


@intrinsic
def call(typingctx, function, p, q, n):
    """Call the C function int64 f(p, q, n) at the address `function`; p and q: pointers, n: int64."""
    if not all(isinstance(kind, Pointer) for kind in (p, q)):
        return None
    return types.int64(types.int64, p, q, types.int64), _call


@intrinsic
def call_for_sum(typingctx, function, p, q, n, total):
    """Call the C function int64 f(p, q, n, total), which writes a sum to the pointer `total`."""
    if not all(isinstance(kind, Pointer) for kind in (p, q, total)):
        return None
    return types.int64(types.int64, p, q, types.int64, total), _call


@intrinsic
def attempt(typingctx, function, args):
    """Call an njit function with a tuple: (what it returns, True), or (anything, False) where it raised an exception.

    The exception is forgotten, also one of object mode, which Numba would leave for the interpreter to find.
    """
    if not isinstance(function, types.Dispatcher) or not isinstance(args, types.BaseTuple):
        return None
    found = function.get_call_type(typingctx, args.types, {})
    out = types.Tuple((found.return_type, types.boolean))

    def codegen(context, builder, sig, values):
        compiled = function.dispatcher.get_compile_result(found)
        context.add_linking_libs([compiled.library])
        given = cgutils.unpack_tuple(builder, values[1], len(args))
        status, value = context.call_internal_no_propagate(builder, compiled.fndesc, found, given)
        with builder.if_then(status.is_python_exc, likely=False):
            api = context.get_python_api(builder)
            lock = api.gil_ensure()
            api.err_clear()
            api.gil_release(lock)
        return context.make_tuple(builder, out, [value, builder.not_(status.is_error)])

    return out(function, args), codegen
