"""Losses: a name, the code that the kernels know it by, and which output activation it needs.

Formulas are in fastnn_kernels.loss. All average over samples, and over outputs, but for half_mse and cross_entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import checks
from fastnn.activations import Activation, Linear, Sigmoid, Softmax
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import loss as kernels


@dataclass(frozen=True)
class Loss:
    """Base of all losses."""

    @property
    def code(self) -> int:
        return kernels.CODES[family.name(self)]

    def constants(self) -> np.ndarray:
        """float64, as fastnn_kernels.loss numbers them."""
        return np.zeros(kernels.CONSTANTS)

    def address(self, dtype: np.dtype) -> int:
        """Where the machine code of a loss that is not the kernels' own lies; 0 for theirs."""
        return 0

    def check_output(self, output: Activation) -> None:
        """Raises InputError where the output activation does not go with this loss."""


@dataclass(frozen=True)
class MSE(Loss):
    """mean (yhat - y)^2"""


@dataclass(frozen=True)
class HalfMSE(Loss):
    """1 / (2 m) sum (yhat - y)^2 over m samples and all outputs: delta = yhat - y"""


@dataclass(frozen=True)
class MAE(Loss):
    """mean abs(yhat - y), derivative 0 at 0"""


@dataclass(frozen=True)
class Huber(Loss):
    """mean of r^2 / 2 up to abs(r) = delta, delta (abs(r) - delta / 2) beyond; r = yhat - y. delta: above 0.

    Outliers pull no harder than delta. Source: Huber 1964.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        checks.real("delta of Huber", self.delta, above=0.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.CONSTANT] = self.delta
        return values


@dataclass(frozen=True)
class Poisson(Loss):
    """mean (e^z - y z) for counts y: the linear output z is the logarithm of the rate, exp(predict(X)) the rate.

    Source: McCullagh and Nelder 1989.
    """

    def check_output(self, output: Activation) -> None:
        _needs(output, Linear, "poisson", "linear")


@dataclass(frozen=True)
class _Smoothed(Loss):
    """label_smoothing: s in [0, 1), what the labels are mixed with equal shares by. Source: Szegedy et al. 2016."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checks.real("label_smoothing", self.label_smoothing, least=0.0, below=1.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.SMOOTHING] = self.label_smoothing
        return values


@dataclass(frozen=True)
class BinaryCrossEntropy(_Smoothed):
    """-mean(y ln yhat + (1 - y) ln(1 - yhat)), computed from the logits; targets between 0 and 1.

    With label_smoothing s, y becomes (1 - s) y + s / 2; accuracy is that of y itself.
    """

    def check_output(self, output: Activation) -> None:
        _needs(output, Sigmoid, "binary_cross_entropy", "sigmoid")


@dataclass(frozen=True)
class CrossEntropy(_Smoothed):
    """-1/m sum Y ln Yhat, computed from the logits; labels, one-hot rows, or rows of probabilities.

    With label_smoothing s, Y becomes (1 - s) Y + s / C for C classes; accuracy is that of Y itself.
    """

    def check_output(self, output: Activation) -> None:
        _needs(output, Softmax, "cross_entropy", "softmax")


def _needs(output: Activation, needed: type[Activation], loss: str, name: str) -> None:
    if not isinstance(output, needed):
        given = type(output).__name__.lower()
        raise InputError(f'loss "{loss}" needs output="{name}", but the last layer is {given}')


family: Family[Loss] = Family(
    "loss",
    Loss,
    {
        "mse": MSE,
        "half_mse": HalfMSE,
        "mae": MAE,
        "binary_cross_entropy": BinaryCrossEntropy,
        "cross_entropy": CrossEntropy,
        "huber": Huber,
        "poisson": Poisson,
    },
)


def natural(output: Activation) -> Loss:
    """The loss that goes with an output activation where the user names none."""
    if isinstance(output, Softmax):
        return CrossEntropy()
    return BinaryCrossEntropy() if isinstance(output, Sigmoid) else MSE()
