"""Optimizers: constants, and the code that the kernels know them by.

Formulas are in fastnn_kernels.optimizer; with the same constants they follow PyTorch's trajectories where it has them.
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
    """Momentum that looks ahead. Faster than Momentum on smooth losses, in full batches above all.

    form "one_gradient": v = beta v + g; w -= lr (g + beta v), PyTorch's. Source: Sutskever et al. 2013.
    form "lookahead": w += v, the gradient g there, v = beta v - lr g, in the order of the course. Between steps the
    network holds w + v, where the next gradient is taken.
    """

    form: str = "one_gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("one_gradient", "lookahead"):
            raise InputError(f'form must be "one_gradient" or "lookahead", got {self.form!r}')

    @property
    def code(self) -> int:
        return kernels.LOOKAHEAD if self.form == "lookahead" else kernels.NESTEROV


class _Rooted(Optimizer):
    """Base of those that divide by a root. eps stands beside the root, eps_root under it."""

    eps: float
    eps_root: float

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("eps", self.eps, least=0.0)
        checks.real("eps_root", self.eps_root, least=0.0)
        if max(self.eps, self.eps_root) < np.finfo(np.float32).tiny:
            raise InputError(
                "eps and eps_root cannot both be 0, or too small for float32: a gradient of 0 would be divided by 0, "
                f"got {self.eps!r} and {self.eps_root!r}"
            )

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.EPS], values[kernels.EPS_ROOT] = self.eps, self.eps_root
        return values


@dataclass(frozen=True)
class Adagrad(_Rooted):
    """r += g^2; w -= lr g / (sqrt(r + eps_root) + eps). For sparse inputs; its steps only ever become shorter.

    Source: Duchi, Hazan and Singer 2011.
    """

    lr: float = 0.01
    eps: float = 1e-10
    eps_root: float = 0.0


@dataclass(frozen=True)
class RMSprop(_Rooted):
    """r = rho r + (1 - rho) g^2; w -= lr g / (sqrt(r + eps_root) + eps). Adagrad that forgets.

    Source: Tieleman and Hinton 2012.
    """

    lr: float = 0.01
    rho: float = 0.99
    eps: float = 1e-8
    eps_root: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("rho", self.rho, least=0.0, below=1.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.BETA2] = self.rho
        return values


@dataclass(frozen=True)
class Adam(_Rooted):
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

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.BETA1], values[kernels.BETA2] = self.beta1, self.beta2
        return values


@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam whose root holds the largest average of squares so far: steps that never grow again.

    Source: Reddi, Kale and Kumar 2018; PyTorch's Adam(amsgrad=True).
    """


@dataclass(frozen=True)
class AdamW(Adam):
    """w -= lr weight_decay w, of weights and not of biases, then Adam. In place of Adam with L2: there the root would
    divide the penalty too. Source: Loshchilov and Hutter 2019.
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("weight_decay", self.weight_decay, least=0.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.DECAY] = self.weight_decay
        return values


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's look ahead, whose momentum at step t is beta1 (1 - 0.96^(t momentum_decay) / 2).

    Source: Dozat 2016.
    """

    lr: float = 2e-3
    momentum_decay: float = 4e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("momentum_decay", self.momentum_decay, least=0.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.DECAY] = self.momentum_decay
        return values


family: Family[Optimizer] = Family(
    "optimizer",
    Optimizer,
    {
        "sgd": SGD,
        "momentum": Momentum,
        "nesterov": Nesterov,
        "adagrad": Adagrad,
        "rmsprop": RMSprop,
        "adam": Adam,
        "amsgrad": AMSGrad,
        "adamw": AdamW,
        "nadam": NAdam,
    },
)


def with_code(code: int) -> Optimizer:
    """The optimizer that the kernels know by this code, with its default constants."""
    known = [*(family.get(name) for name in family.names), Nesterov(form="lookahead")]
    return next(one for one in known if one.code == code)
