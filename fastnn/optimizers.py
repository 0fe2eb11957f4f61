"""Optimizers: constants, and the code that the kernels know them by.

Formulas are in fastnn_kernels.optimizer; with the same constants they follow PyTorch's trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import optimizer as kernels


@dataclass(frozen=True)
class Optimizer:
    """Base of all optimizers. lr: the learning rate, above 0."""

    lr: float

    def __post_init__(self) -> None:
        checks.real("lr", self.lr, above=0.0)

    @property
    def code(self) -> int:
        return kernels.CODES[family.name(self)]

    def constants(self) -> np.ndarray:
        """float64, as fastnn_kernels.optimizer numbers them; the penalty's and schedule's still 0."""
        values = np.zeros(kernels.CONSTANTS)
        values[kernels.LR] = self.lr
        return values


@dataclass(frozen=True)
class SGD(Optimizer):
    """w -= lr g"""

    lr: float = 0.01


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v = beta v + g; w -= lr v. Source: Polyak 1964."""

    lr: float = 0.01
    beta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("beta", self.beta, least=0.0, below=1.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.BETA1] = self.beta
        return values


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v = beta v + g; w -= lr (g + beta v): the form with one gradient a step. Source: Sutskever et al. 2013."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Moments with bias correction. eps stands beside the root, eps_root under it. Source: Kingma and Ba 2015."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("beta1", self.beta1, least=0.0, below=1.0)
        checks.real("beta2", self.beta2, least=0.0, below=1.0)
        checks.real("eps", self.eps, least=0.0)
        checks.real("eps_root", self.eps_root, least=0.0)
        if self.eps == 0.0 and self.eps_root == 0.0:
            raise InputError("eps and eps_root cannot both be 0: a gradient of 0 would be divided by 0")

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.BETA1], values[kernels.BETA2] = self.beta1, self.beta2
        values[kernels.EPS], values[kernels.EPS_ROOT] = self.eps, self.eps_root
        return values


family: Family[Optimizer] = Family(
    "optimizer", Optimizer, {"sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adam": Adam}
)
