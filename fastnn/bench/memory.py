"""The bandwidth limit of this machine, measured: what no kernel that streams through memory can exceed.

Each core runs the loop y += s x over two arrays that together have a given size, whole vector registers, several side
by side: two reads and a write an element, and no line is fetched only to be overwritten. Small arrays measure the
caches, large ones the memory. `python -m fastnn.bench.memory` prints the limits.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastnn.bench.limit import VECTOR_BYTES, elapsed, fill, multiply_add

SIDE_BY_SIDE = 4  # registers in a pass of the loop
LEVELS = {"first cache": 1 << 14, "second cache": 1 << 18, "memory": 1 << 28}
"""Working sets in bytes: what each core's caches hold everywhere, and what none does."""

SMALLEST = 1 << 12


@intrinsic
def add_scaled(typingctx, y, x, scale):
    """y += scale x over SIDE_BY_SIDE registers at the addresses y and x."""

    def codegen(context, builder, sig, args):
        register = sig.args[2].native
        y, x = (builder.inttoptr(address, register.as_pointer()) for address in args[:2])
        for i in range(SIDE_BY_SIDE):
            here, there = (builder.gep(base, [ir.Constant(ir.IntType(64), i)]) for base in (y, x))
            total = multiply_add(builder, args[2], builder.load(there), builder.load(here))
            builder.store(total, here)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, scale), codegen


@njit(nogil=True)
def run_sweeps(scale, y, x, size, sweeps):
    s = fill(scale)
    for _ in range(sweeps):
        for i in range(0, size, SIDE_BY_SIDE * VECTOR_BYTES):
            add_scaled(y + i, x + i, s)


def aligned(size: int) -> np.ndarray:
    """`size` bytes of float32 that were written once, from a cache line on."""
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + size].view(np.float32)
    array[:] = 0.5
    return array


@cache
def bandwidth(working_set: int, threads: int = 1, rounds: int = 15, seconds: float = 0.002) -> float:
    """Bytes per second, read and written, of `threads` cores at once, each with two arrays of so many bytes together.

    working_set is rounded up to a power of two. The best of some short rounds.
    """
    size = max(SMALLEST, 1 << (working_set - 1).bit_length()) // 2
    arrays = [(aligned(size), aligned(size)) for _ in range(threads)]

    def run(sweeps: int, rank: int) -> None:
        y, x = arrays[rank]
        run_sweeps(np.float32(1e-6), y.ctypes.data, x.ctypes.data, size, sweeps)

    run(1, 0)
    once = min(elapsed(run, 1, threads) for _ in range(3))
    sweeps = max(1, int(seconds / once))
    fastest = min(elapsed(run, sweeps, threads) for _ in range(rounds))
    return 3 * size * sweeps * threads / fastest


def main() -> None:
    from fastnn_kernels.machine import processors

    for name, size in LEVELS.items():
        for threads in sorted({1, processors()}):
            print(f"{name:12} {size:>11,} bytes {threads:3} threads {bandwidth(size, threads) / 1e9:8.1f} GB/s")


if __name__ == "__main__":
    main()
