"""The roofline: what every kernel reaches, beside what the machine allows it.

A kernel that computes little on each byte it moves is bounded by the memory or cache that its data lie in, any other
by the multiply-adds: at so many operations a byte (its intensity) no kernel can do more than
    min(limit of the multiply-adds, intensity * bandwidth)
operations a second. Source: Williams, Waterman and Patterson, "Roofline", 2009.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastnn.bench.case import Case
from fastnn.bench.environment import machine, versions
from fastnn.bench.limit import fma_limit
from fastnn.bench.memory import LEVELS, bandwidth
from fastnn.bench.report import facts, markdown_row
from fastnn.files.atomic import write_png, write_text

COLUMNS = ("kernel", "shape", "dtype", "GFLOP/s", "GB/s", "of limit")
MARKERS = {"product": "o", "activation": "^", "normalization": "v", "noise": "P", "loss": "s", "optimizer": "D"}

limit = cache(fma_limit)


@dataclass(frozen=True)
class Point:
    """What was measured of one kernel on one thread. seconds: of one run."""

    kind: str
    name: str
    shape: str
    dtype: str
    seconds: float
    flops: float
    moved: float
    limit_seconds: float

    @property
    def is_named(self) -> bool:
        """Whether the picture names it: there are many products, and deltas lie close together."""
        return self.kind != "product" and not self.name.endswith(" delta")

    @property
    def share(self) -> float:
        """The share of what the machine allows, 0 to 1."""
        return self.limit_seconds / self.seconds


def limit_seconds(case: Case) -> float:
    """The shortest time that the machine allows a run on one thread, by its limits as measured."""
    dtype = "float64" if case.dtype == "float64" else "float32"
    return max(case.flops / limit(dtype, 1), case.moved / bandwidth(case.working_set))


def measure(case: Case, rounds: int = 5) -> Point:
    """Time a kernel: the best of some calls, of `case.repeats` runs each."""
    case.run(1)  # compiles
    seconds = min(_seconds(case.run, case.repeats) for _ in range(rounds))
    return Point(case.kind, case.name, case.shape, case.dtype, seconds, case.flops, case.moved, limit_seconds(case))


def _seconds(run: Callable[[int], object], repeats: int) -> float:
    start = time.perf_counter()
    run(repeats)
    return (time.perf_counter() - start) / repeats


def rows(points: Iterable[Point]) -> list[tuple[str, ...]]:
    """A row of text for each point; columns as COLUMNS says."""
    return [
        (
            point.name,
            point.shape,
            point.dtype,
            f"{point.flops / point.seconds / 1e9:.1f}" if point.flops else "",
            f"{point.moved / point.seconds / 1e9:.1f}",
            f"{point.share:.0%}",
        )
        for point in points
    ]


def print_table(points: Sequence[Point], console) -> None:
    """One table of all points, on a rich console."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="kernels, 1 thread", box=SIMPLE, pad_edge=False)
    for i, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if i < 3 else "right", no_wrap=True)
    for row in rows(points):
        table.add_row(*row)
    console.print(table)


def as_json(points: Iterable[Point]) -> dict:
    """Every point and the limits, with machine and versions."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
        "limits": {
            "gflops": {dtype: limit(dtype, 1) / 1e9 for dtype in ("float32", "float64")},
            "gigabytes_per_second": {name: bandwidth(size) / 1e9 for name, size in LEVELS.items()},
        },
        "kernels": [
            {
                "kind": point.kind,
                "name": point.name,
                "shape": point.shape,
                "dtype": point.dtype,
                "seconds": point.seconds,
                "gflops": point.flops / point.seconds / 1e9,
                "gigabytes_per_second": point.moved / point.seconds / 1e9,
                "share_of_limit": point.share,
            }
            for point in points
        ],
    }


def write_json(points: Iterable[Point], path: Path) -> None:
    write_text(path, json.dumps(as_json(points), indent=1) + "\n")


def write_markdown(points: Iterable[Point], path: Path) -> None:
    """The page of results: machine, versions, limits and the table."""
    limits = as_json(())["limits"]
    numbers = [f"{value:.0f} GFLOP/s in {dtype}" for dtype, value in limits["gflops"].items()]
    numbers += [f"{value:.0f} GB/s from {name}" for name, value in limits["gigabytes_per_second"].items()]
    table = [markdown_row(COLUMNS), "|---|---|---|--:|--:|--:|", *map(markdown_row, rows(points))]
    lines = ["# Kernels, one thread", "", facts(), "", f"Limits: {', '.join(numbers)}.", "", *table]
    write_text(path, "\n".join(lines) + "\n")


def write_plot(points: Iterable[Point], path: Path) -> None:
    """Operations a second against operations a byte, a point a kernel, below the roofs of caches and memory."""
    from matplotlib.figure import Figure

    shown = [point for point in points if point.flops]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    lowest, highest = 0.03, 400.0
    for name, size in LEVELS.items():
        ridge = limit("float32", 1) / bandwidth(size)
        roof = bandwidth(size) / 1e9
        axes.plot([lowest, ridge], [lowest * roof, ridge * roof], color="#999999", linewidth=1)
        axes.annotate(f"{name} {roof:.0f} GB/s", (lowest, lowest * roof), fontsize=8, color="#666666", va="bottom")
    for dtype in dict.fromkeys(point.dtype for point in shown):
        peak = limit(dtype, 1) / 1e9
        axes.axhline(peak, color="black", linewidth=1)
        axes.annotate(
            f"multiply-adds, {dtype} {peak:.0f} GFLOP/s", (highest, peak), fontsize=8, ha="right", va="bottom"
        )
    for kind, marker in MARKERS.items():
        here = [point for point in shown if point.kind == kind]
        if here:
            x, y = [p.flops / p.moved for p in here], [p.flops / p.seconds / 1e9 for p in here]
            axes.scatter(x, y, marker=marker, s=22, label=kind, alpha=0.8, zorder=3)
            for point, a, b in zip(here, x, y, strict=True):
                if point.is_named:
                    axes.annotate(point.name, (a, b), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlim=(lowest, highest), title="Roofline, 1 thread")
    axes.set(xlabel="operations a byte", ylabel="GFLOP/s")
    axes.legend(loc="lower right", frameon=False)
    write_png(path, figure)
