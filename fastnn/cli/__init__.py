"""The command line: train, evaluate, predict, info, warmup, bench."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fastnn import __version__
from fastnn.cli import about, apply, bench, train
from fastnn.errors import FastnnError

INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastnn {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="fastnn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (train.train, apply.evaluate, apply.predict, about.info, about.warmup, bench.bench):
    app.command()(command)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    """Train multilayer perceptrons fast, on the CPU or a GPU."""


def main() -> None:
    """Run the command line."""
    run(app, "fastnn")


def run(app: typer.Typer, name: str) -> None:
    """Run an app as the program `name`; an error is one line on stderr and exit code 1, wrong usage 2, Ctrl-C 130."""
    try:
        app(prog_name=name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (FastnnError, OSError) as error:
        _fail(str(error))
    except MemoryError:
        _fail("not enough memory for this data and network")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
