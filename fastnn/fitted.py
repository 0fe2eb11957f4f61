"""What a network remembers of its fits, beside its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.crew import Crew
from fastnn.data.normalize import Normalization
from fastnn.losses import Loss
from fastnn_kernels import layout
from fastnn_kernels.optimizer import ADAM, states

if TYPE_CHECKING:
    from fastnn.job import Job


@dataclass
class OptimizerState:
    """What an optimizer remembers between steps; a second fit goes on from here.

    kind: the optimizer's code; values: flat, laid out as the parameters, once a moment, and behind them the
    average of the weights where has_average; steps and epochs done; begun: the epochs that were done before it started
    afresh.
    """

    kind: int = ADAM
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: int = 0
    epochs: int = 0
    begun: int = 0
    has_average: bool = False

    @property
    def own_epochs(self) -> int:
        """Epochs since it started afresh, those that a schedule counts."""
        return self.epochs - self.begun

    @property
    def average(self) -> np.ndarray | None:
        """The average of the weights, a view."""
        return self.values[-(len(self.values) // (states(self.kind) + 1)) :] if self.has_average else None

    def start_over(self) -> None:
        """Nothing was learned; the epochs still count."""
        self.values[:] = 0
        self.steps, self.begun = 0, self.epochs
        self.has_average = False

    def become(self, kind: int, size: int, room: int, like: np.ndarray) -> None:
        """The state of an optimizer that remembers `size` values, with room for `room` of the dtype of `like`.

        One of the same kind goes on; where the room is the same too, in the same memory.
        """
        known = self.values[:size] if self.kind == kind and len(self.values) >= size else None
        if known is None:
            self.kind, self.steps, self.begun = kind, 0, self.epochs
        elif len(self.values) == room:
            return
        self.values = np.zeros(0)  # what nobody goes on from makes room first
        self.values = layout.zeros(room, like.dtype)
        if known is not None:
            self.values[:size] = known


@dataclass(frozen=True)
class LastRun:
    """What the last fit measured. label: where it trained; samples_per_second: a value per epoch."""

    batch: int
    label: str
    samples_per_second: list[float]


@dataclass
class Fitted:
    """classes: the labels in the order of the outputs, or None; normalization, loss: of the last fit, or None.

    raw: the parameters from which the next fit goes on where the network holds their average, else None. crew: how many
    threads have been faster.
    """

    classes: np.ndarray | None = None
    normalization: Normalization | None = None
    loss: Loss | None = None
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    last_run: LastRun | None = None
    crew: Crew | None = None
    raw: np.ndarray | None = None

    @contextmanager
    def beginning(self, job: Job, params: np.ndarray) -> Iterator[None]:
        """Note what fit begins, and take it back where what is done meanwhile fails. params: of the network.

        The optimizer's state is not taken back: that of another optimizer has made room for the new one.
        """
        before, held = replace(self), None if self.raw is None else params.copy()
        self._begin(job, params)
        try:
            yield
        except BaseException:
            if held is not None:
                params[:] = held
            self.classes, self.normalization = before.classes, before.normalization
            self.loss, self.raw = before.loss, before.raw
            raise

    def _begin(self, job: Job, params: np.ndarray) -> None:
        """A fit begins: note what it is. The raw parameters replace those of the network.

        Another optimizer than before starts afresh, the epochs go on. An average starts from the network's weights,
        which are the last fit's average if it had one.
        """
        settings = job.settings
        has_average, kind = settings.average is not None, settings.optimizer.code
        size = states(kind) * len(params)
        self.optimizer.become(kind, size, size + has_average * len(params), params)
        self.optimizer.has_average = has_average
        if has_average:
            self.optimizer.values[size:] = params
        if self.raw is not None:
            params[:] = self.raw
        self.classes = self.classes if job.classes is None else job.classes
        self.normalization, self.loss, self.raw = job.normalization, settings.loss, None

    def copy(self) -> Fitted:
        """For another network: what a fit writes is not shared."""
        return replace(self, crew=None, optimizer=replace(self.optimizer, values=self.optimizer.values.copy()))
