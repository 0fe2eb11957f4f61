"""Numba's way from a kernel's Python to LLVM code, shortened: two thirds of a first start are spent there.

Passes for what no kernel has are left out; what was found out once is remembered: some hundred kernels call the same
few operators with the same few types ten thousand times.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from numba.core import compiler, types, typing
from numba.core.registry import cpu_target
from numba.core.typed_passes import AnnotateTypes, InlineOverloads, IRLegalization, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, InlineInlinables, LiteralUnroll


class KernelCompiler(compiler.CompilerBase):
    """Numba's passes without those for what no kernel has or wants.

    Closures, array expressions, literal_unroll, overloads and njit functions to be inlined before they are typed,
    variables that own memory, annotated listings.
    """

    _NEEDLESS = (
        InlineClosureLikes,
        NopythonRewrites,
        LiteralUnroll,
        InlineInlinables,
        InlineOverloads,
        IRLegalization,
        AnnotateTypes,
    )

    def __init__(self, library: Any, args: tuple, flags: compiler.Flags) -> None:
        super().__init__(_typing(), _target(), library, args, None, flags, {})

    def define_pipelines(self) -> list:
        manager = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [one for one in manager.passes if one[0] not in self._NEEDLESS]
        manager.finalize()
        return [manager]


def owns_memory(kind: types.Type) -> bool:
    """Whether values of a type count who holds their memory, as arrays do."""
    return _target().data_model_manager[kind].contains_nrt_meminfo()


class _Typing:
    """Numba's typing context, which remembers what calls resolve to."""

    def __init__(self, context: typing.Context) -> None:
        self._context = context
        self._resolved: dict[tuple, typing.templates.Signature] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: tuple, kws: dict) -> Any:
        """The signature of a call; methods, whose object is part of their type, are asked for each time."""
        if kws or isinstance(function, types.BoundFunction):
            return self._context.resolve_function_type(function, args, kws)
        call = (function, tuple(args))
        if call not in self._resolved:
            signature = self._context.resolve_function_type(function, args, kws)
            if signature is None:
                return None  # an error, which the caller reports
            self._resolved[call] = signature
        return self._resolved[call]


@cache
def _typing() -> _Typing:
    return _Typing(cpu_target.typing_context)


@cache
def _target() -> Any:
    """Numba's target, which remembers the sizes of types: it asks LLVM for them at every variable."""
    target = copy.copy(cpu_target.target_context)
    target.get_abi_sizeof = cache(target.get_abi_sizeof)
    return target
