"""Learning rate schedules: how the learning rate changes from step to step. Formulas: fastnn_kernels.schedule.

Every one has warm_up: epochs, or a fraction of one, in which the rate first rises from 0 linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import schedule as kernels


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Base of all schedules. warm_up: epochs, at least 0."""

    warm_up: float = 0.0

    def __post_init__(self) -> None:
        checks.real("warm_up", self.warm_up, least=0.0)

    def check_epochs(self, epochs: int, epochs_done: int) -> None:
        """Raises InputError where a fit of so many epochs, after those done, would have only warm-up or a rate of 0."""

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        """float64, as fastnn_kernels.schedule numbers them, for a fit of so many epochs after so many steps and epochs.

        Earlier epochs may have had other batches or samples than this fit has, and so other numbers of steps.
        """
        values = np.zeros(kernels.CONSTANTS)
        values[kernels.CODE] = kernels.CODES[family.name(self)]
        values[kernels.EVERY] = 1.0
        values[kernels.STEPS] = steps_per_epoch
        values[kernels.FIRST] = steps_done - epochs_done * steps_per_epoch
        values[kernels.WARM_UP] = self.warm_up
        return values


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same rate throughout, after the warm-up."""


@dataclass(frozen=True)
class StepDecay(Schedule):
    """The rate times gamma after every `every` epochs."""

    gamma: float = 0.5
    every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("gamma", self.gamma, above=0.0)
        checks.whole("every", self.every)

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        values = super().constants(steps_per_epoch, epochs, steps_done, epochs_done)
        values[kernels.GAMMA], values[kernels.EVERY] = self.gamma, self.every
        return values


@dataclass(frozen=True)
class Exponential(Schedule):
    """The rate times gamma^epochs, falling from step to step."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("gamma", self.gamma, above=0.0)

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        values = super().constants(steps_per_epoch, epochs, steps_done, epochs_done)
        values[kernels.GAMMA] = self.gamma
        return values


@dataclass(frozen=True)
class InverseTime(Schedule):
    """The rate divided by 1 + decay epochs."""

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("decay", self.decay, least=0.0)

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        values = super().constants(steps_per_epoch, epochs, steps_done, epochs_done)
        values[kernels.GAMMA] = self.decay
        return values


@dataclass(frozen=True)
class Cosine(Schedule):
    """Down to `floor` times the rate along half a cosine. Source: Loshchilov and Hutter 2017.

    epochs: where it ends, counted from the first fit on; None: at the end of this fit, from its beginning.
    """

    epochs: int | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            checks.whole("epochs of a cosine", self.epochs)
            self.check_epochs(self.epochs, 0)
        checks.real("floor", self.floor, least=0.0)

    def check_epochs(self, epochs: int, epochs_done: int) -> None:
        end = epochs if self.epochs is None else self.epochs
        if self.warm_up >= end:
            raise InputError(f"warm_up must be shorter than the {end} epochs of the cosine, got {self.warm_up!r}")
        if self.epochs is not None and self.floor == 0.0 and epochs_done >= self.epochs:
            raise InputError(
                f"the rate would be 0: the cosine ends after {self.epochs} epochs, and earlier fits did {epochs_done}; "
                "without epochs it goes from the beginning of a fit to its end"
            )

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        values = super().constants(steps_per_epoch, epochs, steps_done, epochs_done)
        values[kernels.EVERY], values[kernels.FLOOR] = self.epochs, self.floor
        if self.epochs is None:
            values[kernels.EVERY], values[kernels.FIRST] = epochs, steps_done
        return values


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From `start` times the rate up to the rate at the share `peak` of this fit, and down to `end` times it.

    As PyTorch's OneCycleLR, both ways along half a cosine, or with anneal="linear" along a line, as Smith's. For short
    trainings with a high rate. Source: Smith 2018.
    """

    start: float = 1 / 25
    peak: float = 0.3
    end: float = 1 / 25e4
    anneal: str = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("start", self.start, least=0.0)
        checks.real("peak", self.peak, least=0.0, below=1.0)
        checks.real("end", self.end, least=0.0)
        if self.anneal not in ("cosine", "linear"):
            raise InputError(f'anneal must be "cosine" or "linear", got {self.anneal!r}')
        if self.warm_up:
            raise InputError(f"a cycle begins with a warm-up of its own, so warm_up must be 0, got {self.warm_up!r}")

    def constants(self, steps_per_epoch: int, epochs: int, steps_done: int, epochs_done: int) -> np.ndarray:
        values = super().constants(steps_per_epoch, epochs, steps_done, epochs_done)
        values[kernels.EVERY], values[kernels.FIRST] = epochs, steps_done
        values[kernels.GAMMA], values[kernels.PEAK], values[kernels.FLOOR] = self.start, self.peak, self.end
        values[kernels.LINEAR] = self.anneal == "linear"
        return values


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """The rate times `factor`, but not below `lowest`, after more than `patience` epochs without a new lowest loss.

    It looks at the validation loss, and at the training loss where there is no validation. Every fit starts with the
    whole rate. Where nobody knows beforehand how long training takes.
    """

    factor: float = 0.1
    patience: int = 10
    lowest: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("factor", self.factor, above=0.0, below=1.0)
        checks.whole("patience", self.patience, least=0)
        checks.real("lowest", self.lowest, least=0.0)

    def watch(self, lr: float) -> Plateau:
        """One that follows the losses of a fit."""
        return Plateau(self, lr)


class Plateau:
    """The losses of one fit as ReduceOnPlateau sees them, and the rate that follows."""

    def __init__(self, schedule: ReduceOnPlateau, lr: float) -> None:
        self._schedule, self._lr = schedule, lr
        self._best, self._waited = float("inf"), 0

    def rate(self, loss: float) -> float:
        """The rate after an epoch of this loss."""
        self._waited += 1
        if loss < self._best:
            self._best, self._waited = loss, 0
        if self._waited > self._schedule.patience:
            self._lr, self._waited = min(self._lr, max(self._lr * self._schedule.factor, self._schedule.lowest)), 0
        return self._lr


family: Family[Schedule] = Family(
    "schedule",
    Schedule,
    {
        "constant": Constant,
        "step": StepDecay,
        "exponential": Exponential,
        "inverse": InverseTime,
        "cosine": Cosine,
        "one_cycle": OneCycle,
        "plateau": ReduceOnPlateau,
    },
)
