"""`fastnn info` and `fastnn warmup`: the machine, the versions, and compiling ahead of time."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import typer


def info() -> None:
    """Print what fastnn runs on: processor, vectors, tile, threads, versions, the cache of compiled code."""
    from fastnn_kernels import jit, machine

    facts = {
        "fastnn": version_of("fastnn-numba"),
        "python": platform.python_version(),
        **{package: version_of(package) for package in ("numpy", "numba", "llvmlite")},
        **machine.describe(),
        "cache": str(jit.cache_folder()),
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(f"{name:{width}}  {fact}")


def warmup() -> None:
    """Compile everything now, into the cache, so that no later run has to wait for it."""
    from fastnn_kernels import jit

    start = time.perf_counter()
    jit.warmup(typer.echo)
    typer.echo(f"ready after {time.perf_counter() - start:.1f} s; kept in {jit.cache_folder()}")


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
