"""Activations: a name, its constant, the code that the kernels know it by.

Formulas are in fastnn_kernels.activation; g is the derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import activation as kernels


@dataclass(frozen=True)
class Activation:
    """Base of all activations."""

    @property
    def code(self) -> int:
        return kernels.CODES[family.name(self)]

    @property
    def label(self) -> str:
        """What it is called in words about a network."""
        return family.name(self)

    def describe(self) -> dict[str, Any]:
        """Name and constants, for files."""
        return family.describe(self)

    def addresses(self, dtype: np.dtype) -> tuple[int, int]:
        """Of a user's compiled function and derivative for a dtype; 0 where the kernels have their own."""
        return 0, 0

    @property
    def constant(self) -> float:
        """What the kernels call beta; 0 where there is none."""
        return 0.0

    @property
    def is_rectifier(self) -> bool:
        """Whether half of the signal is cut off or damped, which He's initialization makes up for."""
        return isinstance(self, ReLU | LeakyReLU | ELU | Softplus | NoisyReLU | GELU | SiLU | HardSwish)

    @property
    def is_noisy(self) -> bool:
        """Whether training draws random numbers."""
        return isinstance(self, NoisyReLU)


@dataclass(frozen=True)
class Linear(Activation):
    """z"""


@dataclass(frozen=True)
class Threshold(Activation):
    """1 if z > 0 else 0. Its derivative is 0: to train through it, choose surrogate="straight_through" (g = 1)."""

    surrogate: str | None = None

    def __post_init__(self) -> None:
        if self.surrogate not in (None, "straight_through"):
            raise InputError(f'surrogate must be None or "straight_through", got {self.surrogate!r}')


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + e^-z), g = a (1 - a)"""


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh z, g = 1 - a^2"""


@dataclass(frozen=True)
class ReLU(Activation):
    """max(0, z), g = 1 for z > 0 else 0"""


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """z for z > 0 else beta z. beta: at least 0."""

    beta: float = 0.01

    def __post_init__(self) -> None:
        checks.real("beta of leaky ReLU", self.beta, least=0.0)

    @property
    def constant(self) -> float:
        return float(self.beta)


@dataclass(frozen=True)
class ELU(Activation):
    """z for z > 0 else beta (e^z - 1). beta: at least 0. Source: Clevert, Unterthiner, Hochreiter 2016."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        checks.real("beta of ELU", self.beta, least=0.0)

    @property
    def constant(self) -> float:
        return float(self.beta)


@dataclass(frozen=True)
class Softplus(Activation):
    """ln(1 + e^z), g = sigmoid(z)"""


@dataclass(frozen=True)
class NoisyReLU(Activation):
    """max(0, z + noise), noise from N(0, variance = sigmoid(z)), in training only; g = 1 where a > 0 else 0.

    Source: Nair and Hinton 2010. A regularizer that needs no rate: the noise grows with the activity.
    """


@dataclass(frozen=True)
class GELU(Activation):
    """z Phi(z), Phi the normal distribution (exact, by erf); g = Phi(z) + z phi(z). Source: Hendrycks, Gimpel 2016."""


@dataclass(frozen=True)
class SiLU(Activation):
    """z s, s = sigmoid(z); g = s + z s (1 - s). Also called swish. Source: Elfwing, Uchibe, Doya 2018."""


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """min(max(z + 3, 0), 6) / 6, g = 1/6 within (-3, 3) else 0. Source: Courbariaux, Bengio, David 2015."""


@dataclass(frozen=True)
class HardTanh(Activation):
    """min(max(z, -1), 1), g = 1 within (-1, 1) else 0. Source: Collobert 2004."""


@dataclass(frozen=True)
class HardSwish(Activation):
    """z min(max(z + 3, 0), 6) / 6, g = z / 3 + 1/2 within (-3, 3), 0 below, 1 above. Source: Howard et al. 2019."""


@dataclass(frozen=True)
class Softmax(Activation):
    """e^zi / sum_j e^zj, for the last layer only"""


family: Family[Activation] = Family(
    "activation",
    Activation,
    {
        "linear": Linear,
        "threshold": Threshold,
        "sigmoid": Sigmoid,
        "tanh": Tanh,
        "relu": ReLU,
        "leaky_relu": LeakyReLU,
        "elu": ELU,
        "softplus": Softplus,
        "softmax": Softmax,
        "noisy_relu": NoisyReLU,
        "gelu": GELU,
        "silu": SiLU,
        "hard_sigmoid": HardSigmoid,
        "hard_tanh": HardTanh,
        "hard_swish": HardSwish,
    },
)
