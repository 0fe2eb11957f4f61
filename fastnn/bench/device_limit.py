"""The fused multiply-add limit of the GPU, measured: what no product there can exceed.

Every thread runs independent chains acc = acc x + y, as many as hide the latency; no memory is touched.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from fastnn_kernels.cuda import memory
from fastnn_kernels.cuda.driver import cuda

CHAINS = 8
THREADS = 256
BLOCKS = 8  # a multiprocessor: as many as are there at once
STEPS = 20_000
ROUNDS = 20


@cuda.jit
def _run(out, steps):
    i, real = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, out.dtype.type
    x, y = real(0.75), real(0.5)  # converges, so no infinities
    a, b, c, d, e, f, g, h = real(i), real(1), real(2), real(3), real(4), real(5), real(6), real(7)
    for _ in range(steps):
        a, b, c, d = cuda.fma(a, x, y), cuda.fma(b, x, y), cuda.fma(c, x, y), cuda.fma(d, x, y)
        e, f, g, h = cuda.fma(e, x, y), cuda.fma(f, x, y), cuda.fma(g, x, y), cuda.fma(h, x, y)
    out[i] = ((a + b) + (c + d)) + ((e + f) + (g + h))


def chains(dtype: str, blocks: int, threads: int, steps: int) -> np.ndarray:
    """The sum of its chains of every thread."""
    stream = memory.new_stream()
    out = memory.empty(blocks * threads, dtype)
    _run[blocks, threads, stream](out, steps)
    return memory.fetch(out, stream)


@cache
def fma_limit(dtype: str) -> float:
    """Floating-point operations per second: the best of some short rounds."""
    blocks, stream = BLOCKS * memory.find().processors, memory.new_stream()
    out = memory.empty(blocks * THREADS, dtype)
    _seconds(out, blocks, stream)  # compiles
    fastest = min(_seconds(out, blocks, stream) for _ in range(ROUNDS))
    return 2.0 * CHAINS * STEPS * THREADS * blocks / fastest


def _seconds(out: Any, blocks: int, stream: Any) -> float:
    memory.wait_for(stream)
    start = time.perf_counter()
    _run[blocks, THREADS, stream](out, STEPS)
    memory.wait_for(stream)
    return time.perf_counter() - start
