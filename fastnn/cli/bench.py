"""`fastnn bench`: fastnn beside its peers, or every kernel beside the limits of the machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fastnn.cli import options
from fastnn.errors import InputError, unknown_name
from fastnn_kernels.machine import processors


def bench(
    workload: Annotated[
        list[str] | None, typer.Option(help="workloads by name, as tiny-b1,mnist-b32; by default all")
    ] = None,
    network: Annotated[str | None, typer.Option(help="any network instead, as 783-130-11")] = None,
    batch: Annotated[str | None, typer.Option(help="its batch size, or full; by default 128")] = None,
    samples: Annotated[int | None, typer.Option(help="samples in its epoch; by default a fitting number")] = None,
    optimizer: Annotated[str | None, typer.Option(help="its optimizer: sgd or adam, the default")] = None,
    peers: Annotated[
        list[str] | None, typer.Option(help="fastnn,torch,torch.compile,jax,sklearn; by default all that are installed")
    ] = None,
    threads: Annotated[list[str] | None, typer.Option(help="numbers of threads, as 1,2; by default 1 and all")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda: all peers on the GPU")] = "cpu",
    rounds: Annotated[int, typer.Option(min=1, help="turns of every peer; medians are taken over them")] = 7,
    json: Annotated[Path | None, typer.Option(help="write everything measured to this file")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the tables to this file")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="draw throughput by workload, or the roofline, into this PNG file")
    ] = None,
    kernels: Annotated[bool, typer.Option("--kernels", help="time every kernel by itself, on one thread")] = False,
    dtype: Annotated[str, typer.Option(help="of networks or kernels: float32 or float64")] = "float32",
) -> None:
    """Time training beside PyTorch, JAX and scikit-learn: turn by turn, medians, ratios, shares of the limit.

    With --kernels every kernel by itself, beside what this machine's arithmetic, caches and memory allow it.
    """
    if dtype not in ("float32", "float64"):
        raise unknown_name("dtype", dtype, ("float32", "float64"))
    files = {name: options.output_path(path) for name, path in _given(json=json, markdown=markdown, plot=plot).items()}
    options.check_apart({f"--{name}": path for name, path in files.items()}, {})
    shape = _given(batch=batch, samples=samples, optimizer=optimizer)
    if shape and network is None:
        raise InputError("--batch, --samples and --optimizer go with --network")
    if kernels:
        if _given(workload=workload, network=network, peers=peers, threads=threads) or device != "cpu":
            raise InputError("--kernels goes without --workload, --network, --peers, --threads and --device")
        _time_kernels(dtype, rounds, files)
    else:
        chosen = _workloads(_split(workload), network, shape, dtype)
        known = _peers_on(device)
        _compare(chosen, _peers(_split(peers), known), _numbers(device, _split(threads)), rounds, files)


def _given(**named: Any) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}


def _compare(workloads: list[Any], peers: list[str], threads: list[int], rounds: int, files: dict[str, Path]) -> None:
    from rich.console import Console

    from fastnn.bench import report, turns

    console, comparisons = Console(), []
    with console.status("starting") as status:
        for number in threads:
            note = partial(_show, status, report.title(number))
            comparisons += turns.compare(workloads, peers, number, rounds, note)
    report.print_tables(comparisons, console)
    _write(
        {"json": report.write_json, "markdown": report.write_markdown, "plot": report.write_plot}, comparisons, files
    )


def _show(status: Any, threads: str, what: str) -> None:
    status.update(f"{threads}: {what}")


def _time_kernels(dtype: str, rounds: int, files: dict[str, Path]) -> None:
    from rich.console import Console

    from fastnn.bench import roofline
    from fastnn.bench.kernels import cases

    console, points = Console(), []
    with console.status("starting") as status:
        for case in cases(dtype):
            status.update(case.label)
            points.append(roofline.measure(case, rounds))
    roofline.print_table(points, console)
    _write(
        {"json": roofline.write_json, "markdown": roofline.write_markdown, "plot": roofline.write_plot}, points, files
    )


def _write(writers: dict[str, Callable], measured: Sequence[Any], files: dict[str, Path]) -> None:
    for name, path in files.items():
        writers[name](measured, path)
        typer.echo(f"wrote {path}")


def _split(given: list[str] | None) -> list[str]:
    """What was given with commas between, or option by option."""
    return [part.strip() for text in given or () for part in text.split(",") if part.strip()]


def _workloads(names: list[str], network: str | None, shape: dict[str, Any], dtype: str) -> list[Any]:
    from fastnn.bench.workloads import WORKLOADS, find, parse

    if network is not None:
        if names:
            raise InputError("give --workload or --network, not both")
        return [parse(network, **shape, dtype=dtype)]
    chosen = []
    for wanted in [replace(find(name), dtype=dtype) for name in names or WORKLOADS]:
        if (reason := wanted.missing()) is None:
            chosen.append(wanted)
        else:
            typer.echo(f"{wanted.name} is left out: {reason}")
    if not chosen:
        raise InputError("no workload is left to run")
    return chosen


def _peers_on(device: str) -> list[str]:
    """The peers that train on a device. Raises DeviceError where there is none."""
    from fastnn.bench.peers import PEERS, PEERS_ON_DEVICE

    if device not in ("cpu", "cuda"):
        raise unknown_name("device", device, ("cpu", "cuda"))
    if device == "cpu":
        return list(PEERS)
    from fastnn import cuda

    cuda.find()
    return list(PEERS_ON_DEVICE)


def _peers(names: list[str], known: list[str]) -> list[str]:
    for name in names:
        if name not in known:
            raise unknown_name("peer", name, known)
    return names or known


def _numbers(device: str, threads: list[str]) -> list[int]:
    """Numbers of threads, or what stands for the GPU."""
    from fastnn.bench.environment import ON_DEVICE

    if device == "cpu":
        return _threads(threads)
    if threads:
        raise InputError("--threads goes with --device cpu")
    return [ON_DEVICE]


def _threads(numbers: list[str]) -> list[int]:
    most = processors()
    for number in numbers:
        if not number.isdecimal() or not 1 <= int(number) <= most:
            raise InputError(f"--threads must be 1 to {most}, the processors here, got {number}")
    return sorted({int(number) for number in numbers} or {1, most})
