"""The one module of the kernels that knows Numba's CUDA compiler.

Kernels import `cuda` from here and are decorated here:

@device   an inner function, inlined into the kernels that call it
@kernel   what the host launches: kernel[blocks, threads, stream](*args)
ported    the inner function of the processor's kernel, where that is plain arithmetic of numbers: one source for both

Indices are uint32: a product then needs a fifth fewer registers and half the instructions. A constant that stands
beside one is np.uint32 too, since uint32 + int is int64. Numbers of the network's dtype are made by
`real = work.params.dtype.type`: a plain 0.5 is a float64, and so would be all that it touches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import numba.cuda
import numpy as np
from numba.core import config

from fastnn_kernels.jit import Kernel

IS_SIMULATED = bool(config.ENABLE_CUDASIM)  # NUMBA_ENABLE_CUDASIM: blocks run one after the other, in Python

SIMULATED_PROCESSORS = 2


class _Simulated:
    """`cuda` in the simulator: what a kernel sees while one runs, else what the host sees.

    The simulator itself swaps the name in the globals of each function that is called, for all threads of a block at
    once: a thread that returns would take it from one that has not.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(_running() or numba.cuda, name)


if IS_SIMULATED:
    from numba.cuda.simulator.kernel import _get_kernel_context as _running

cuda: Any = _Simulated() if IS_SIMULATED else numba.cuda


@dataclass(frozen=True)
class Compiled:
    """A kernel, for inspect.py. limits: threads of a block, and blocks that a processor is to hold at once; empty where
    they are left to the compiler. dtype: of the networks that it is launched for, None for every."""

    function: Callable
    limits: tuple[int, ...]
    dtype: Any


KERNELS: dict[str, Compiled] = {}  # all that the host launches, by module and name


def device(function: Callable) -> Any:
    """An inner function."""
    return function if IS_SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def ported(kernel: Kernel, instead: dict[str, Any] | None = None) -> Any:
    """A processor's kernel and the kernels that it calls by name, as inner functions of the device.

    instead: functions of the device, by the names of kernels that they take the place of.
    """
    function, own = kernel.__wrapped__, dict(instead or {})
    for name in set(function.__code__.co_names) - set(own):
        called = function.__globals__.get(name)
        if isinstance(called, Kernel):
            own[name] = ported(called, instead)
    return device(FunctionType(function.__code__, function.__globals__ | own, function.__name__))


def kernel(function: Callable, key: str = "", limits: tuple[int, ...] = (), dtype: Any = None) -> Any:
    """What the host launches; compiled at the first launch for its types of arguments.

    key: "file.name", where several are made by one function; limits, dtype: see Compiled.
    """
    if key:
        function.__name__ = function.__qualname__ = key.rpartition(".")[2]
    KERNELS[key or f"{function.__module__.rpartition('.')[2]}.{function.__name__}"] = Compiled(function, limits, dtype)
    options: dict[str, Any] = {} if IS_SIMULATED or not limits else {"launch_bounds": limits}
    return cuda.jit(**options)(function)


def blocks_for(elements: int, threads: int) -> int:
    """Blocks of so many threads that have one element each."""
    return max(1, -(-int(elements) // threads))


@cache
def processors() -> int:
    """Multiprocessors of the device in use."""
    return SIMULATED_PROCESSORS if IS_SIMULATED else int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


@device
def place():
    """The number of this thread among all of a one-dimensional grid."""
    return np.uint32(cuda.blockIdx.x) * np.uint32(cuda.blockDim.x) + np.uint32(cuda.threadIdx.x)
