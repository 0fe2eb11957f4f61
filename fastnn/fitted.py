"""What a network remembers of its fits, beside its weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.data.normalize import Normalization
from fastnn.losses import Loss
from fastnn_kernels import layout
from fastnn_kernels.optimizer import ADAM, states

if TYPE_CHECKING:
    from fastnn.training import Settings


@dataclass
class OptimizerState:
    """What an optimizer remembers between steps; a second fit goes on from here.

    kind: the optimizer's code; values: flat, laid out as the parameters, once a moment; steps and epochs done.
    """

    kind: int = ADAM
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: int = 0
    epochs: int = 0


@dataclass(frozen=True)
class LastRun:
    """What the last fit measured. samples_per_second: a value per epoch."""

    batch: int
    threads: int
    samples_per_second: list[float]


@dataclass
class Fitted:
    """classes: the labels in the order of the outputs, or None; normalization, loss: of the last fit, or None."""

    classes: np.ndarray | None = None
    normalization: Normalization | None = None
    loss: Loss | None = None
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    last_run: LastRun | None = None

    def after(
        self,
        classes: np.ndarray | None,
        normalization: Normalization | None,
        settings: Settings,
        count: int,
        dtype: np.dtype,
    ) -> Fitted:
        """What there is to remember once a fit has begun; count and dtype: of the parameters.

        Another optimizer than before starts afresh, the epochs go on.
        """
        state, chosen = self.optimizer, settings.optimizer
        size = states(chosen.code) * count
        if state.kind != chosen.code or len(state.values) != size:
            state = OptimizerState(chosen.code, layout.zeros(size, dtype), epochs=state.epochs)
        known = self.classes if classes is None else classes
        return replace(self, classes=known, normalization=normalization, loss=settings.loss, optimizer=state)
