"""The one module of the kernels that knows Numba's CUDA compiler.

Kernels import `cuda` from here and are decorated here:

@device   an inner function, inlined into the kernels that call it
@kernel   what the host launches: kernel[blocks, threads, stream](*args)

Indices are uint32: a product then needs a fifth fewer registers and half the instructions. A constant that stands
beside one is np.uint32 too, since uint32 + int is int64. Numbers of the network's dtype are made by
`real = work.params.dtype.type`: a plain 0.5 is a float64, and so would be all that it touches.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda
from numba.core import config

IS_SIMULATED = bool(config.ENABLE_CUDASIM)  # NUMBA_ENABLE_CUDASIM: blocks run one after the other, in Python

KERNELS: dict[str, Any] = {}  # all that the host launches, by module and name


def device(function: Callable) -> Any:
    """An inner function."""
    options = {} if IS_SIMULATED else {"forceinline": True}
    return cuda.jit(device=True, **options)(function)


def kernel(function: Callable) -> Any:
    """What the host launches; compiled at the first launch for its types of arguments."""
    KERNELS[f"{function.__module__.rpartition('.')[2]}.{function.__name__}"] = compiled = cuda.jit(function)
    return compiled


def blocks_for(elements: int, threads: int) -> int:
    """Blocks of so many threads that have one element each."""
    return max(1, -(-int(elements) // threads))


@device
def place():
    """The number of this thread among all of a one-dimensional grid."""
    return np.uint32(cuda.blockIdx.x) * np.uint32(cuda.blockDim.x) + np.uint32(cuda.threadIdx.x)
