"""What is to be computed, read and checked: samples, and what a fit was asked to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import clipping, penalties
from fastnn.augment import Augmentation
from fastnn.averaging import EMA
from fastnn.callbacks import Callback
from fastnn.clipping import Clip
from fastnn.data.normalize import Normalization
from fastnn.inputs import rows as rows_of
from fastnn.losses import Loss
from fastnn.optimizers import SGD, Optimizer
from fastnn.penalties import Penalty
from fastnn.schedules import Schedule
from fastnn.targets import NO_TARGETS, Targets
from fastnn_kernels import optimizer as kernels


@dataclass(frozen=True)
class Part:
    """Samples to train on, to evaluate or to predict.

    index: rows of X, work.ROW; weights: a factor on the loss of each row of X, or None.
    """

    X: np.ndarray
    targets: Targets
    index: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, X: np.ndarray, index: np.ndarray | None = None) -> Part:
        """Rows without targets: all, or those that index names."""
        return cls(X, NO_TARGETS, rows_of(X) if index is None else index)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Settings:
    """How a fit trains. batch: samples an update; minibatch: those whose statistics batch normalization takes."""

    loss: Loss
    optimizer: Optimizer
    epochs: int
    batch: int
    minibatch: int
    shuffle: bool
    penalty: Penalty | None
    schedule: Schedule
    clip: Clip | None = None
    average: EMA | None = None
    augment: Augmentation | None = None

    @property
    def is_stochastic(self) -> bool:
        """Whether steps are of one sample and plain, so that the path made for them applies."""
        plain = isinstance(self.optimizer, SGD) and penalties.is_nothing(self.penalty)
        return self.batch == 1 and plain and (self.clip, self.average, self.augment) == (None, None, None)

    def steps(self, samples: int) -> int:
        """Updates in an epoch of so many samples."""
        return -(-samples // self.batch)

    def constants(self, samples: int, steps_done: int, epochs_done: int) -> np.ndarray:
        """What the kernels of the optimizer need, float64, for a fit on so many samples.

        steps_done, epochs_done: by the same optimizer in earlier fits.
        """
        constants = self.optimizer.constants()
        penalties.fill(constants, self.penalty, samples)
        clipping.fill(constants, self.clip)
        constants[kernels.AVERAGE] = 0.0 if self.average is None else self.average.decay
        constants[kernels.SCHEDULE : kernels.CONSTANTS] = self.schedule.constants(
            self.steps(samples), self.epochs, steps_done, epochs_done
        )
        return constants


@dataclass(frozen=True)
class Job:
    """All that a fit was asked to do. classes, normalization: what the network then has."""

    training: Part
    validation: Part | None
    settings: Settings
    callbacks: tuple[Callback, ...]
    classes: np.ndarray | None
    normalization: Normalization | None
