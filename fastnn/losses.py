"""Losses: a name, the code that the kernels know it by, and which output activation it needs.

Formulas are in fastnn_kernels.loss. All average over samples; mse, mae and binary_cross_entropy also over outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnn.activations import Activation, Sigmoid, Softmax
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import loss as kernels


@dataclass(frozen=True)
class Loss:
    """Base of all losses."""

    @property
    def code(self) -> int:
        return kernels.CODES[family.name(self)]

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
class BinaryCrossEntropy(Loss):
    """-mean(y ln yhat + (1 - y) ln(1 - yhat)), computed from the logits; targets between 0 and 1"""

    def check_output(self, output: Activation) -> None:
        _needs(output, Sigmoid, "binary_cross_entropy", "sigmoid")


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-1/m sum Y ln Yhat, computed from the logits; labels, one-hot rows, or rows of probabilities"""

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
    },
)


def natural(output: Activation) -> Loss:
    """The loss that goes with an output activation where the user names none."""
    if isinstance(output, Softmax):
        return CrossEntropy()
    return BinaryCrossEntropy() if isinstance(output, Sigmoid) else MSE()
