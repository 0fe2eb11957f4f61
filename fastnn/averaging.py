"""Averages of the weights over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastnn import checks
from fastnn.errors import InputError

if TYPE_CHECKING:
    from fastnn.network import MLP


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


@contextmanager
def in_place(net: MLP) -> Iterator[None]:
    """The network holds the average of its weights for a while, where a fit makes one."""
    average = net.fitted.optimizer.average
    if average is None:
        yield
        return
    raw = net.params.copy()
    net.params[:] = average
    try:
        yield
    finally:
        net.params[:] = raw


def keep(net: MLP) -> None:
    """After a fit: the network holds the average, and remembers its weights, from which the next fit goes on."""
    average = net.fitted.optimizer.average
    if average is not None:
        net.fitted.raw = net.params.copy()
        net.params[:] = average
