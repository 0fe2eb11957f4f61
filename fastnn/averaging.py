"""Averages of the weights over the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn import checks
from fastnn.errors import InputError


@dataclass(frozen=True)
class EMA:
    """mean += (1 - d) (w - mean) after every step t, d = min(decay, (1 + t) / (10 + t)), for weights and biases.

    decay: above 0, below 1. The mean starts at the weights that the fit starts from. It is what the network holds
    after the fit and during validation and callbacks; the next fit goes on from the weights themselves. Where dropout
    per batch or per epoch lets weights rest, their mean rests too. For noisy small batches: as good as a smaller rate
    at the end. Source: Polyak and Juditsky 1992; TensorFlow (the small d of the first steps).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        checks.real("decay", self.decay, above=0.0, below=1.0)


def check(given: Any) -> EMA | None:
    """The average. Raises InputError for anything else."""
    if given is not None and not isinstance(given, EMA):
        raise InputError(f"average must be None or EMA(decay), got {given!r}")
    return given
