"""The mean of the weights over the last epochs: what a falling learning rate would reach, without one.

Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; Izmailov et al., Averaging
Weights Leads to Wider Optima and Better Generalization, 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.callbacks import Callback
from fastnn.training import History

if TYPE_CHECKING:
    from fastnn.network import MLP


class AverageWeights(Callback):
    """When training ends, put the mean of the weights after each of the last epochs in the place of the last ones.

    epochs: of the whole run. last: how many to average over; of a short run at most half are.
    """

    def __init__(self, epochs: int, last: int) -> None:
        self._last = min(last, epochs // 2)
        self._first = epochs - self._last + 1
        self._sums: list[list[np.ndarray]] = []

    def epoch_end(self, net: MLP, history: History) -> None:
        if self._last < 2 or len(history.loss) < self._first:
            return
        weights = [list(pair) for pair in net.weights]
        if not self._sums:
            self._sums = weights
            return
        for sums, pair in zip(self._sums, weights, strict=True):
            for total, values in zip(sums, pair, strict=True):
                total += values

    def fit_end(self, net: MLP, history: History) -> None:
        if self._sums:
            net.set_weights([[total / self._last for total in sums] for sums in self._sums])
