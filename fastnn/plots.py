"""Pictures of a run. They are drawn without pyplot: no window, no global state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastnn import checks, inputs
from fastnn.errors import InputError
from fastnn.files.atomic import write_png
from fastnn.progress import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastnn.augment import Image
    from fastnn.diagnostics import Diagnosis, LayerDiagnosis
    from fastnn.network import MLP
    from fastnn.range_test import RangeTest
    from fastnn.training import History

TRAINING, VALIDATION, INK, GRID = "#2563a8", "#d9731a", "#333333", "#e3e3e3"
LOG_SCALE_FROM = 20.0
SUBJECTS = {  # of diagnostics
    "gradient_norm": "Gradient norm",
    "saturated_3": "Units beyond abs(z) = 3",
    "saturated_6": "Units beyond abs(z) = 6",
    "dead": "Dead ReLUs",
    "weight_deviation": "Deviation of weights",
    "zeros": "Weights that are 0",
}


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


def diagnostics(history: History, path: str | os.PathLike[str] | None = None) -> Figure:
    """What fn.Diagnostics saw, against the epoch, a line a layer: gradient norms, saturated units, dead ReLUs, weights.

    Quantities that no layer has are left out, and the share of zeros where there are none. With an L1 penalty that
    share is drawn of all layers together as well, even where fn.Diagnostics was not there. history, path, errors: as in
    learning_curves.
    """
    shown = _subjects(history)
    if not shown:
        raise InputError("the history has no diagnostics to draw: give fn.Diagnostics() to fit as a callback first")
    figure, panels = _canvas(len(shown))
    for axes, name in zip(panels, shown, strict=True):
        _draw_layers(axes, history.diagnostics, name)
        if name == "zeros" and history.zeros:
            axes.plot(range(1, len(history.zeros) + 1), history.zeros, color=INK, linewidth=1.5, label="all layers")
        if name == "gradient_norm" and all(layer.gradient_norm > 0 for layer in _layers(history)):
            axes.set_yscale("log")
        _style(axes, SUBJECTS[name], "epoch")
        axes.legend(frameon=False, labelcolor=INK, fontsize=7)
    return _written(figure, path)


def _layers(history: History) -> list[LayerDiagnosis]:
    return [layer for look in history.diagnostics for layer in look.layers]


def _subjects(history: History) -> list[str]:
    """The quantities of which there is something to draw."""
    layers = _layers(history)
    has_zeros = bool(history.zeros) or any(layer.zeros > 0 for layer in layers)
    known = [name for name in SUBJECTS if any(getattr(layer, name) is not None for layer in layers)]
    return [name for name in known if name != "zeros"] + ["zeros"] * has_zeros


def _draw_layers(axes: Any, looks: list[Diagnosis], name: str) -> None:
    """A quantity of every layer that has it, against the epoch."""
    for number, layer in enumerate(looks[0].layers if looks else ()):
        values = [getattr(look.layers[number], name) for look in looks]
        if values[0] is not None:
            shade = _shade(number, len(looks[0].layers))
            axes.plot([look.epoch for look in looks], values, linewidth=1.5, label=layer.label, color=shade)


def weight_distribution(history: History, path: str | os.PathLike[str] | None = None) -> Figure:
    """How the weights are distributed, against the epoch, a panel a layer: what fn.Diagnostics saw.

    A line at the median, bands that hold the middle half and the middle 9 of 10 of the weights, dotted lines at the
    least and the largest. history, path, errors: as in learning_curves.
    """
    looks = history.diagnostics
    if not looks:
        raise InputError("the history has no diagnostics to draw: give fn.Diagnostics() to fit as a callback first")
    epochs = [look.epoch for look in looks]
    figure, panels = _canvas(len(looks[0].layers))
    for number, axes in enumerate(panels):
        least, low, lower, median, upper, high, largest = zip(
            *(look.layers[number].weight_quantiles for look in looks), strict=True
        )
        for below, above in ((low, high), (lower, upper)):
            axes.fill_between(epochs, below, above, color=TRAINING, alpha=0.25, linewidth=0)
        axes.plot(epochs, median, color=TRAINING, linewidth=1.8)
        for extreme in (least, largest):
            axes.plot(epochs, extreme, color=TRAINING, linewidth=0.8, linestyle=":")
        _style(axes, looks[0].layers[number].label, "epoch")
    return _written(figure, path)


def weight_histogram(net: MLP, path: str | os.PathLike[str] | None = None) -> Figure:
    """How often each weight occurs, a panel a layer; biases are left out. path: as in learning_curves."""
    figure, panels = _canvas(len(net.layers))
    for number, (axes, (W, _)) in enumerate(zip(panels, net.weights, strict=True), start=1):
        axes.hist(W.ravel(), bins=60, color=TRAINING)
        _style(axes, f"{number} {net.layers[number - 1].function.label}", "weight")
    return _written(figure, path)


def overfitting_gap(history: History, path: str | os.PathLike[str] | None = None) -> Figure:
    """history.gap and, where there are accuracies, history.accuracy_gap against the epoch.

    path, errors: as in learning_curves.
    """
    gaps = {
        "Validation loss - training loss": history.gap,
        "Training accuracy - validation accuracy": history.accuracy_gap,
    }
    drawn = {title: gap for title, gap in gaps.items() if gap}
    if not drawn:
        raise InputError("there is no gap to draw: fit the network with validation=... first")
    figure, panels = _canvas(len(drawn))
    for axes, (title, gap) in zip(panels, drawn.items(), strict=True):
        axes.plot(range(1, len(gap) + 1), gap, color=VALIDATION, linewidth=1.8)
        axes.axhline(0, color="#999999", linewidth=0.8)
        _style(axes, title, "epoch")
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


def _shade(number: int, layers: int) -> Any:
    """The color of a layer: dark for the first, light for the last."""
    import matplotlib

    return matplotlib.colormaps["viridis"](number / layers)


def _written(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        write_png(path, figure)
    return figure
