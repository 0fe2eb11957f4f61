"""What a comparison looks like: a table, JSON, Markdown, a picture."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from fastnn.bench.environment import ON_DEVICE, machine, versions
from fastnn.bench.turns import Comparison, Result
from fastnn.files.atomic import write_png, write_text

COLUMNS = ("workload", "peer", "samples/s", "ratio", "GFLOP/s", "of limit", "start s")
NOTE = (
    "ratio: to the best other peer; of limit: share of the measured fused multiply-add limit; "
    "start: building the network and its first epoch, less a later epoch: mostly compiling."
)


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row of text for every peer that was measured, fastest first; columns as COLUMNS says."""
    measured = [result for result in comparison.results if result.reason is None]
    return [
        (comparison.workload.name, result.peer, *_figures(comparison, result))
        for result in sorted(measured, key=lambda result: result.median)
    ]


def _figures(comparison: Comparison, result: Result) -> tuple[str, ...]:
    ratio = comparison.ratio(result)
    return (
        f"{comparison.samples_per_second(result):,.0f}",
        "" if math.isnan(ratio) else f"{ratio:.2f}",
        f"{comparison.flops(result) / 1e9:.1f}",
        f"{comparison.share(result):.0%}",
        f"{result.start_seconds:.1f}",
    )


def left_out(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for every peer that could not be measured, with the reason."""
    return [
        f"{result.peer} is left out of {comparison.workload.name}, {title(comparison.threads)}: {result.reason}"
        for comparison in comparisons
        for result in comparison.results
        if result.reason is not None
    ]


def _by_threads(comparisons: Sequence[Comparison]) -> dict[int, list[Comparison]]:
    numbers = sorted({comparison.threads for comparison in comparisons})
    return {number: [c for c in comparisons if c.threads == number] for number in numbers}


def title(threads: int) -> str:
    if threads == ON_DEVICE:
        return "GPU"
    return f"{threads} thread" + ("s" if threads > 1 else "")


def print_tables(comparisons: Sequence[Comparison], console) -> None:
    """A table for each number of threads, on a rich console."""
    from rich.box import SIMPLE
    from rich.table import Table

    for threads, group in _by_threads(comparisons).items():
        limits = {c.workload.dtype: f"{c.limit / 1e9:.0f} GFLOP/s in {c.workload.dtype}" for c in group}
        table = Table(title=f"{title(threads)}; limit {', '.join(limits.values())}", box=SIMPLE, pad_edge=False)
        for i, column in enumerate(COLUMNS):
            table.add_column(column, justify="left" if i < 2 else "right", no_wrap=i > 0)
        for comparison in group:
            for i, row in enumerate(rows(comparison)):
                shown = row if i == 0 else ("", *row[1:])
                table.add_row(*shown, style="bold" if row[1] == "fastnn" else None)
            table.add_section()
        console.print(table)
    for line in left_out(comparisons):
        console.print(line, soft_wrap=True)
    console.print(NOTE)


def as_json(comparisons: Sequence[Comparison]) -> dict:
    """Everything measured, every round of it, with machine and versions."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
        "comparisons": [_comparison_as_json(comparison) for comparison in comparisons],
    }


def _comparison_as_json(comparison: Comparison) -> dict:
    workload = comparison.workload
    return {
        "workload": {
            "name": workload.name,
            "sizes": list(workload.sizes),
            "batch": workload.batch,
            "samples": workload.samples,
            "optimizer": workload.optimizer,
            "loss": workload.loss,
            "dtype": workload.dtype,
            "flops_per_sample": workload.flops_per_sample,
        },
        "threads": comparison.threads,
        "limit_gflops": comparison.limit / 1e9,
        "peers": {result.peer: _result_as_json(comparison, result) for result in comparison.results},
    }


def _result_as_json(comparison: Comparison, result: Result) -> dict:
    if result.reason is not None:
        return {"left_out": result.reason}
    ratio = comparison.ratio(result)
    return {
        "samples_per_second": comparison.samples_per_second(result),
        "ratio": None if math.isnan(ratio) else ratio,
        "gflops": comparison.flops(result) / 1e9,
        "share_of_limit": comparison.share(result),
        "start_seconds": result.start_seconds,
        "epoch_seconds": result.epoch_seconds,
    }


def write_json(comparisons: Sequence[Comparison], path: Path) -> None:
    write_text(path, json.dumps(as_json(comparisons), indent=1) + "\n")


def write_markdown(comparisons: Sequence[Comparison], path: Path) -> None:
    """The page of results: machine, versions and the tables."""
    lines = [
        "# Results",
        "",
        facts(),
        "",
        f"Medians of interleaved rounds. {NOTE[0].upper()}{NOTE[1:]}",
    ]
    for threads, group in _by_threads(comparisons).items():
        lines += ["", f"## {title(threads).capitalize()}", "", markdown_row(COLUMNS)]
        lines += ["|---|---|" + "--:|" * (len(COLUMNS) - 2)]
        lines += [markdown_row(row) for comparison in group for row in rows(comparison)]
    reasons = left_out(comparisons)
    if reasons:
        lines += ["", *(f"- {reason}" for reason in reasons)]
    write_text(path, "\n".join(lines) + "\n")


def facts() -> str:
    """Machine and versions as a sentence."""
    here = machine()
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{here['processor']}, {here['processors']} processors, {here['system']}, Python {here['python']}; {names}."


def markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Throughput by workload, a panel for each number of threads, a bar for each peer, and the limit as a line."""
    from matplotlib.figure import Figure

    groups = _by_threads(comparisons)
    figure = Figure(figsize=(11, 4 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), squeeze=False)[:, 0]
    for axes, (threads, group) in zip(panels, groups.items(), strict=True):
        _draw(axes, group)
        axes.set_title(title(threads))
    write_png(path, figure)


def _draw(axes, comparisons: Sequence[Comparison]) -> None:
    peers = list(dict.fromkeys(result.peer for comparison in comparisons for result in comparison.results))
    width = 0.8 / len(peers)
    for i, peer in enumerate(peers):
        bars = [
            (x + (i - (len(peers) - 1) / 2) * width, comparison.samples_per_second(result))
            for x, comparison in enumerate(comparisons)
            for result in comparison.results
            if result.peer == peer and result.reason is None
        ]
        if bars:
            axes.bar(*zip(*bars, strict=True), width=width, label=peer)
    for x, comparison in enumerate(comparisons):
        limit = comparison.limit / comparison.workload.flops_per_sample
        axes.hlines(limit, x - 0.45, x + 0.45, colors="black", label="limit" if x == 0 else None)
    axes.set_xticks(range(len(comparisons)), [comparison.workload.name for comparison in comparisons])
    axes.set_yscale("log")
    axes.set_ylabel("samples per second")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
