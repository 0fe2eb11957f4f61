"""Layers of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn import activations, checks
from fastnn.activations import Activation


@dataclass(frozen=True)
class Dense:
    """a = f(x W + b): `units` neurons, each connected to all before it.

    activation: a name ("relu") or an object (LeakyReLU(0.2)).
    """

    units: int
    activation: Any = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checks.whole("units of a layer", self.units))
        object.__setattr__(self, "activation", activations.family.get(self.activation))

    @property
    def function(self) -> Activation:
        """The activation as an object."""
        return self.activation
