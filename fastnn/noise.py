"""Noise in training: dropout and its relatives. Prediction and evaluation have none.

Formulas are in fastnn_kernels.noise; docs/noise.md says when to use which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import noise as kernels
from fastnn_kernels.rng import STEPS


@dataclass(frozen=True)
class Noise:
    """Base of all noises of a layer."""

    @property
    def code(self) -> int:
        """What the kernels know it by; NONE where its constants leave nothing of it."""
        raise NotImplementedError

    def constants(self) -> list[float]:
        """What the kernels need, in their order."""
        raise NotImplementedError


@dataclass(frozen=True)
class Dropout(Noise):
    """Every output of a hidden layer is 0 with probability p in [0, 1), else scaled by 1 / (1 - p), for each sample.

    Against overfitting, in wide layers above all; 0.5 there, 0.1 to 0.2 elsewhere. Source: Srivastava et al. 2014.
    """

    p: float

    def __post_init__(self) -> None:
        checks.real("p of dropout", self.p, least=0.0, below=1.0)

    @property
    def code(self) -> int:
        return kernels.DROPOUT if self.p > 0 else kernels.NONE

    def constants(self) -> list[float]:
        return _dropped(self.p)


def _dropped(p: float) -> list[float]:
    """The border in steps of the random numbers, the scale of what stays, and its inverse."""
    return [math.ceil(p * STEPS) / STEPS, 1.0 / (1.0 - p), 1.0 - p]


family: Family[Noise] = Family("noise", Noise, {"dropout": Dropout})


def read_dropout(given: Any) -> Dropout | None:
    """Dropout from its probability, or as it is. Raises InputError for anything else."""
    return given if given is None or isinstance(given, Dropout) else Dropout(given)


def read(given: Any) -> Noise | None:
    """A noise as it is. Raises InputError for anything else."""
    if given is None or isinstance(given, Noise):
        return given
    raise InputError(f"noise must be None or an object such as fastnn.Dropout(0.2), got {given!r}")


def table(noises: list[Noise | None]) -> tuple[list[int], np.ndarray]:
    """Codes, and constants (layers + 1, kernels.CONSTANTS), of the input, which has none, and of every layer."""
    constants = np.zeros((len(noises) + 1, kernels.CONSTANTS))
    codes = [kernels.NONE]
    for row, noise in zip(constants[1:], noises, strict=True):
        codes.append(kernels.NONE if noise is None else noise.code)
        if noise is not None:
            values = noise.constants()
            row[: len(values)] = values
    return codes, constants
