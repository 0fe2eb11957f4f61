"""The oracle's activations and their derivatives, from the formulas in plain float64 NumPy.

Sources: leaky ReLU, Maas, Hannun and Ng 2013; ELU, Clevert, Unterthiner and Hochreiter 2016; softplus, Dugas et al.
2001; noisy ReLU, Nair and Hinton 2010; GELU, Hendrycks and Gimpel 2016; SiLU, Elfwing, Uchibe and Doya 2018; hard tanh,
Collobert 2004; hard sigmoid, Courbariaux, Bengio and David 2015; hard swish, Howard et al. 2019.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BETAS = {"leaky_relu": 0.01, "elu": 1.0}
"""The constant of an activation where none is given."""

KINKS = (-3.0, -1.0, 0.0, 1.0, 3.0)
"""Where some activation has no derivative."""


def activate(name: str, z: ArrayLike, beta: float | None = None) -> Array:
    """a = f(z), of the shape of z; softmax runs over the last axis.

    linear z; threshold 1 if z > 0 else 0; sigmoid 1 / (1 + e^-z); tanh; relu max(0, z), and noisy_relu without its
    noise; leaky_relu z if z > 0 else beta z; elu z if z > 0 else beta (e^z - 1); softplus ln(1 + e^z); softmax
    e^(z_i) / sum_j e^(z_j); hard_sigmoid min(max(z + 3, 0), 6) / 6; hard_tanh min(max(z, -1), 1); gelu z Phi(z) with
    the normal distribution Phi; silu z sigmoid(z); hard_swish z hard_sigmoid(z).
    """
    z = np.asarray(z, dtype=np.float64)
    beta = BETAS.get(name, 0.0) if beta is None else beta
    match name:
        case "linear":
            return z.copy()
        case "threshold":
            return np.where(z > 0, 1.0, 0.0)
        case "sigmoid":
            return sigmoid(z)
        case "tanh":
            return np.tanh(z)
        case "relu" | "noisy_relu":
            return np.maximum(z, 0.0)
        case "leaky_relu":
            return np.where(z > 0, z, beta * z)
        case "elu":
            return np.where(z > 0, z, beta * np.expm1(np.minimum(z, 0.0)))
        case "softplus":
            return np.logaddexp(0.0, z)
        case "softmax":
            return np.exp(log_softmax(z))
        case "hard_sigmoid":
            return np.clip(z + 3.0, 0.0, 6.0) / 6.0
        case "hard_tanh":
            return np.clip(z, -1.0, 1.0)
        case "gelu":
            return z * _normal_distribution(z)
        case "silu":
            return z * sigmoid(z)
        case "hard_swish":
            return z * np.clip(z + 3.0, 0.0, 6.0) / 6.0
    raise ValueError(f"no activation is called {name!r}")


def derivative(name: str, z: ArrayLike, beta: float | None = None) -> Array:
    """g(z) = f'(z), of the shape of z. At a kink the flat side counts, as in PyTorch.

    linear 1; threshold 0; sigmoid a (1 - a); tanh 1 - a^2; relu, noisy_relu 0 or 1; leaky_relu beta or 1; elu beta e^z
    or 1; softplus sigmoid(z); hard_sigmoid 1/6 within (-3, 3); hard_tanh 1 within (-1, 1); gelu Phi(z) + z phi(z) with
    the normal density phi; silu s + z s (1 - s) with s = sigmoid(z); hard_swish 0, z/3 + 1/2 within (-3, 3), 1.
    Softmax has no elementwise derivative: see `softmax_jacobian`.
    """
    z = np.asarray(z, dtype=np.float64)
    beta = BETAS.get(name, 0.0) if beta is None else beta
    match name:
        case "linear":
            return np.ones_like(z)
        case "threshold":
            return np.zeros_like(z)
        case "sigmoid":
            return sigmoid(z) * sigmoid(-z)
        case "tanh":
            return 1.0 - np.tanh(z) ** 2
        case "relu" | "noisy_relu":
            return np.where(z > 0, 1.0, 0.0)
        case "leaky_relu":
            return np.where(z > 0, 1.0, beta)
        case "elu":
            return np.where(z > 0, 1.0, beta * np.exp(np.minimum(z, 0.0)))
        case "softplus":
            return sigmoid(z)
        case "hard_sigmoid":
            return np.where(np.abs(z) < 3, 1.0 / 6.0, 0.0)
        case "hard_tanh":
            return np.where(np.abs(z) < 1, 1.0, 0.0)
        case "gelu":
            near = np.clip(z, -40.0, 40.0)  # farther out the density is 0
            return _normal_distribution(z) + near * np.exp(-0.5 * near**2) / math.sqrt(2.0 * math.pi)
        case "silu":
            s = sigmoid(z)
            return s * (1.0 + z * sigmoid(-z))
        case "hard_swish":
            return np.where(z <= -3, 0.0, np.where(z < 3, z / 3.0 + 0.5, 1.0))
    raise ValueError(f"no activation with an elementwise derivative is called {name!r}")


def noisy_relu(z: ArrayLike, normal: ArrayLike) -> Array:
    """max(0, z + sqrt(sigmoid(z)) normal), `normal` standard normal: noise of the variance sigmoid(z).

    Training takes the noise as a constant: da/dz = 1 where a > 0, else 0. Source: Nair and Hinton 2010.
    """
    z = np.asarray(z, dtype=np.float64)
    return np.maximum(0.0, z + np.sqrt(sigmoid(z)) * np.asarray(normal, dtype=np.float64))


def softmax_jacobian(z: ArrayLike) -> Array:
    """J[s, i, j] = da_i/dz_j = a_i ([i = j] - a_j) for every sample s: z (m, n) -> (m, n, n)."""
    a = activate("softmax", z)
    return a[:, :, None] * (np.eye(a.shape[1]) - a[:, None, :])


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z) where z >= 0, the equal e^z / (1 + e^z) elsewhere, so that no exponential overflows."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def log_softmax(z: Array) -> Array:
    """z_i - ln sum_j e^(z_j) over the last axis, shifted by the maximum so that no exponential overflows."""
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _normal_distribution(z: Array) -> Array:
    """Phi(z) = erfc(-z / sqrt(2)) / 2, by the C library's erfc."""
    return 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-z / math.sqrt(2.0))
