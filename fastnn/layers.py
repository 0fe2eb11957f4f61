"""Layers of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastnn import activations, checks, norms
from fastnn import noise as noise_module
from fastnn.activations import Activation
from fastnn.errors import InputError
from fastnn.noise import Dropout, Noise


@dataclass(frozen=True)
class Dense:
    """a = f(x W + b): `units` neurons, each connected to all before it.

    activation: a name ("relu") or an object (LeakyReLU(0.2)). dropout: a probability or Dropout(p), of the outputs of
    a hidden layer. noise: another object of fastnn.noise. A layer has one noise at most. norm: "batch", "layer" or an
    object (BatchNorm(0.1)): normalizes x W + b of a hidden layer before f.
    """

    units: int
    activation: Any = "linear"
    dropout: Any = None
    noise: Any = None
    norm: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checks.whole("units of a layer", self.units))
        object.__setattr__(self, "activation", activations.family.get(self.activation))
        dropout, noise = noise_module.read_dropout(self.dropout), noise_module.read(self.noise)
        if dropout is not None and noise is not None:
            raise InputError(f"a layer has one noise at most, got {dropout} and {noise}")
        if isinstance(noise, Dropout):
            dropout, noise = noise, None
        object.__setattr__(self, "dropout", dropout)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "norm", norms.read(self.norm))

    @property
    def function(self) -> Activation:
        """The activation as an object."""
        return self.activation

    @property
    def leaves_units_out(self) -> bool:
        """Whether dropout takes units out of the products, for a batch or an epoch."""
        return self.dropout is not None and self.dropout.kept(self.units) < self.units

    @property
    def any_noise(self) -> Noise | None:
        """Dropout or another noise."""
        return self.noise if self.dropout is None else self.dropout
