"""Command line: python -m bench.peers"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.environment import processors
from bench.peers import PEERS, report, turns
from bench.workloads import OPTIMIZERS, WORKLOADS, Workload, find, parse


def main(
    workload: Annotated[
        list[str] | None, typer.Option(help=f"Workload to run, repeatable; all by default: {', '.join(WORKLOADS)}.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Any network instead, as 783-130-11.")] = None,
    batch: Annotated[str, typer.Option(help="Its batch size, or full.")] = "128",
    samples: Annotated[int | None, typer.Option(help="Samples in its epoch; a fitting number by default.")] = None,
    optimizer: Annotated[str, typer.Option(help=f"Its optimizer: {' or '.join(OPTIMIZERS)}.")] = "adam",
    peers: Annotated[str, typer.Option(help="Peers to compare, with commas between.")] = ",".join(PEERS),
    threads: Annotated[
        list[int] | None, typer.Option(help="Number of threads and processors, repeatable; 1 and all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every peer; medians are taken over them.")] = 7,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw throughput by workload into this file.")] = None,
) -> None:
    """Time fastnn against its peers, side by side: one turn of each after the other, medians, ratios."""
    console = Console()
    try:
        chosen = _workloads(workload, network, batch, optimizer, samples, console)
        named = _peers(peers)
        numbers = _threads(threads)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    comparisons = []
    with console.status("starting") as status:
        for number in numbers:
            text = f"{number} thread{'s' if number > 1 else ''}: "
            comparisons += turns.compare(
                chosen, named, number, rounds, lambda what, text=text: status.update(text + what)
            )
    report.print_tables(comparisons, console)
    for write, path in ((report.write_json, json), (report.write_markdown, markdown), (report.write_plot, plot)):
        if path is not None:
            write(comparisons, path)
            console.print(f"wrote {path}")


def _workloads(names, network, batch, optimizer, samples, console) -> list[Workload]:
    if network is not None:
        if names:
            raise ValueError("give --workload or --network, not both")
        return [parse(network, batch, optimizer, samples)]
    chosen = []
    for wanted in [find(name) for name in names or WORKLOADS]:
        if (reason := wanted.missing()) is None:
            chosen.append(wanted)
        else:
            console.print(f"{wanted.name} is left out: {reason}")
    if not chosen:
        raise ValueError("no workload is left to run")
    return chosen


def _peers(text: str) -> list[str]:
    named = [name.strip() for name in text.split(",") if name.strip()]
    for name in named:
        if name not in PEERS:
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
    if not named:
        raise ValueError(f"name one peer at least; there are {', '.join(PEERS)}")
    return named


def _threads(numbers: list[int] | None) -> list[int]:
    for number in numbers or ():
        if not 1 <= number <= processors():
            raise ValueError(f"--threads must be 1 to {processors()}, the processors here, not {number}")
    return sorted(set(numbers or (1, processors())))


if __name__ == "__main__":
    typer.run(main)
