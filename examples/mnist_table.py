"""MNIST test accuracy by technique: a network of two hidden layers, one line for everything that is added to it.

    python examples/mnist_table.py FOLDER [--only NAME] [--epochs N] [--out FILE]

FOLDER: the four IDX files of MNIST. Writes the table as Markdown. The test samples are looked at once, at the end of
each run: no run was stopped by them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastnn as fn

EPOCHS = 10
BENT = fn.augment.Image(28, 28, rotate=10, scale=(0.9, 1.1), shift=2, elastic=1.0)


@dataclass(frozen=True)
class Technique:
    """A line of the table. layer, units: of both hidden layers; fit: of MLP.fit; times: epochs, as a factor."""

    name: str
    layer: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    times: int = 1
    units: int = 512


TECHNIQUES = (
    Technique("plain"),
    Technique("L2, lambda 1", fit={"penalty": fn.L2(1.0)}),
    Technique("dropout 0.5", {"dropout": 0.5}, times=2),
    Technique("batch norm", {"norm": "batch"}),
    Technique(
        "1,024 units, batch norm, dropout 0.3, label smoothing, average of weights",
        {"norm": "batch", "dropout": 0.3},
        {"loss": fn.CrossEntropy(label_smoothing=0.1), "average": fn.EMA(0.999)},
        times=2,
        units=1024,
    ),
    Technique("augmentation, batch norm", {"norm": "batch"}, {"augment": BENT}, times=3),
)


def run(technique: Technique, data: fn.data.Dataset, epochs: int) -> tuple[int, float, float]:
    """Epochs, seconds and test accuracy."""
    hidden = [fn.Dense(technique.units, "relu", **technique.layer) for _ in range(2)]
    net = fn.MLP(784, [*hidden, fn.Dense(10, "softmax")], seed=0)
    epochs, start = epochs * technique.times, time.perf_counter()
    net.fit(data.X, data.y, optimizer=fn.Adam(1e-3), schedule="cosine", epochs=epochs, **technique.fit)
    return epochs, time.perf_counter() - start, net.evaluate(data.X_test, data.y_test)["accuracy"]


def table(lines: list[tuple[str, int, float, float]]) -> str:
    """The results as Markdown."""
    rows = [f"| {name} | {epochs} | {seconds:.0f} s | {accuracy:.4f} |" for name, epochs, seconds, accuracy in lines]
    return "\n".join(["| technique | epochs | time | test accuracy |", "|---|---|---|---|", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", help="part of a technique's name")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=Path("mnist_table.md"))
    options = parser.parse_args()
    data, lines = fn.data.load(options.folder), []
    for technique in TECHNIQUES:
        if options.only is None or options.only in technique.name:
            lines.append((technique.name, *run(technique, data, options.epochs)))
            options.out.write_text(table(lines))
    print(options.out.read_text(), end="")


if __name__ == "__main__":
    main()
