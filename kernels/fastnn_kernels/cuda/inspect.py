"""What the compiler makes of every kernel, for GPUs that need not be there: `python -m fastnn_kernels.cuda.inspect`.

Compiles all kernels to PTX for several architectures and both dtypes, without a driver, and assembles them with ptxas
of the same toolkit (extra `cuda-inspect`). Prints registers, shared memory, spills, occupancy and, for products, which
share of the inner loop's instructions are multiply-adds. Fails where registers spill, where local memory is used, and
where a float32 kernel computes in float64 without meaning to.

Limits of the architectures: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REGISTERS = 65_536  # of a multiprocessor, in all architectures below
ALLOCATED = 256  # registers that a warp gets at a time
WARP = 32
FEW = 16  # multiply-adds that make a loop one of a product
THREADS = 256  # of a block, where the kernel does not say
SHARES = 2  # processes that divide the kernels


class Limits(NamedTuple):
    """Of a multiprocessor: threads, blocks, bytes of shared memory; and bytes of it that every block costs."""

    threads: int
    blocks: int
    shared: int
    per_block: int


ARCHITECTURES = {
    75: Limits(1024, 16, 64 << 10, 0),
    80: Limits(2048, 32, 164 << 10, 1024),
    90: Limits(2048, 32, 228 << 10, 1024),
    100: Limits(2048, 32, 228 << 10, 1024),
    120: Limits(1536, 24, 100 << 10, 1024),
}

# Kernels of float32 networks that compute in float64 on purpose: rates from constants and t, sums of many numbers.
FLOAT64 = re.compile(r"step\._begin|step\._finish|update\._|penalty\._|stochastic\.epoch|epoch\._check|norm\._fold")
FLAGS = ("is_back", "is_collected", "clips")  # parameters that are bool; those that are not named here are uint32


@dataclass(frozen=True)
class Report:
    """A kernel for one architecture and dtype. threads: of a block; float64: instructions on float64 in the PTX;
    inner: share of multiply-adds among the instructions of the inner loop, None for kernels without products."""

    kernel: str
    architecture: int
    dtype: str
    registers: int
    shared: int
    threads: int
    spills: int
    local: int
    float64: int
    inner: float | None

    @property
    def occupancy(self) -> float:
        """Threads that a multiprocessor holds, of those that it could."""
        limits = ARCHITECTURES[self.architecture]
        warps = -(-self.threads // WARP)
        per_warp = -(-self.registers * WARP // ALLOCATED) * ALLOCATED
        blocks = min(
            limits.blocks,
            limits.threads // (warps * WARP),
            REGISTERS // per_warp // warps,
            limits.shared // max(1, self.shared + limits.per_block),
        )
        return blocks * warps * WARP / limits.threads

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        if self.spills:
            found.append(f"{self.spills} bytes of spilled registers")
        if self.local:
            found.append(f"{self.local} bytes of local memory")
        if self.dtype == "float32" and self.float64 and not FLOAT64.match(self.kernel):
            found.append(f"{self.float64} instructions on float64")
        return found


def main(arguments: list[str] | None = None) -> int:
    """Inspect all; returns 1 where a kernel has a fault."""
    parser = argparse.ArgumentParser(prog="python -m fastnn_kernels.cuda.inspect", description=__doc__.split("\n")[0])
    parser.add_argument("--sm", type=int, nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--only", default="", help="kernels whose name this regular expression finds")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)  # one of SHARES, for `_in_process`
    asked = parser.parse_args(arguments)
    if asked.share is not None:
        for report in _inspected(asked.share, asked.sm, asked.only):
            print(dumps(asdict(report)), flush=True)
        return 0
    with ThreadPoolExecutor(SHARES) as workers:
        found = list(workers.map(lambda share: _in_process(share, asked.sm, asked.only), range(SHARES)))
    reports = sorted((one for some in found for one in some), key=lambda one: (one.kernel, one.dtype, one.architecture))
    text = table(reports)
    print(text)
    if asked.markdown is not None:
        asked.markdown.write_text(page(text), encoding="utf-8")
    faults = [f"{one.kernel} {one.dtype} sm_{one.architecture}: {fault}" for one in reports for fault in one.faults]
    print("\n".join([*faults, f"{len(reports)} compilations, {len(faults)} faults"]))
    return 1 if faults or not reports else 0


def _in_process(share: int, architectures: list[int], only: str) -> list[Report]:
    """A share of the kernels, in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--share", str(share), f"--only={only}", "--sm"]
    command += map(str, architectures)
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"compiling ended with {result.returncode}:\n{result.stderr}")
    return [Report(**loads(line)) for line in result.stdout.splitlines()]


def _inspected(share: int, architectures: list[int], only: str) -> Iterator[Report]:
    """Every SHARES-th kernel: Python and Numba see it once, what comes behind them sees it for every architecture."""
    from numba.cuda import compiler

    _without_device(architectures[0])
    for name, kernel, dtype in _selected(only)[share::SHARES]:
        limits = {"launch_bounds": kernel.limits} if kernel.limits else {}
        cc, signature = divmod(architectures[0], 10), _signature(kernel.function, dtype)
        options = {"device": False, "abi": "numba", "cc": cc, **limits}
        library, _ = compiler._compile_pyfunc_with_fixup(kernel.function, signature, **options)
        for architecture in architectures:
            ptx = library.get_asm_str(cc=divmod(architecture, 10))
            yield _report(name, architecture, str(dtype), kernel.limits[0] if kernel.limits else THREADS, ptx)


def _selected(only: str) -> list[tuple[str, Any, np.dtype]]:
    """(name, kernel, dtype) of all whose name is asked for, in the dtypes that they are launched for."""
    return [
        (name, kernel, dtype)
        for name, kernel in sorted(_kernels().items())
        for dtype in (np.dtype(np.float32), np.dtype(np.float64))
        if re.search(only, name) and (kernel.dtype is None or np.dtype(kernel.dtype) == dtype)
    ]


def _without_device(architecture: int) -> None:
    """Numba asks the device what to compile inner functions for; here it gets an answer without one."""
    import numba.cuda.dispatcher

    class Device:
        compute_capability = divmod(architecture, 10)

    numba.cuda.dispatcher.get_current_device = Device


def _kernels() -> dict[str, Any]:
    from fastnn_kernels.cuda import driver

    package = importlib.import_module("fastnn_kernels.cuda")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in ("inspect", "memory"):
            importlib.import_module(f"fastnn_kernels.cuda.{module.name}")
    return driver.KERNELS


def _signature(function: Any, dtype: np.dtype) -> Any:
    from numba import from_dtype, types

    from fastnn_kernels.cuda.product import Places
    from fastnn_kernels.cuda.work import Work, dtype_of

    arrays = tuple(types.Array(from_dtype(dtype_of(field, dtype)), 1, "C") for field in Work._fields)
    work = types.NamedTuple(arrays, Work)
    places = types.NamedUniTuple(types.uint32, len(Places._fields), Places)
    kinds = {"work": work, "small": work, "b": types.Array(from_dtype(dtype), 1, "C"), "places": places}
    kinds |= dict.fromkeys(FLAGS, types.boolean)
    return types.void(*(kinds.get(name, types.uint32) for name in inspect.signature(function).parameters))


def _report(name: str, architecture: int, dtype: str, threads: int, ptx: str) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx, encoding="ascii")
        command = [_tool("ptxas"), "-v", f"-arch=sm_{architecture}", str(source), "-o", str(binary)]
        assembled = subprocess.run(command, capture_output=True, text=True, check=False)
        if assembled.returncode:
            raise SystemExit(f"{name} {dtype}: {assembled.stderr}")
        listing = subprocess.run([_tool("nvdisasm"), "-c", str(binary)], capture_output=True, text=True, check=True)
    said = assembled.stderr
    return Report(
        name,
        architecture,
        dtype,
        registers=_number(r"Used (\d+) registers", said),
        shared=_number(r"(\d+) bytes smem", said),
        threads=threads,
        spills=_number(r"(\d+) bytes spill stores", said) + _number(r"(\d+) bytes spill loads", said),
        local=_number(r"(\d+) bytes stack frame", said),
        float64=sum(1 for line in ptx.splitlines() if re.match(r"\s*(@\S+\s+)?[a-z]\S*\.f64", line)),
        inner=inner_share(listing.stdout),
    )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def _tool(name: str) -> str:
    """ptxas and nvdisasm from NVIDIA's wheels: those on the PATH may be of an older toolkit, which refuses the PTX."""
    for folder in map(Path, sys.path):
        for path in (folder / "nvidia").glob(f"*/bin/{name}*"):
            return str(path)
    raise SystemExit(f'{name} is not installed: pip install "fastnn-numba[cuda-inspect]"')


def inner_share(sass: str) -> float | None:
    """The largest share that multiply-adds of floats have of a loop's instructions; a loop ends in a jump back.

    None where no loop has FEW of them.
    """
    labels: dict[str, int] = {}
    instructions: list[str] = []
    best = 0.0
    for line in sass.splitlines():
        label = re.match(r"\s*(\.L_x_\d+):", line)
        if label:
            labels[label.group(1)] = len(instructions)
        code = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line)
        if not code:
            continue
        instructions.append(code.group(1))
        jump = re.search(r"BRA\S*.*?\(?(\.L_x_\d+)\)?", code.group(1))
        if jump and jump.group(1) in labels:
            loop = instructions[labels[jump.group(1)] :]
            products = sum(1 for one in loop if re.search(r"\b[FD]FMA", one))
            if products >= FEW:
                best = max(best, products / len(loop))
    return best or None


def table(reports: list[Report]) -> str:
    """Markdown, a row for a kernel and dtype; architectures side by side where they differ."""
    rows = [
        "| kernel | dtype | registers | shared memory | occupancy | multiply-adds of the inner loop | spills |",
        "|---|---|---|---|---|---|---|",
    ]
    for kernel, dtype in dict.fromkeys((one.kernel, one.dtype) for one in reports):
        own = [one for one in reports if (one.kernel, one.dtype) == (kernel, dtype)]
        inner = ["-" if one.inner is None else f"{one.inner:.0%}" for one in own]
        cells = [
            [str(one.registers) for one in own],
            [f"{one.shared:,}" for one in own],
            [f"{one.occupancy:.0%}" for one in own],
            inner,
            [str(one.spills) for one in own],
        ]
        rows.append(f"| {kernel} | {dtype} | " + " | ".join(_joined(cell) for cell in cells) + " |")
    return "\n".join(rows)


def _joined(values: list[str]) -> str:
    """One value where all are the same."""
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def page(text: str) -> str:
    """The table with its heading."""
    names = ", ".join(f"sm_{architecture}" for architecture in ARCHITECTURES)
    return (
        "# What the compiler makes of the GPU's kernels\n\n"
        "Written by `python -m fastnn_kernels.cuda.inspect --markdown docs/cuda-kernels.md`, without a GPU; no value\n"
        f"is a time. Values divided by slashes are those of {names}; one value stands for all. Occupancy is\n"
        f"that of blocks as large as the kernel is launched with, of {THREADS} threads where it leaves that open.\n\n"
        f"{text}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
