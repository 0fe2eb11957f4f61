"""The one place that sets compiler flags.

@kernel       an inner function: lowered straight into the functions that call it, no machine code of its own
@inline       the same, and LLVM is told to inline it
@extra        the same of what few networks have: left out where a type says that there is none
@matrix_only  the same of what a matrix unit does
@entry        what Python calls: runs without the interpreter's lock, kept in the cache (cache.py)

A plain njit function is optimized, compiled to machine code and wrapped for Python before anybody calls it, and
optimized again in each caller; with some hundred small kernels that takes half a minute. A Kernel is typed and lowered
once; a compiled function that calls it, a user's own njit function included, links in its code and that of the
kernels below, and the whole is optimized once.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from llvmlite import ir
from numba import njit, typeof, types
from numba.core import compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin, typeof_impl

from fastnn_kernels.cache import PackageCache
from fastnn_kernels.frontend import KernelCompiler, owns_memory

# No fastmath anywhere: NaN must be seen, and the same sums must give the same bits in every function.
FLAGS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


class Kernel:
    """A function that compiled functions call. In Python it is the plain function (slow: for debugging)."""

    def __init__(
        self, function: Callable, force_inline: bool, needs: str | None = None, result: types.Type | None = None
    ) -> None:
        function.__qualname__ = _own_name(function)
        self.__wrapped__ = function
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self._force_inline, self._needs, self.result_left_out = force_inline, needs, result
        self._lowered: dict[tuple, _Lowered] = {}
        self.template = type(f"{function.__name__}_template", (_KernelTemplate,), {"key": self})
        lower_builtin(self, types.VarArg(types.Any))(self._lower_call)

    def __call__(self, *args: Any) -> Any:
        return self.__wrapped__(*args)

    def lowered(self, args: tuple) -> _Lowered:
        """The function for these argument types, typed and lowered now if it was not before."""
        if args not in self._lowered:
            with global_compiler_lock:
                self._lowered[args] = _Lowered(self.__wrapped__, args, self._force_inline)
        return self._lowered[args]

    def is_left_out(self, args: tuple) -> bool:
        """Whether a call with these argument types can only be one that never happens."""
        return self._needs is not None and not getattr(args[0], self._needs)

    def _lower_call(self, context, builder, sig, args):
        if self.is_left_out(sig.args):
            builder.call(builder.module.declare_intrinsic("llvm.trap", fnty=ir.FunctionType(ir.VoidType(), [])), [])
            return context.get_constant_null(sig.return_type)
        lowered = self.lowered(sig.args)
        _link(lowered, context.active_code_library)
        return context.call_internal(builder, lowered.descriptor, sig, args)


def _own_name(function: Callable) -> str:
    """The function's name with a hash of what it closes over, the same in every process.

    Kernels of one factory differ by that alone. Where two pieces of compiled code have a symbol in common, the one that
    is loaded later takes it from the one before.
    """
    if function.__closure__ is None:
        return function.__qualname__
    closed_over = [_identity(cell.cell_contents) for cell in function.__closure__]
    return f"{function.__qualname__}.{hashlib.sha256(repr(closed_over).encode()).hexdigest()[:12]}"


def _identity(value: Any) -> str:
    """What tells a constant or a function from others, the same in every process."""
    if isinstance(value, Kernel):
        value = value.__wrapped__
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)


class _KernelTemplate(AbstractTemplate):
    def generic(self, args, kws):
        assert not kws, "kernels take positional arguments"
        if self.key.is_left_out(args):
            return signature(self.key.result_left_out, *args)
        return self.key.lowered(tuple(args)).signature


@typeof_impl.register(Kernel)
def _type_of_kernel(kernel, context):
    return types.Function(kernel.template)


class _Lowered:
    """A kernel for one set of argument types: its signature, its LLVM code, and the kernels that it calls.

    To Numba it looks like a library whose code is linked into the one that calls it.
    """

    def __init__(self, function: Callable, args: tuple, force_inline: bool) -> None:
        self.library = cpu_target.target_context.codegen().create_library(function.__qualname__)
        self.library._optimize_functions = _leave  # the whole is optimized once, at its end
        self.calls: dict[_Lowered, None] = {}
        self._reload_init: dict = {}  # part of what Numba expects of a library
        _by_library[self.library] = self
        result = KernelCompiler(self.library, args, _flags(force_inline)).compile_extra(function)
        self.signature, self.descriptor = result.signature, result.fndesc
        if owns_memory(self.signature.return_type):
            raise TypeError(f"{function.__qualname__}: a kernel may take arrays, not return them")

    @cached_property
    def _shared_module(self) -> Any:
        module = self.library._final_module.clone()
        for function in module.functions:
            if not function.is_declaration:
                function.linkage = "linkonce_odr"  # may be inlined and dropped
        return module

    def _get_module_for_linking(self) -> Any:
        return self._shared_module


_by_library: dict[Any, _Lowered] = {}


def _leave(module: Any) -> None:
    """In place of optimizing the functions of a kernel's module, one by one."""
    module.data_layout = cpu_target.target_context.codegen()._data_layout


def _flags(force_inline: bool) -> compiler.Flags:
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.nrt = False  # kernels count nobody's hold on memory
    flags.error_model = FLAGS["error_model"]
    flags.boundscheck = FLAGS["boundscheck"]
    flags.forceinline = force_inline
    return flags


def _link(lowered: _Lowered, library: Any) -> None:
    """Make a kernel part of the library whose function calls it, with all kernels below; callers come first."""
    caller = _by_library.get(library)
    if caller is not None:
        caller.calls[lowered] = None
        return
    waiting = [lowered]
    while waiting:
        one = waiting.pop()
        if one not in library._linking_libraries:
            library._linking_libraries += [one, *one.library._linking_libraries]
            waiting.extend(one.calls)


def kernel(function: Callable) -> Kernel:
    """An inner function."""
    return Kernel(function, False)


def inline(function: Callable) -> Kernel:
    """An inner function that is always inlined."""
    return Kernel(function, True)


def extra(result: types.Type) -> Callable[[Callable], Kernel]:
    """An inner function with this result, of something that few networks have.

    Where the type of its first argument has no extras, neither it nor what it calls is compiled: most of a first start
    is compilation. The caller calls it only where there is that something.
    """
    return lambda function: Kernel(function, False, "has_extras", result)


def matrix_only(result: types.Type) -> Callable[[Callable], Kernel]:
    """An inner function of what goes by a matrix unit, left out in the same way where there is none for the dtype."""
    return lambda function: Kernel(function, False, "has_matrix", result)


def entry(function: Callable) -> Callable:
    """A function that Python calls; compiled once, then read from the cache."""
    dispatcher = njit(function, **FLAGS)
    if os.environ.get("NUMBA_DISABLE_JIT", "0") == "0":
        dispatcher._cache = PackageCache(dispatcher.py_func)
    return dispatcher


@contextmanager
def _without_collector() -> Iterator[None]:
    """Compilation makes millions of objects that stay until its end: looking for cycles among them is a tenth of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def ensure_compiled(function: Any, args: tuple, purpose: str, report: Callable[[str], None]) -> None:
    """Compile an entry for the types of these arguments, or read it from the cache, before it is called.

    Tells `report` where that takes seconds; purpose: what the user may read there ("for float32").
    """
    if not hasattr(function, "overloads"):
        return  # NUMBA_DISABLE_JIT
    signature = tuple(typeof(arg) for arg in args)
    if signature in function.overloads:
        return
    if not function._cache.holds(signature):
        report(f"compiling {function.__name__} {purpose}: some seconds, once for this processor and version")
    with _without_collector():
        function.compile(signature)
