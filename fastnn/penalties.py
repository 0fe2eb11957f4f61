"""Penalties on the weights, never on biases; they are part of the reported loss of training.

m: the number of training samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn_kernels import optimizer as kernels


class Penalty(ABC):
    """Base of the penalties, a_1 / m sum abs(w) + a_2 / (2 m) sum w^2."""

    @property
    @abstractmethod
    def strengths(self) -> tuple[float, float]:
        """a_1 and a_2."""

    @property
    def is_proximal(self) -> bool:
        """Whether a_1 acts by soft thresholds."""
        return False


@dataclass(frozen=True)
class _OneStrength(Penalty):
    strength: float

    def __post_init__(self) -> None:
        checks.real(f"lambda of {type(self).__name__}", self.strength, least=0.0)


@dataclass(frozen=True)
class L1(_OneStrength):
    """lambda / m sum abs(w), with the subgradient sgn(w), sgn(0) = 0: for few weights that matter.

    proximal: after each update w = sgn(w) max(abs(w) - lr lambda / m, 0) in place of the subgradient, so that weights
    become exactly 0. Source: Duchi and Singer 2009.
    """

    proximal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag("proximal", self.proximal)

    @property
    def strengths(self) -> tuple[float, float]:
        return self.strength, 0.0

    @property
    def is_proximal(self) -> bool:
        return self.proximal


@dataclass(frozen=True)
class L2(_OneStrength):
    """lambda / (2 m) sum w^2: against overfitting."""

    @property
    def strengths(self) -> tuple[float, float]:
        return 0.0, self.strength


@dataclass(frozen=True)
class L1L2(Penalty):
    """l1 / m sum abs(w) + l2 / (2 m) sum w^2, the elastic net. Source: Zou and Hastie 2005."""

    l1: float
    l2: float

    def __post_init__(self) -> None:
        checks.real("l1", self.l1, least=0.0)
        checks.real("l2", self.l2, least=0.0)

    @property
    def strengths(self) -> tuple[float, float]:
        return self.l1, self.l2


def is_nothing(penalty: Penalty | None) -> bool:
    """Whether it changes nothing."""
    return penalty is None or penalty.strengths == (0.0, 0.0)


def check(penalty: Penalty | None) -> Penalty | None:
    """The penalty. Raises InputError for what is none."""
    if penalty is not None and not isinstance(penalty, Penalty):
        raise InputError(f"penalty must be None, L1(lambda), L2(lambda) or L1L2(l1, l2), got {penalty!r}")
    return penalty


def fill(constants: np.ndarray, penalty: Penalty | None, samples: int) -> None:
    """Write what the kernels must know of it into the optimizer's constants."""
    if penalty is not None:
        l1, l2 = penalty.strengths
        constants[kernels.PENALTY_L1], constants[kernels.PENALTY_L2] = l1 / samples, l2 / samples
        constants[kernels.PROXIMAL] = penalty.is_proximal
