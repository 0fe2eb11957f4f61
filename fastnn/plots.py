"""Pictures of a run. They are drawn without pyplot: no window, no global state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastnn.errors import InputError
from fastnn.files.atomic import replacing
from fastnn.progress import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastnn.range_test import RangeTest

TRAINING, VALIDATION, INK, GRID = "#2563a8", "#d9731a", "#333333", "#e3e3e3"
LOG_SCALE_FROM = 20.0


def learning_curves(history: Curves, path: str | os.PathLike[str] | None = None) -> Figure:
    """Loss and, where there is any, accuracy against the epoch, in training and validation.

    history: what `fit` returns. path: where to write a PNG as well; an existing file is replaced whole or not at all.
    A loss that falls to less than a twentieth is drawn on a logarithmic scale.

    Returns a matplotlib Figure. Raises InputError for a history of no epochs, FileError for a path that cannot be
    written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not history.loss:
        raise InputError("the history has no epochs to draw: fit the network first")
    has_accuracy = bool(history.accuracy or history.validation_accuracy)
    figure = Figure(figsize=(9.6 if has_accuracy else 5.2, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if has_accuracy else 1, squeeze=False)[0]
    _draw(panels[0], "Loss", history.loss, history.validation_loss, ".4g")
    positive = [value for value in (*history.loss, *history.validation_loss) if value > 0]
    if len(positive) == len(history.loss) + len(history.validation_loss) and max(positive) > LOG_SCALE_FROM * min(
        positive
    ):
        panels[0].set_yscale("log")
    if has_accuracy:
        _draw(panels[1], "Accuracy", history.accuracy, history.validation_accuracy, ".4f")
        panels[1].margins(y=0.08)
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure


def _draw(axes: Any, title: str, training: list[float], validation: list[float], form: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, color, values in (("training", TRAINING, training), ("validation", VALIDATION, validation)):
        if values:
            marker = "o" if len(values) <= 25 else ""
            epochs = range(1, len(values) + 1)
            label = f"{name}  {values[-1]:{form}}"
            axes.plot(epochs, values, color=color, linewidth=1.8, marker=marker, markersize=3.5, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _dress(axes, title, "epoch")


def _dress(axes: Any, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xlabel(x_label, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    axes.legend(frameon=False, labelcolor=INK)


def learning_rate_search(result: RangeTest, path: str | os.PathLike[str] | None = None) -> Figure:
    """The loss against the learning rate of a range test, smoothed and as it was, with the suggested rate.

    result: what `find_learning_rate` returns. path: as in learning_curves. Raises FileError for a path that cannot be
    written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(result.rates, result.losses, color=GRID, linewidth=1.2)
    axes.plot(result.rates, result.smoothed, color=TRAINING, linewidth=1.8, label="loss, smoothed")
    axes.axvline(result.suggestion, color=VALIDATION, linewidth=1.2, label=f"suggestion  {result.suggestion:.2g}")
    axes.set_xscale("log")
    _dress(axes, "Learning rate range test", "learning rate")
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure
