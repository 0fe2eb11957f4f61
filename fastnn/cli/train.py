"""`fastnn train`: from a source of data to a model file and a picture of its learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import fastnn as fn
from fastnn.cli import options, tasks
from fastnn.data import load, train_test_split
from fastnn.data.sources import Dataset
from fastnn.errors import InputError
from fastnn.plots import learning_curves
from fastnn.reading import Reader

FEW_SAMPLES = 10_000  # fewer than these make short epochs: they get more of them, and smaller batches


@dataclass(frozen=True)
class Problem:
    """What to learn. kind: "classify" or "regress". X_test, y_test: None where nothing is held out."""

    name: str
    kind: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None
    y_test: np.ndarray | None
    outputs: int


def train(
    source: Annotated[str, typer.Argument(help="digits, a folder of IDX files, a .npz or a .csv file")] = "digits",
    layers: Annotated[str, typer.Option(help="sizes of the hidden layers")] = "512,512",
    activation: Annotated[str, typer.Option(help="activation of the hidden layers")] = "relu",
    norm: Annotated[str, typer.Option(help="of the hidden layers: none, batch or layer")] = "none",
    dropout: Annotated[float, typer.Option(help="share of the hidden units that are off in training")] = 0.0,
    optimizer: Annotated[
        str, typer.Option(help="adam, adamw, nadam, amsgrad, rmsprop, adagrad, sgd, momentum, nesterov")
    ] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="if not given, the optimizer's own")] = None,
    schedule: Annotated[
        str, typer.Option(help="of the learning rate: cosine (down to 0), constant, step, ...")
    ] = "cosine",
    batch_size: Annotated[
        str, typer.Option(help="samples in a step, or full; auto: 128, or 32 for fewer than 10,000 samples")
    ] = "auto",
    epochs: Annotated[int | None, typer.Option(help="if not given, 10, or 40 for fewer than 10,000 samples")] = None,
    penalty: Annotated[str | None, typer.Option(help="on the weights: l2=1e-4 or l1=1e-5")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="longest gradient of a step; longer ones are cut")] = None,
    loss: Annotated[
        str, typer.Option(help="auto: cross_entropy for classes, mse for numbers; huber, poisson, ...")
    ] = "auto",
    normalize: Annotated[
        str, typer.Option(help="none, standard, minmax or robust; auto: minmax for images, else standard")
    ] = "auto",
    augment: Annotated[
        str | None,
        typer.Option(help="change samples at random in every step: noise=0.1; images also rotate=10,shift=1,elastic=1"),
    ] = None,
    task: Annotated[str, typer.Option(help="classify, regress, or auto: floats are numbers to regress")] = "auto",
    target: Annotated[str | None, typer.Option(help="CSV: column to predict, name or place; else the last")] = None,
    validation: Annotated[float, typer.Option(help="share of the training samples to validate on")] = 0.1,
    test: Annotated[float, typer.Option(help="share held out to test on, where the source has no test part")] = 0.2,
    seed: Annotated[int, typer.Option(help="of the split, the weights and the order of samples")] = 0,
    threads: Annotated[int | None, typer.Option(help="if not given, as many as the work is worth")] = None,
    device: options.Device = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64")] = "float32",
    model: Annotated[Path, typer.Option(help="where to write the model")] = Path("model.safetensors"),
    curves: Annotated[Path, typer.Option(help="where to write the learning curves")] = Path("learning_curves.png"),
    progress: Annotated[bool, typer.Option(help="show the run as it goes")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="print nothing but errors")] = False,
) -> None:
    """Train a network; print its accuracy on held-out samples; write the model and its learning curves.

    Without a source it learns the 1,797 handwritten digits that the package carries.
    """
    hidden = options.hidden_sizes(layers)
    chosen_batch = options.batch_size(batch_size)
    fit_options: dict[str, Any] = {
        "loss": None if loss == "auto" else loss,
        "optimizer": options.optimizer(optimizer, learning_rate),
        "schedule": schedule,
        "penalty": options.penalty(penalty),
        "clip": options.clip(clip_norm),
        "validation": options.share(validation, "--validation") or None,
        "threads": threads,
        "device": device,
        "progress": progress and not quiet,
    }
    test_share = options.share(test, "--test")
    model, curves = options.output_path(model), options.output_path(curves)
    options.check_apart({"--model": model, "--curves": curves}, {"the source": source})
    say = (lambda text: None) if quiet else typer.echo

    changes = options.numbers(augment)
    problem, method, image_shape = read(source, target, task, test_share, seed, normalize)
    fit_options["augment"] = options.augmentation(changes, image_shape)
    say(describe(problem, loss))
    net = fn.MLP(
        [problem.X.shape[1], *hidden, problem.outputs],
        activation=activation,
        output="softmax" if problem.kind == "classify" else "linear",
        dtype=dtype,
        seed=seed,
        norm=None if norm == "none" else norm,
        dropout=dropout or None,
    )
    fit_options |= {"normalize": method} | size_of_run(len(problem.X), epochs, chosen_batch)
    check(net, problem, fit_options["loss"])
    history = fit_and_save(net, problem, fit_options, model)
    learning_curves(history, curves)
    if problem.X_test is not None and problem.y_test is not None:
        result = tasks.score(net, problem.kind, problem.X_test, problem.y_test, device)
        say(f"test {result} on {len(problem.y_test):,} samples")
    say(f"model            {model}\nlearning curves  {curves}")


def read(
    source: str, target: str | None, task: str, test_share: float, seed: int, normalize: str
) -> tuple[Problem, str | None, tuple[int, int] | None]:
    """The problem in a source, how to normalize it, and the shape of images; the rest of the data set is let go."""
    dataset = load(source, target)
    return pose(dataset, task, test_share, seed), normalization(normalize, dataset), dataset.image_shape


def pose(dataset: Dataset, task: str, test_share: float, seed: int) -> Problem:
    """The problem that a data set poses, with a test part held out where the source has none."""
    if dataset.y is None:
        raise InputError(f"{dataset.name} holds nothing to learn: it has no targets")
    kind = tasks.task_of(task, dataset.y)
    X, y = dataset.X, tasks.as_targets(kind, dataset.y)
    outputs = len(np.unique(y)) if kind == "classify" else y.reshape(len(y), -1).shape[1]
    if kind == "classify" and outputs < 2:
        raise InputError(f"{dataset.name} holds one class only: {y[0].item()!r}; there is nothing to tell apart")
    if dataset.X_test is not None and dataset.y_test is not None:
        return Problem(dataset.name, kind, X, y, dataset.X_test, tasks.as_targets(kind, dataset.y_test), outputs)
    if test_share == 0:
        return Problem(dataset.name, kind, X, y, None, None, outputs)
    X, X_test, y, y_test = train_test_split(X, y, test_share, seed)
    return Problem(dataset.name, kind, X, y, X_test, y_test, outputs)


def describe(problem: Problem, loss: str) -> str:
    """ "digits: 1,438 samples of 64 features in 10 classes, and 359 to test on"."""
    samples, features = problem.X.shape
    test = "" if problem.y_test is None else f", and {len(problem.y_test):,} to test on"
    if problem.kind == "classify":
        return f"{problem.name}: {samples:,} samples of {features:,} features in {problem.outputs:,} classes{test}"
    numbers = "a number" if problem.outputs == 1 else f"{problem.outputs:,} numbers"
    scaled = "" if loss == "poisson" else "; while training, losses are of numbers scaled to a deviation of 1"
    return f"{problem.name}: {samples:,} samples of {features:,} features and {numbers} to predict{test}{scaled}"


def normalization(name: str, dataset: Dataset) -> str | None:
    """What fit's normalize should be. "auto": nothing for pixels between 0 and 1, minmax for others, else standard."""
    if name != "auto":
        return None if name == "none" else name
    if dataset.image_shape is None:
        return "standard"
    return None if dataset.X.min() >= 0 and dataset.X.max() <= 1 else "minmax"


def size_of_run(samples: int, epochs: int | None, batch_size: int | str) -> dict[str, Any]:
    """Epochs and batch size, as asked or by the number of samples."""
    few = samples < FEW_SAMPLES
    return {
        "epochs": epochs if epochs is not None else 40 if few else 10,
        "batch_size": batch_size if batch_size != "auto" else 32 if few else 128,
    }


def check(net: fn.MLP, problem: Problem, loss: str | None) -> None:
    """Raises InputError for what the network cannot train or be tested on, before it is trained."""
    reader = Reader(net, net.fitted)
    chosen = reader.loss(loss)
    classes = reader.part(problem.X, problem.y, chosen).targets.classes
    if problem.X_test is not None:
        try:
            reader.part(problem.X_test, problem.y_test, chosen, classes)
        except InputError as error:
            raise InputError(f"in the test part: {error}") from error


def fit_and_save(net: fn.MLP, problem: Problem, fit_options: dict[str, Any], model: Path) -> fn.History:
    """Train and write the model, also where Ctrl-C ends it early."""
    try:
        history = fit(net, problem, fit_options)
    except KeyboardInterrupt:
        net.save(model)
        typer.echo(f"stopped; the model so far is in {model}", err=True)
        raise
    net.save(model)
    return history


def fit(net: fn.MLP, problem: Problem, fit_options: dict[str, Any]) -> fn.History:
    """Train, numbers to regress in units of their standard deviation: the last layer carries the units afterwards.

    Counts, whose logarithm poisson learns, stay as they are.
    """
    if problem.kind == "classify" or fit_options["loss"] == "poisson":
        return net.fit(problem.X, problem.y, **fit_options)
    mean, deviation = problem.y.mean(axis=0), problem.y.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    try:
        return net.fit(problem.X, (problem.y - mean) / deviation, **fit_options)
    finally:
        *below, (W, b) = net.weights
        net.set_weights([*below, (W * deviation, b * deviation + mean)])
