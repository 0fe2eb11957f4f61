"""`fastnn info` and `fastnn warmup`: the machine, the versions, and compiling ahead of time."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

import fastnn
from fastnn import devices, session
from fastnn.errors import DeviceError, InputError, MissingExtraError
from fastnn_kernels import cache, machine


def info(
    device: Annotated[str, typer.Option(help="cuda, where a network is to be predicted")] = "cpu",
    network: Annotated[
        str | None, typer.Option(help="sizes as in 784-512-512-10: predict a training step with --device cuda")
    ] = None,
    batch: Annotated[int, typer.Option(help="samples in the predicted step")] = 128,
    optimizer: Annotated[str, typer.Option(help="of the predicted step")] = "adam",
    dtype: Annotated[str, typer.Option(help="of the predicted step: float32 or float64")] = "float32",
    gpu: Annotated[
        str | None, typer.Option(help="to predict, kernel by kernel; if not given, totals of all known")
    ] = None,
) -> None:
    """Print what fastnn runs on: processor, vectors, tile, threads, GPU, versions, the cache of compiled code.

    With --device cuda --network, print what a training step should take on GPUs that need not be there.
    """
    devices.check(device)
    if network is None:
        if gpu is not None:
            raise InputError("--gpu says where a network is to be predicted: give --network 784-512-512-10 too")
        _facts()
        return
    if device != "cuda":
        raise InputError(f"--network is predicted for GPUs: give --device cuda, not {device}")
    from fastnn.cli import predicted

    typer.echo("\n".join(predicted.lines(network, batch, optimizer, dtype, gpu)))


def _facts() -> None:
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
