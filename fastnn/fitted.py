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

    kind: the optimizer's code; values: flat, laid out as the parameters, once a moment, and behind them the
    average of the weights where there is one; steps and epochs done.
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
    """classes: the labels in the order of the outputs, or None; normalization, loss: of the last fit, or None.

    raw: the parameters from which the next fit goes on where the network holds their average, else None.
    """

    classes: np.ndarray | None = None
    normalization: Normalization | None = None
    loss: Loss | None = None
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    last_run: LastRun | None = None
    raw: np.ndarray | None = None

    def after(
        self,
        classes: np.ndarray | None,
        normalization: Normalization | None,
        settings: Settings,
        params: np.ndarray,
    ) -> Fitted:
        """What there is to remember once a fit has begun; params: of the network, which the raw ones replace.

        Another optimizer than before starts afresh, the epochs go on. An average starts from the network's weights,
        which are the last fit's average if it had one.
        """
        state, chosen = self.optimizer, settings.optimizer
        size = states(chosen.code) * len(params)
        values = layout.zeros(size + (len(params) if settings.average else 0), params.dtype)
        if state.kind == chosen.code and len(state.values) >= size:
            values[:size] = state.values[:size]
            state = replace(state, values=values)
        else:
            state = OptimizerState(chosen.code, values, epochs=state.epochs)
        if settings.average:
            values[size:] = params
        if self.raw is not None:
            params[:] = self.raw
        known = self.classes if classes is None else classes
        return replace(self, classes=known, normalization=normalization, loss=settings.loss, optimizer=state, raw=None)
