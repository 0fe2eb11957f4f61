"""Initial weights; biases start at 0.

glorot_uniform  U(-r, r), r = gain sqrt(6 / (n_in + n_out))
glorot_normal   N(0, variance = gain^2 2 / (n_in + n_out))
he_uniform      U(-r, r), r = gain sqrt(6 / n_in)
he_normal       N(0, variance = gain^2 2 / n_in)
lecun_uniform   U(-r, r), r = gain sqrt(3 / n_in)
lecun_normal    N(0, variance = gain^2 / n_in)
orthogonal      gain Q, Q random with Q.T Q = 1 (or Q Q.T = 1 where n_in < n_out)
auto            he_normal before the ReLU family, glorot_uniform before all others

Sources: Glorot and Bengio 2010; He, Zhang, Ren, Sun 2015; LeCun, Bottou, Orr, Müller 1998; Saxe, McClelland, Ganguli
2014. The numbers come from NumPy's counter-based Philox.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn import checks
from fastnn.activations import Activation
from fastnn.named import Family


@dataclass(frozen=True)
class Initializer:
    """Base of all initializers. gain: a factor on the width of the distribution, above 0."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        checks.real("gain", self.gain, above=0.0)

    def variance(self, n_in: int, n_out: int) -> float:
        raise TypeError(f"{type(self).__name__} has no variance of its own")

    def draw(self, random: np.random.Generator, n_in: int, n_out: int, activation: Activation) -> np.ndarray:
        """Weights (n_in, n_out), float64, of a layer before the given activation."""
        weights = random.standard_normal((n_in, n_out))
        weights *= self.gain * np.sqrt(self.variance(n_in, n_out))
        return weights


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """N(0, 2 / (n_in + n_out))"""

    def variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / (n_in + n_out)


@dataclass(frozen=True)
class HeNormal(Initializer):
    """N(0, 2 / n_in)"""

    def variance(self, n_in: int, n_out: int) -> float:
        return 2.0 / n_in


@dataclass(frozen=True)
class LecunNormal(Initializer):
    """N(0, 1 / n_in)"""

    def variance(self, n_in: int, n_out: int) -> float:
        return 1.0 / n_in


class _Uniform(Initializer):
    def draw(self, random: np.random.Generator, n_in: int, n_out: int, activation: Activation) -> np.ndarray:
        bound = self.gain * np.sqrt(3.0 * self.variance(n_in, n_out))  # U(-r, r) has the variance r^2 / 3
        return random.uniform(-bound, bound, (n_in, n_out))


@dataclass(frozen=True)
class GlorotUniform(_Uniform, GlorotNormal):
    """U(-r, r), r = sqrt(6 / (n_in + n_out))"""


@dataclass(frozen=True)
class HeUniform(_Uniform, HeNormal):
    """U(-r, r), r = sqrt(6 / n_in)"""


@dataclass(frozen=True)
class LecunUniform(_Uniform, LecunNormal):
    """U(-r, r), r = sqrt(3 / n_in)"""


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain Q with orthonormal columns, or rows where n_in < n_out: linear layers keep the lengths of signals.

    Q comes from a QR decomposition, its signs such that R's diagonal is positive: uniform over all such matrices. It
    costs n_in n_out min(n_in, n_out) operations.
    """

    def draw(self, random: np.random.Generator, n_in: int, n_out: int, activation: Activation) -> np.ndarray:
        tall = random.standard_normal((max(n_in, n_out), min(n_in, n_out)))
        q, r = np.linalg.qr(tall)
        q = q * np.where(np.diagonal(r) < 0, -self.gain, self.gain)
        return q if n_in >= n_out else q.T


@dataclass(frozen=True)
class Auto(Initializer):
    """He normal before the ReLU family, Glorot uniform before all others"""

    def draw(self, random: np.random.Generator, n_in: int, n_out: int, activation: Activation) -> np.ndarray:
        chosen = HeNormal(self.gain) if activation.is_rectifier else GlorotUniform(self.gain)
        return chosen.draw(random, n_in, n_out, activation)


family: Family[Initializer] = Family(
    "initializer",
    Initializer,
    {
        "auto": Auto,
        "glorot_normal": GlorotNormal,
        "glorot_uniform": GlorotUniform,
        "he_normal": HeNormal,
        "he_uniform": HeUniform,
        "lecun_normal": LecunNormal,
        "lecun_uniform": LecunUniform,
        "orthogonal": Orthogonal,
    },
)
