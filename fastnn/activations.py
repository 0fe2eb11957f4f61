"""Activations: a name, its constant, the code that the kernels know it by.

Formulas are in fastnn_kernels.activation; g is the derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    def constant(self) -> float:
        """What the kernels call beta; 0 where there is none."""
        return 0.0

    @property
    def is_rectifier(self) -> bool:
        """Whether half of the signal is cut off or damped, which He's initialization makes up for."""
        return isinstance(self, ReLU | LeakyReLU | ELU | Softplus)


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
    },
)
