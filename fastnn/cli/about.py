"""`fastnn info` and `fastnn warmup`: the machine, the versions, and compiling ahead of time."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import typer

import fastnn
from fastnn import session
from fastnn.errors import DeviceError, MissingExtraError
from fastnn_kernels import cache, machine


def info() -> None:
    """Print what fastnn runs on: processor, vectors, tile, threads, GPU, versions, the cache of compiled code."""
    facts = {
        "fastnn": fastnn.__version__,
        "python": platform.python_version(),
        **{package: version_of(package) for package in ("numpy", "numba", "llvmlite")},
        **machine.describe(),
        "cuda": _cuda(),
        "cache": str(cache.cache_folder()),
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(f"{name:{width}}  {fact}")


def _cuda() -> str:
    from fastnn import cuda

    try:
        return cuda.describe()
    except (DeviceError, MissingExtraError) as error:
        return f"none: {error}"


def warmup() -> None:
    """Compile everything now, into the cache, so that no later run has to wait for it."""
    start = time.perf_counter()
    session.warm_up(typer.echo)
    typer.echo(f"ready after {time.perf_counter() - start:.1f} s; kept in {cache.cache_folder()}")


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
