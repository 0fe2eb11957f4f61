"""Penalties on the weights, never on biases; they are part of the reported loss of training.

m: the number of training samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnn import checks
from fastnn.errors import InputError


@dataclass(frozen=True)
class Penalty:
    """Base of the penalties. strength: lambda, at least 0."""

    strength: float

    def __post_init__(self) -> None:
        checks.real(f"lambda of {type(self).__name__}", self.strength, least=0.0)


@dataclass(frozen=True)
class L1(Penalty):
    """lambda / m sum abs(w), with the subgradient sgn(w), sgn(0) = 0"""


@dataclass(frozen=True)
class L2(Penalty):
    """lambda / (2 m) sum w^2"""


def rates(penalty: Penalty | None, samples: int) -> tuple[float, float]:
    """What the kernels call l1 and l2. Raises InputError for what is no penalty."""
    if penalty is None:
        return 0.0, 0.0
    if not isinstance(penalty, Penalty):
        raise InputError(f"penalty must be None, L1(lambda) or L2(lambda), got {penalty!r}")
    rate = penalty.strength / samples
    return (rate, 0.0) if isinstance(penalty, L1) else (0.0, rate)
