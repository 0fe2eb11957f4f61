"""Layers of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn import activations, checks, norms
from fastnn.activations import Activation


@dataclass(frozen=True)
class Dense:
    """a = f(x W + b): `units` neurons, each connected to all before it.

    activation: a name ("relu") or an object (LeakyReLU(0.2)). norm: "batch", "layer" or an object (BatchNorm(0.1)):
    normalizes x W + b of a hidden layer before f.
    """

    units: int
    activation: Any = "linear"
    norm: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checks.whole("units of a layer", self.units))
        object.__setattr__(self, "activation", activations.family.get(self.activation))
        object.__setattr__(self, "norm", norms.read(self.norm))

    @property
    def function(self) -> Activation:
        """The activation as an object."""
        return self.activation
