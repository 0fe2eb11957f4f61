"""What this processor offers to the kernels: vector lanes, registers, tile shape, processors.

Everything here follows from the processor that Numba compiles for, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES
override; nothing is asked of the running machine's instruction set behind Numba's back.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache

import llvmlite.binding as llvm
from numba.core import config


@cache
def features() -> frozenset[str]:
    """The instruction set extensions that kernels are written for, by LLVM's names ("avx512f", "neon").

    For a processor named by NUMBA_CPU_NAME they are those that it and this machine share. (Numba itself would use all
    of this machine's.)
    """
    if config.CPU_FEATURES is not None:
        return frozenset(f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+"))
    here = frozenset(name for name, on in llvm.get_host_cpu_features().items() if on)
    if config.CPU_NAME is None or llvm.get_host_cpu_name() == config.CPU_NAME:
        return here
    return here & _features_of(config.CPU_NAME)


def _features_of(cpu_name: str) -> frozenset[str]:
    """What LLVM uses on a named processor, seen in the code that it writes for a multiply-add of 16 floats."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(cpu=cpu_name, features="", opt=2)
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    signs = {"avx512f": "zmm", "avx2": "ymm", "fma": "vfmadd"}
    return frozenset(name for name, sign in signs.items() if sign in assembly)


_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(ptr %a) {
  %x = load <16 x float>, ptr %a, align 4
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  store <16 x float> %y, ptr %a, align 4
  ret void
}
"""


def _vector_bytes() -> int:
    if "avx512f" in features():
        return 64
    return 32 if "avx2" in features() else 16


IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")

VECTOR_BYTES = _vector_bytes()
"""Bytes of one vector register."""

HAS_FMA = "fma" in features() or not IS_X86
"""Whether a multiply and an add are one instruction; where not, kernels round twice."""


def _is_given_matrix_registers() -> bool:
    """Whether this process may use the registers of the matrix unit: Linux gives them to those that ask."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, ask_for_state, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, ask_for_state, tile_data) == 0


HAS_MATRIX = {"avx512f", "amx-tile", "amx-bf16"} <= features() and _is_given_matrix_registers()
"""Whether there is a unit that multiplies matrices of bfloat16 and adds up in float32, see matrix.py."""

REGISTERS = 32 if VECTOR_BYTES == 64 or not IS_X86 else 16
"""Vector registers that a kernel can hold its tile in."""

UNIT = 4 if REGISTERS == 32 else 2
"""Register tiles have 3, 2 or 1 times so many rows: 12 x 2 vectors leave room for operands in 32 registers."""

MOST_COLUMNS = 32
"""Of a panel on any machine: two vectors of 512 bits of float32."""

TALL = 3 * UNIT  # rows of the tallest tile of two vectors
DOTS = 4
"""Columns that product.dots takes at a time: sums across the lanes of so many vectors end in one."""

PIECE = 4 * TALL
"""Rows of weights whose gradient is computed at a time: tall tiles, whole vectors of every dtype."""


def lanes(dtype: object) -> int:
    """Elements of one vector register; dtype: float32 or float64, by name, NumPy's or Numba's."""
    return VECTOR_BYTES // (4 if str(dtype) == "float32" else 8)


def processors() -> int:
    """Processors that this process may run on (its affinity), not those that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str]:
    """Facts for people: processor, vectors, tile, matrix unit, processors."""
    return {
        "processor": config.CPU_NAME or llvm.get_host_cpu_name(),
        "vector": f"{8 * VECTOR_BYTES} bits: {lanes('float32')} float32, {lanes('float64')} float64"
        + ("" if HAS_FMA else ", no fused multiply-add"),
        "tile": f"{3 * UNIT} rows x 2 vectors in {REGISTERS} registers",
        "matrix": "unit of 32 x 32, for wide layers of float32" if HAS_MATRIX else "no unit for them, or none given",
        "processors": str(processors()),
    }
