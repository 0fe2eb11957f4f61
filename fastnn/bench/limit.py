"""The fused multiply-add limit of this machine, measured: what no product can exceed.

Each core runs a loop of independent chains acc = acc x + y, a vector register each, as many as hide the latency; no
memory is touched. `python -m fastnn.bench.limit` prints the limit of one core and of all.

The vectors are LLVM values behind a Numba type, made here and not taken from the kernels: what is measured must not
depend on what it judges.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastnn.bench.environment import ON_DEVICE

FEATURES = llvm.get_host_cpu_features()
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
VECTOR_BYTES = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx2") else 16
HAS_FMA = bool(FEATURES.get("fma")) or not IS_X86
CHAINS = 24 if VECTOR_BYTES == 64 or not IS_X86 else 12  # of 32 or 16 registers; 10 chains hide the latency
ELEMENT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Register(types.Type):
    """A full vector register of a float type."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype, self.lanes = dtype, VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"bench.Register({dtype}, {self.lanes})")

    @property
    def native(self) -> ir.VectorType:
        return ir.VectorType(ELEMENT[self.dtype], self.lanes)


@register_model(Register)
class RegisterModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, fe_type.native)


@intrinsic
def fill(typingctx, x):
    """A register with x in every lane."""
    register = Register(x)

    def codegen(context, builder, sig, args):
        undefined = ir.Constant(register.native, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), register.lanes), [0] * register.lanes)
        return builder.shuffle_vector(first, undefined, lanes)

    return register(x), codegen


@intrinsic
def start_chains(typingctx, x):
    """CHAINS registers of different values, so that no two chains are one."""
    chains = types.UniTuple(x, CHAINS)

    def codegen(context, builder, sig, args):
        numbers = [ir.Constant(x.native, [float(i)] * x.lanes) for i in range(CHAINS)]
        return cgutils.pack_array(builder, numbers)

    return chains(x), codegen


def multiply_add(builder, a, b, c):
    """a b + c: one instruction, or two where the processor has none that does both."""
    if not HAS_FMA:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{a.type.count}{'f32' if a.type.element == ir.FloatType() else 'f64'}"
    function = builder.module.globals.get(name)
    function = function or ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


@intrinsic
def step_chains(typingctx, chains, x, y):
    """acc x + y of every chain."""

    def codegen(context, builder, sig, args):
        registers, factor, addend = args
        accumulators = [builder.extract_value(registers, i) for i in range(CHAINS)]
        return cgutils.pack_array(builder, [multiply_add(builder, acc, factor, addend) for acc in accumulators])

    return chains(chains, x, y), codegen


@intrinsic
def store_chains(typingctx, chains, address):
    """Write every chain to memory, so that none is left out as unused."""

    def codegen(context, builder, sig, args):
        registers, number = args
        base = builder.inttoptr(number, sig.args[0].dtype.native.as_pointer())
        for i in range(CHAINS):
            at = builder.gep(base, [ir.Constant(ir.IntType(64), i)])
            builder.store(builder.extract_value(registers, i), at).align = 4
        return context.get_dummy_value()

    return types.void(chains, types.intp), codegen


@njit(nogil=True)
def run_chains(x, y, steps, address):
    x, y = fill(x), fill(y)
    chains = start_chains(x)
    for _ in range(steps):
        chains = step_chains(chains, x, y)
    store_chains(chains, address)


@cache
def compiled(dtype: str):
    """The loop for float32 or float64: a function of its number of steps and of the thread's."""
    number = np.dtype(dtype).type
    x, y = number(0.75), number(0.5)  # converges, so neither infinities nor denormals slow it down

    def run(steps: int, rank: int) -> None:
        out = np.empty(CHAINS * VECTOR_BYTES // x.itemsize, dtype)
        run_chains(x, y, steps, out.ctypes.data)

    run(1, 0)
    return run


def flops_per_step(dtype: str) -> int:
    return 2 * CHAINS * VECTOR_BYTES // np.dtype(dtype).itemsize


def fma_limit(dtype: str = "float32", threads: int = 1, seconds: float = 0.002, rounds: int = 100) -> float:
    """Floating-point operations per second of `threads` cores at once, or ON_DEVICE: the best of some short rounds."""
    if threads == ON_DEVICE:
        from fastnn.bench import device_limit

        return device_limit.fma_limit(dtype)
    run = compiled(dtype)
    few = 10_000
    steps = max(few, int(few * seconds / min(elapsed(run, few, 1) for _ in range(rounds))))
    fastest = min(elapsed(run, steps, threads) for _ in range(rounds))
    return flops_per_step(dtype) * steps * threads / fastest


def elapsed(run: Callable[[int, int], None], steps: int, threads: int) -> float:
    """Seconds from the common start of run(steps, rank) until the last of the threads has finished."""
    barrier = threading.Barrier(threads)
    times = []

    def work(rank: int) -> None:
        barrier.wait()
        start = time.perf_counter()
        run(steps, rank)
        times.append((start, time.perf_counter()))

    team = [threading.Thread(target=work, args=(rank,)) for rank in range(1, threads)]
    for thread in team:
        thread.start()
    work(0)
    for thread in team:
        thread.join()
    return max(end for _, end in times) - min(start for start, _ in times)


def main() -> None:
    from fastnn_kernels.machine import processors

    for dtype in ("float32", "float64"):
        for threads in sorted({1, processors()}):
            print(f"{dtype} {threads:3} threads {fma_limit(dtype, threads) / 1e9:9.1f} GFLOP/s")


if __name__ == "__main__":
    main()
