"""Noise in training: dropout and its relatives. Prediction and evaluation have none.

Formulas are in fastnn_kernels.noise; docs/noise.md says when to use which.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import noise as kernels
from fastnn_kernels.rng import STEPS

PER_CODES = {"batch": kernels.PER_BATCH, "epoch": kernels.PER_EPOCH}


class Noise(ABC):
    """Base of all noises of a layer."""

    @property
    @abstractmethod
    def code(self) -> int:
        """What the kernels know it by; NONE where its constants leave nothing of it."""

    @abstractmethod
    def constants(self) -> list[float]:
        """What the kernels need, in their order."""


@dataclass(frozen=True)
class Dropout(Noise):
    """Units of a hidden layer are off with probability p in [0, 1); the outputs of the others are scaled up to match.

    per: "sample": each output of each sample is 0 with probability p, else scaled by 1 / (1 - p). "batch", "epoch": of
    n units round((1 - p) n) stay, at least 1, for a whole batch or epoch, and are scaled by n over that; the others are
    left out of all products, which is faster, and their weights and the optimizer's state of them rest.

    Against overfitting, in wide layers above all; 0.5 there, 0.1 to 0.2 elsewhere. Source: Srivastava et al. 2014.
    """

    p: float
    per: str = "sample"

    def __post_init__(self) -> None:
        checks.real("p of dropout", self.p, least=0.0, below=1.0)
        if self.per not in ("sample", *PER_CODES):
            raise InputError(f'per of dropout must be "sample", "batch" or "epoch", got {self.per!r}')

    @property
    def code(self) -> int:
        return kernels.DROPOUT if self.p > 0 and self.per == "sample" else kernels.NONE

    @property
    def per_code(self) -> int:
        """What the kernels of subnetwork.py know `per` by."""
        return PER_CODES.get(self.per, kernels.NEVER)

    def kept(self, units: int) -> int:
        """How many units are in the products at a time."""
        return units if self.per == "sample" else max(1, round((1 - self.p) * units))

    def constants(self) -> list[float]:
        return _dropped(self.p)


@dataclass(frozen=True)
class DropConnect(Noise):
    """Every weight is 0 with probability p in [0, 1), else scaled by 1 / (1 - p).

    per: drawn for each "batch", or for each "sample" as in the paper, which costs many times the products.
    A finer dropout, for wide layers. Source: Wan, Zeiler, Zhang, LeCun and Fergus 2013.
    """

    p: float
    per: str = "batch"

    def __post_init__(self) -> None:
        checks.real("p of DropConnect", self.p, least=0.0, below=1.0)
        if self.per not in ("batch", "sample"):
            raise InputError(f'per of DropConnect must be "batch" or "sample", got {self.per!r}')

    @property
    def code(self) -> int:
        if self.p == 0:
            return kernels.NONE
        return kernels.DROPCONNECT if self.per == "batch" else kernels.SAMPLE_CONNECT

    def constants(self) -> list[float]:
        return _dropped(self.p)


@dataclass(frozen=True)
class Shakeout(Noise):
    """With probability tau in [0, 1) an input's weights w become -c sgn(w), else (w + c tau sgn(w)) / (1 - tau).

    Drawn for each batch. c, at least 0, draws small weights to 0: for sparse features; c = 0 is dropout on the layer's
    inputs. Source: Kang, Li and Tao 2016.
    """

    tau: float
    c: float

    def __post_init__(self) -> None:
        checks.real("tau of Shakeout", self.tau, least=0.0, below=1.0)
        checks.real("c of Shakeout", self.c, least=0.0)

    @property
    def code(self) -> int:
        return kernels.SHAKEOUT if self.tau > 0 else kernels.NONE

    def constants(self) -> list[float]:
        border, scale, _ = _dropped(self.tau)
        return [border, scale, self.tau, self.c]


@dataclass(frozen=True)
class Whiteout(Noise):
    """Normal noise e of variance sigma^2 abs(w)^-gamma + lam for every weight; drawn for each batch.

    form "added": x_j + e_jk in place of x_j; "multiplied": w_jk (1 + e_jk). sigma, lam: at least 0; gamma in [0, 2).
    gamma = 1, lam > 0 acts as an elastic net, gamma = 0 as a ridge. Source: Li and Liu 2016.
    """

    sigma: float
    gamma: float = 1.0
    lam: float = 0.0
    form: str = "added"

    def __post_init__(self) -> None:
        checks.real("sigma of Whiteout", self.sigma, least=0.0)
        checks.real("gamma of Whiteout", self.gamma, least=0.0, below=2.0)
        checks.real("lam of Whiteout", self.lam, least=0.0)
        if self.form not in ("added", "multiplied"):
            raise InputError(f'form of Whiteout must be "added" or "multiplied", got {self.form!r}')

    @property
    def code(self) -> int:
        if self.sigma == 0 and self.lam == 0:
            return kernels.NONE
        return kernels.WHITEOUT_ADDED if self.form == "added" else kernels.WHITEOUT_MULTIPLIED

    def constants(self) -> list[float]:
        return [self.sigma, self.gamma, self.lam]


def _dropped(p: float) -> list[float]:
    """The border in steps of the random numbers, the scale of what stays, and its inverse."""
    return [math.ceil(p * STEPS) / STEPS, 1.0 / (1.0 - p), 1.0 - p]


family: Family[Noise] = Family(
    "noise", Noise, {"dropout": Dropout, "drop_connect": DropConnect, "shakeout": Shakeout, "whiteout": Whiteout}
)


def read_dropout(given: Any) -> Dropout | None:
    """Dropout from its probability, or as it is. Raises InputError for anything else."""
    return given if given is None or isinstance(given, Dropout) else Dropout(given)


def read(given: Any) -> Noise | None:
    """A noise as it is. Raises InputError for anything else."""
    if given is None or isinstance(given, Noise):
        return given
    raise InputError(f"noise must be None or an object such as fastnn.Dropout(0.2), got {given!r}")


def table(noises: list[Noise | None]) -> tuple[list[int], np.ndarray]:
    """The layers' codes, and their constants behind a row for the input: (layers + 1, kernels.CONSTANTS)."""
    constants = np.zeros((len(noises) + 1, kernels.CONSTANTS))
    codes = []
    for row, noise in zip(constants[1:], noises, strict=True):
        codes.append(kernels.NONE if noise is None else noise.code)
        if noise is not None:
            values = noise.constants()
            row[: len(values)] = values
    return codes, constants
