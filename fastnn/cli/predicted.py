"""`fastnn info --device cuda --network`: what a training step should take on GPUs that need not be there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastnn import architecture, checks, optimizers
from fastnn.errors import DeviceMemoryError, InputError, unknown_name
from fastnn_kernels.cuda import predict
from fastnn_kernels.cuda.budget import TooLargeError
from fastnn_kernels.cuda.predict import GPUS, Gpu, Kernel, Prediction

NOTICE = "PREDICTION, computed from data sheets and assumptions: nothing of it was measured, on this GPU or any other."

KERNEL_COLUMNS: tuple[str, ...] = (
    "kernel",
    "tile",
    "launches",
    "blocks",
    "filled",
    "MFLOP",
    "MB",
    "us",
    "bound by",
)
TOTAL_COLUMNS: tuple[str, ...] = ("--gpu", "GPU", "us a step", "samples/s", "TFLOP/s", "of peak", "MiB", "mostly")


def lines(network: str, batch: int, optimizer: str, dtype: str, gpu: str | None) -> list[str]:
    """The prediction for a GPU, kernel by kernel, or the totals for all known.

    network: "784-512-512-10". Raises InputError, and DeviceMemoryError where the step does not fit into that GPU.
    """
    sizes, batch = _sizes(network), checks.whole("--batch", batch)
    code, real = optimizers.family.get(optimizer).code, architecture.read_dtype(dtype)
    if gpu is not None and gpu.lower() not in GPUS:
        raise unknown_name("GPU", gpu, GPUS)
    title = f"{network}, batch {batch:,}, {optimizer}, {real}; hidden ReLU, softmax with cross-entropy"
    if gpu is None:
        return [title, NOTICE, "", *_totals(sizes, batch, code, real)]
    return [title, NOTICE, "", *_kernels(sizes, batch, code, real, GPUS[gpu.lower()])]


def _sizes(network: str) -> list[int]:
    parts = network.split("-")
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--network must be sizes of two layers or more, as in 784-512-512-10, got {network!r}")
    return [int(part) for part in parts]


def _kernels(sizes: list[int], batch: int, optimizer: int, dtype: np.dtype, gpu: Gpu) -> Iterator[str]:
    try:
        step = predict.step(sizes, batch, optimizer, dtype, gpu)
    except TooLargeError as error:
        needed = error.needs.fixed + error.needs.workspace(error.rows)
        hint = f"a batch of {error.fitting:,} would fit" if error.fitting else "not even one sample at a time would fit"
        raise DeviceMemoryError(
            f"a step of this network needs {needed / 2**30:,.1f} GiB, but the {gpu.name} has {gpu.memory >> 30}: {hint}"
        ) from error
    rows = [KERNEL_COLUMNS, *map(_kernel, step.kernels)]
    total = f"{step.flops / 1e6:,.2f}", f"{step.bytes / 1e6:,.3f}", f"{step.seconds * 1e6:,.1f}", step.bound
    rows.append(("a step", "", f"{step.launches:,}", "", "", *total))
    yield from _table(rows, {0, 1, 8})
    yield ""
    yield from _summary(step, predict.step(sizes, batch, optimizer, dtype, gpu, predict.LAUNCH))


def _kernel(kernel: Kernel) -> tuple[str, ...]:
    return (
        kernel.name,
        kernel.tile,
        f"{kernel.launches:,}",
        f"{kernel.blocks:,}",
        f"{kernel.filled:.0%}" if kernel.tile else "",
        f"{kernel.flops / 1e6:,.2f}",
        f"{kernel.bytes / 1e6:,.3f}",
        f"{kernel.seconds * 1e6:,.1f}",
        kernel.bound,
    )


def _summary(step: Prediction, single: Prediction) -> Iterator[str]:
    gpu, memory = step.gpu, step.memory
    yield (
        f"predicted   {step.samples_per_second:,.0f} samples/s, {step.flops / step.seconds / 1e12:,.1f} TFLOP/s, "
        f"{step.share:.0%} of the {gpu.name}'s {gpu.peak(step.itemsize) / 1e12:,.1f}"
    )
    yield (
        f"launches    assumed to take {predict.REPLAYED * 1e6:g} us each in a graph, as above; one by one "
        f"{predict.LAUNCH * 1e6:g} us: {single.samples_per_second:,.0f} samples/s"
    )
    yield (
        f"memory      parameters {_mib(memory.parameters)}, state {_mib(memory.state)}, workspace "
        f"{_mib(memory.workspace)} for {step.rows:,} rows; data {memory.sample:,} bytes a sample: "
        f"{memory.samples:,} fit into {gpu.memory >> 30} GiB"
    )


def _totals(sizes: list[int], batch: int, optimizer: int, dtype: np.dtype) -> Iterator[str]:
    rows = [TOTAL_COLUMNS]
    for key, gpu in GPUS.items():
        try:
            rows.append((key, *_total(predict.step(sizes, batch, optimizer, dtype, gpu))))
        except TooLargeError:
            rows.append((key, gpu.name, *"-----", "does not fit"))
    yield from _table(rows, {0, 1, 7})
    yield ""
    yield "MiB: parameters, state and workspace; the data come on top of that."


def _total(step: Prediction) -> tuple[str, ...]:
    return (
        step.gpu.name,
        f"{step.seconds * 1e6:,.1f}",
        f"{step.samples_per_second:,.0f}",
        f"{step.flops / step.seconds / 1e12:,.2f}",
        f"{step.share:.0%}",
        f"{step.memory.fixed / 2**20:,.1f}",
        step.bound,
    )


def _table(rows: list[tuple[str, ...]], left: set[int]) -> Iterator[str]:
    """Rows in columns; left: which of them begin on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(f"{c:<{w}}" if i in left else f"{c:>{w}}" for i, (c, w) in enumerate(cells)).rstrip()


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
