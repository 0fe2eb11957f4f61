"""Pictures of a run. They are drawn without pyplot: no window, no global state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastnn import checks, inputs
from fastnn import diagnostics as diagnosis
from fastnn.errors import InputError
from fastnn.files.atomic import replacing
from fastnn.progress import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastnn.augment import Image
    from fastnn.diagnostics import Diagnostics
    from fastnn.network import MLP
    from fastnn.range_test import RangeTest
    from fastnn.training import History

TRAINING, VALIDATION, INK, GRID = "#2563a8", "#d9731a", "#333333", "#e3e3e3"
LOG_SCALE_FROM = 20.0


def learning_curves(history: Curves, path: str | os.PathLike[str] | None = None) -> Figure:
    """Loss and, where there is any, accuracy against the epoch, in training and validation.

    history: what `fit` returns. path: where to write a PNG as well; an existing file is replaced whole or not at all.
    A loss that falls to less than a twentieth is drawn on a logarithmic scale.

    Returns a matplotlib Figure. Raises InputError for a history of no epochs, FileError for a path that cannot be
    written.
    """
    if not history.loss:
        raise InputError("the history has no epochs to draw: fit the network first")
    has_accuracy = bool(history.accuracy or history.validation_accuracy)
    figure, panels = _canvas(2 if has_accuracy else 1, width=4.8 if has_accuracy else 5.2, height=3.8)
    _draw(panels[0], "Loss", history.loss, history.validation_loss, ".4g")
    positive = [value for value in (*history.loss, *history.validation_loss) if value > 0]
    if len(positive) == len(history.loss) + len(history.validation_loss) and max(positive) > LOG_SCALE_FROM * min(
        positive
    ):
        panels[0].set_yscale("log")
    if has_accuracy:
        _draw(panels[1], "Accuracy", history.accuracy, history.validation_accuracy, ".4f")
        panels[1].margins(y=0.08)
    return _written(figure, path)


def _draw(axes: Any, title: str, training: list[float], validation: list[float], form: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, color, values in (("training", TRAINING, training), ("validation", VALIDATION, validation)):
        if values:
            marker = "o" if len(values) <= 25 else ""
            epochs = range(1, len(values) + 1)
            label = f"{name}  {values[-1]:{form}}"
            axes.plot(epochs, values, color=color, linewidth=1.8, marker=marker, markersize=3.5, label=label)
    _style(axes, title, "epoch")
    axes.legend(frameon=False, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _style(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xlabel(below, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")


def learning_rate_search(result: RangeTest, path: str | os.PathLike[str] | None = None) -> Figure:
    """The loss against the learning rate of a range test, smoothed and as it was, with the suggested rate.

    result: what `find_learning_rate` returns. path: as in learning_curves. Raises FileError for a path that cannot be
    written.
    """
    figure, (axes,) = _canvas(1)
    axes.plot(result.rates, result.losses, color=GRID, linewidth=1.2)
    axes.plot(result.rates, result.smoothed, color=TRAINING, linewidth=1.8, label="loss, smoothed")
    axes.axvline(result.suggestion, color=VALIDATION, linewidth=1.2, label=f"suggestion  {result.suggestion:.2g}")
    axes.set_xscale("log")
    _style(axes, "Learning rate range test", "learning rate")
    axes.legend(frameon=False, labelcolor=INK)
    return _written(figure, path)


def diagnostics(looks: Diagnostics, path: str | os.PathLike[str] | None = None) -> Figure:
    """Gradient norms, saturated and dead units and the weights' deviation against the epoch, a line a layer.

    looks: the fn.Diagnostics that a fit was given. path, errors: as in learning_curves.
    """
    if not looks.layers:
        raise InputError("the diagnostics have no epochs to draw: give them to fit as a callback first")
    subjects = {
        "gradient_norm": "Gradient norm",
        "saturated": "Saturated units",
        "dead": "Dead ReLUs",
        "weight_deviation": "Deviation of weights",
    }
    known = [name for name in subjects if any(getattr(layer, name) is not None for layer in looks.layers[0])]
    figure, panels = _canvas(len(known))
    for axes, name in zip(panels, known, strict=True):
        for number, layer in enumerate(looks.layers[0]):
            values = [getattr(layers[number], name) for layers in looks.layers]
            if values[0] is not None:
                axes.plot(looks.epochs, values, linewidth=1.5, label=layer.label, color=_shade(number, looks.layers[0]))
        _style(axes, subjects[name], "epoch")
        axes.legend(frameon=False, labelcolor=INK, fontsize=7)
    if all(layer.gradient_norm > 0 for layers in looks.layers for layer in layers):
        panels[0].set_yscale("log")
    return _written(figure, path)


def weight_histogram(net: MLP, path: str | os.PathLike[str] | None = None) -> Figure:
    """How often each weight occurs, a panel a layer; biases are left out. path: as in learning_curves."""
    figure, panels = _canvas(len(net.layers))
    for number, (axes, (W, _)) in enumerate(zip(panels, net.weights, strict=True), start=1):
        axes.hist(W.ravel(), bins=60, color=TRAINING)
        _style(axes, f"{number} {net.layers[number - 1].function.label}", "weight")
    return _written(figure, path)


def overfitting_gap(history: History, path: str | os.PathLike[str] | None = None) -> Figure:
    """Validation loss - training loss against the epoch. path, errors: as in learning_curves."""
    gap = diagnosis.overfitting_gap(history)
    if not gap:
        raise InputError("there is no gap to draw: fit the network with validation=... first")
    figure, panels = _canvas(1)
    panels[0].plot(range(1, len(gap) + 1), gap, color=VALIDATION, linewidth=1.8)
    panels[0].axhline(0, color="#999999", linewidth=0.8)
    _style(panels[0], "Validation loss - training loss", "epoch")
    return _written(figure, path)


def augmented(
    X: Any, augment: Image, samples: int = 8, versions: int = 5, path: str | os.PathLike[str] | None = None
) -> Figure:
    """The first samples of X, a row each: as they are, and beside it as `versions` steps might see them.

    augment: an fn.augment.Image. path: as in learning_curves.
    """
    from fastnn.augment import Image

    if not isinstance(augment, Image):
        raise InputError(f"there are pictures of fastnn.augment.Image only, got {augment!r}")
    some = inputs.numeric("X", X)[: checks.whole("samples", samples)]
    count = checks.whole("versions", versions)
    columns = [some, *(augment.apply(some, seed) for seed in range(count))]
    figure, panels = _canvas(len(some) * len(columns), len(columns), 0.9, 0.9)
    for place, axes in enumerate(panels):
        image = columns[place % len(columns)][place // len(columns)].reshape(augment.height, augment.width)
        axes.imshow(image, cmap="gray_r", vmin=some.min(), vmax=some.max())
        axes.set_axis_off()
    return _written(figure, path)


def _canvas(panels: int, columns: int = 2, width: float = 4.8, height: float = 3.2) -> tuple[Figure, list[Any]]:
    """A figure with so many panels, `columns` in a row; those that would be left over are not there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]


def _shade(number: int, layers: list[Any]) -> Any:
    """The color of a layer: dark for the first, light for the last."""
    import matplotlib

    return matplotlib.colormaps["viridis"](number / len(layers))


def _written(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure
