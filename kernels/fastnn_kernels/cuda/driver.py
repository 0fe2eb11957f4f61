"""The one module of the kernels that knows Numba's CUDA compiler.

Kernels import `cuda` from here and are decorated here:

@device   an inner function, inlined into the kernels that call it
@kernel   what the host launches: kernel[blocks, threads, stream](*args)

Indices are uint32: a product then needs a fifth fewer registers and half the instructions. A constant that stands
beside one is np.uint32 too, since uint32 + int is int64. Numbers of the network's dtype are made by
`real = work.params.dtype.type`: a plain 0.5 is a float64, and so would be all that it touches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cuda
from numba.core import config

IS_SIMULATED = bool(config.ENABLE_CUDASIM)  # NUMBA_ENABLE_CUDASIM: blocks run one after the other, in Python

SIMULATED_PROCESSORS = 2


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
    options = {} if IS_SIMULATED else {"forceinline": True}
    return cuda.jit(device=True, **options)(function)


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
