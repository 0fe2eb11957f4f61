"""`fastnn evaluate` and `fastnn predict`: what a trained model makes of data."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import fastnn as fn
from fastnn.cli import options, tasks
from fastnn.data import load, train_test_split
from fastnn.data.sources import Dataset
from fastnn.errors import InputError
from fastnn.files.atomic import replacing

Model = Annotated[Path, typer.Argument(help="a model that train wrote")]
Target = Annotated[str | None, typer.Option(help="CSV: column to predict, name or place; else the last")]


def evaluate(
    model: Model,
    source: Annotated[str, typer.Argument(help="digits, a folder of IDX files, a .npz or a .csv file")] = "digits",
    target: Target = None,
    test: Annotated[
        float | None, typer.Option(help="look only at the share that train --test held out (digits: 0.2, else all)")
    ] = None,
    seed: Annotated[int, typer.Option(help="the seed that train had")] = 0,
    device: options.Device = "cpu",
) -> None:
    """Print a model's accuracy (R^2 for regression) on the source's test part, or on all its samples."""
    net = fn.MLP.load(model)
    dataset = load(source, target)
    kind = kind_of(net)
    X, y, which = evaluated_part(dataset, kind, test, seed)
    typer.echo(f"{which}: {tasks.score(net, kind, X, y, device)} on {len(y):,} samples")


def predict(
    model: Model,
    source: Annotated[str, typer.Argument(help="digits, a folder of IDX files, a .npz or a .csv file")],
    output: Annotated[Path, typer.Option(help="where to write")] = Path("predictions.csv"),
    target: Target = None,
    device: options.Device = "cpu",
) -> None:
    """Write a CSV table of predictions: the class and each class' probability, or the numbers.

    Of a source with a test part that part is predicted. A CSV table may lack the column to predict.
    """
    output = options.output_path(output)
    options.check_apart({"--output": output}, {"the model": model, "the source": source})
    net = fn.MLP.load(model)
    dataset = load(source, target, features=net.n_in)
    X = dataset.X if dataset.X_test is None else dataset.X_test
    outputs = tasks.answers(net, X, device)
    if net.classes_ is None:
        write_table(output, [f"output_{i + 1}" for i in range(net.n_out)], None, outputs)
    else:
        names = net.classes_[-net.n_out :]  # a single output is the probability of the second class
        write_table(output, ["class", *map(str, names)], net.predict_class(X, device=device), outputs)
    typer.echo(f"{len(X):,} predictions in {output}")


def kind_of(net: Any) -> str:
    return "classify" if net.classes_ is not None else "regress"


def evaluated_part(dataset: Dataset, kind: str, test: float | None, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """X, y and a name of the samples to evaluate on."""
    if dataset.X_test is not None and dataset.y_test is not None:
        return dataset.X_test, tasks.as_targets(kind, dataset.y_test), f"test part of {dataset.name}"
    if dataset.y is None:
        raise InputError(f"{dataset.name} has no targets to compare with")
    y = tasks.as_targets(kind, dataset.y)
    share = options.share(test, "--test") if test is not None else 0.2 if dataset.name == "digits" else 0
    if share == 0:
        return dataset.X, y, f"all of {dataset.name}"
    _, X_test, _, y_test = train_test_split(dataset.X, y, share, seed)
    return X_test, y_test, f"held-out part of {dataset.name}"


def write_table(path: Path, header: list[str], labels: np.ndarray | None, outputs: np.ndarray) -> None:
    """Rows of label, if any, and outputs; the file is replaced whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for i, row in enumerate(outputs):
            digits = row.astype(str)  # as few as tell the numbers of the dtype apart
            writer.writerow(digits if labels is None else [labels[i], *digits])
