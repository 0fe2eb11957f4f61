"""The oracle's losses, in plain float64 NumPy.

Every function takes a loss as its name or as (name, options): ("huber", {"delta": 0.5}). Options: delta, of huber, by
default 1; smoothing, of the labels of the cross-entropies; weights (m,), a factor a sample.

Sources: Huber 1964; label smoothing, Szegedy et al. 2016; Goodfellow, Bengio and Courville 2016, sections 5.5 and 6.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn_kernels.reference_activation import Array, activate, log_softmax, sigmoid

Loss = str | tuple[str, dict[str, Any]]

FROM_LOGITS = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax"}
"""Losses that are computed from z, each with the output activation that it contains."""


def name_and_options(loss: Loss) -> tuple[str, dict[str, Any]]:
    return (loss, {}) if isinstance(loss, str) else loss


def loss(which: Loss, output: ArrayLike, y: ArrayLike) -> float:
    """The mean loss of outputs (m, n) against targets y (m, n); with weights 1/m sum w_i l_i.

    `output` is yhat for mse, half_mse, mae and huber, z = ln(rate) for poisson, and z for the cross-entropies, which
    contain their activation:

    mse                   1/(m n) sum (yhat - y)^2
    half_mse              1/(2 m) sum (yhat - y)^2
    mae                   1/(m n) sum |yhat - y|
    huber                 1/(m n) sum r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2), r = yhat - y
    poisson               1/(m n) sum e^z - y z
    binary_cross_entropy  -1/(m n) sum (y ln p + (1 - y) ln(1 - p)), p = sigmoid(z): = 1/(m n) sum (ln(1 + e^z) - y z)
    cross_entropy         -1/m sum y ln p, p = softmax(z)

    Smoothed targets: (1 - s) y + s / 2 for binary_cross_entropy, (1 - s) y + s / n for cross_entropy.
    """
    name, options = name_and_options(which)
    output, y = _pair(output, y)
    m, n = y.shape
    y = _smoothed(name, y, options.get("smoothing", 0.0))
    match name:
        case "mse":
            terms = (output - y) ** 2 / n
        case "half_mse":
            terms = (output - y) ** 2 / 2
        case "mae":
            terms = np.abs(output - y) / n
        case "huber":
            r, delta = np.abs(output - y), options.get("delta", 1.0)
            terms = np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)) / n
        case "poisson":
            terms = (np.exp(output) - y * output) / n
        case "binary_cross_entropy":
            terms = (np.logaddexp(0.0, output) - y * output) / n
        case "cross_entropy":
            terms = -y * log_softmax(output)
        case _:
            raise ValueError(f"no loss is called {name!r}")
    return float(np.sum(terms * _factors(options, m)) / m)


def loss_derivative(which: Loss, output: ArrayLike, y: ArrayLike) -> Array:
    """dL/doutput (m, n) of `loss`: dL/dyhat, and for poisson and the cross-entropies dL/dz.

    mse 2 (yhat - y) / (m n); half_mse (yhat - y) / m; mae sgn(yhat - y) / (m n), 0 at 0; huber r within +-delta,
    / (m n); poisson (e^z - y) / (m n); binary_cross_entropy (sigmoid(z) - y) / (m n);
    cross_entropy (softmax(z) sum_j y_j - y) / m, which is (yhat - y) / m where the targets of a sample sum to 1. With
    weights, times w_i.
    """
    name, options = name_and_options(which)
    output, y = _pair(output, y)
    m, n = y.shape
    y = _smoothed(name, y, options.get("smoothing", 0.0))
    match name:
        case "mse":
            slopes = 2.0 * (output - y) / n
        case "half_mse":
            slopes = output - y
        case "mae":
            slopes = np.sign(output - y) / n
        case "huber":
            delta = options.get("delta", 1.0)
            slopes = np.clip(output - y, -delta, delta) / n
        case "poisson":
            slopes = (np.exp(output) - y) / n
        case "binary_cross_entropy":
            slopes = (sigmoid(output) - y) / n
        case "cross_entropy":
            slopes = activate("softmax", output) * y.sum(axis=1, keepdims=True) - y
        case _:
            raise ValueError(f"no loss is called {name!r}")
    return slopes * _factors(options, m) / m


def _smoothed(name: str, y: Array, smoothing: float) -> Array:
    shares = {"binary_cross_entropy": 2, "cross_entropy": y.shape[1]}.get(name)
    return y if shares is None else (1 - smoothing) * y + smoothing / shares


def _factors(options: dict[str, Any], m: int) -> Array:
    return np.asarray(options.get("weights", np.ones(m)), dtype=np.float64)[:, None]


def _pair(output: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    output, y = np.asarray(output, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if output.ndim != 2 or output.shape != y.shape:
        raise ValueError(f"outputs and targets must both be (m, n), not {output.shape} and {y.shape}")
    return output, y
