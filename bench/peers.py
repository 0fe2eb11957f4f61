"""python -m bench.peers: the command `fastnn bench`, from a checkout."""

import typer

from fastnn.cli import run
from fastnn.cli.bench import bench

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench)
    run(app, "python -m bench.peers")
