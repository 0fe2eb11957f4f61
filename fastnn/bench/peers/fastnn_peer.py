"""fastnn itself, through its public names."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.bench.peers import PeerTrainer, missing_package
from fastnn.bench.workloads import LEARNING_RATE, Workload


def available() -> str | None:
    return missing_package("fastnn")


class Trainer(PeerTrainer):
    """A second fit continues the first, so an epoch is a fit of one epoch, and several are one fit of several.

    Its process has as many processors as it is to have threads; how many of them it takes is left to itself.
    """

    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None:
        import fastnn as fn

        output = "softmax" if workload.classifies else "linear"
        self.net = fn.MLP(list(workload.sizes), activation="relu", output=output, seed=0, dtype=workload.dtype)
        optimizer = fn.SGD(lr=LEARNING_RATE) if workload.optimizer == "sgd" else fn.Adam(lr=LEARNING_RATE)
        self.X, self.y = X, y
        self.options: dict[str, Any] = {
            "loss": workload.loss,
            "optimizer": optimizer,
            "batch_size": workload.batch,
            "progress": False,
        }

    def epoch(self) -> None:
        self.epochs(1)

    def epochs(self, count: int) -> None:
        self.net.fit(self.X, self.y, epochs=count, **self.options)
