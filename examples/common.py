"""What all examples share: the digits, where pictures go, and curves side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fastnn as fn


def digits(test: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X_train, X_test, y_train, y_test with pixels from 0 to 1."""
    X, y = fn.data.digits()
    return fn.train_test_split(X / 16, y, test=test)


def picture(script: str) -> Path:
    """Where a script writes: beside itself, or into the folder that `--out FOLDER` names."""
    folder = Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else Path(script).parent
    return folder / f"{Path(script).stem}.png"


def curves(path: Path, titles: tuple[str, ...], lines: dict[str, tuple[list[float], ...]], log: bool = True) -> None:
    """A panel a title; lines: a name, and values against the epoch for every panel."""
    figure = Figure(figsize=(5 * len(titles), 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, title in enumerate(titles):
        axes = figure.add_subplot(1, len(titles), number + 1)
        for name, values in lines.items():
            axes.plot(range(1, len(values[number]) + 1), values[number], label=name)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.set_yscale("log" if log else "linear")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
    print(f"picture: {path}")
