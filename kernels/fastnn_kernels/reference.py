"""The oracle: what the kernels compute, written from the formulas in plain float64 NumPy.

Nothing here is fast and nothing here looks at a kernel; every kernel is tested against this file and the ones beside
it, reference_*.py, for activations, losses, optimizers, normalization and noise. It reads from top to bottom as
training does: feedforward, backpropagation, penalties, steps; then the random numbers and the spreads of the initial
weights.

Shapes: m samples; a layer has n_in units before it and n_out after it. X (m, n_0), y (m, n_last); per layer
W (n_in, n_out), b (n_out,), z = a_before @ W + b (m, n_out), a = activate(z) (m, n_out), delta = dL/dz (m, n_out).

Sources: Goodfellow, Bengio and Courville, Deep Learning (2016), chapters 6 to 8, unless a function names its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn_kernels.reference_activation import Array, activate, derivative, softmax_jacobian
from fastnn_kernels.reference_loss import FROM_LOGITS, Loss, loss, loss_derivative, name_and_options
from fastnn_kernels.reference_optimizer import OPTIMIZERS, clipped, soft_threshold

Layer = tuple[Array, Array]  # (W (n_in, n_out), b (n_out,))
Activation = str | tuple[str, float]  # "relu", or ("leaky_relu", 0.2): a name and its constant


# Feedforward and backpropagation


def feedforward(weights: Sequence[Layer], activations: Sequence[Activation], X: ArrayLike) -> list[tuple[Array, Array]]:
    """z = a_before @ W + b and a = f(z) of every layer, from X (m, n_0) on: a list of (z, a), each (m, n_out)."""
    a = np.asarray(X, dtype=np.float64)
    layers = []
    for (W, b), activation in zip(weights, activations, strict=True):
        name, beta = _name_and_beta(activation)
        z = a @ W + b
        a = activate(name, z, beta)
        layers.append((z, a))
    return layers


def network_loss(
    weights: Sequence[Layer], activations: Sequence[Activation], loss_name: Loss, X: ArrayLike, y: ArrayLike
) -> float:
    """The mean loss of a whole network on X (m, n_0) and y (m, n_last), without penalty."""
    z, a = feedforward(weights, activations, X)[-1]
    return loss(loss_name, z if _from_logits(loss_name, activations[-1]) else a, y)


def gradient(
    weights: Sequence[Layer], activations: Sequence[Activation], loss_name: Loss, X: ArrayLike, y: ArrayLike
) -> list[Layer]:
    """(dW (n_in, n_out), db (n_out,)) of the mean loss for every layer, by backpropagation.

    The last layer: delta = dL/da * g(z), for softmax delta = dL/da @ J; or dL/dz itself where the loss contains the
    activation. The layers below: delta(l) = (delta(l+1) @ W(l+1).T) * g(z(l)). Each layer: dW = a_before.T @ delta,
    db = sum of delta over the samples. Source: Rumelhart, Hinton and Williams 1986.
    """
    layers = feedforward(weights, activations, X)
    z, a = layers[-1]
    if _from_logits(loss_name, activations[-1]):
        delta = loss_derivative(loss_name, z, y)
    else:
        delta = _through(activations[-1], z, loss_derivative(loss_name, a, y))
    inputs = [np.asarray(X, dtype=np.float64)] + [a for _, a in layers[:-1]]
    gradients: list[Layer] = []
    for i in reversed(range(len(weights))):
        gradients.insert(0, (inputs[i].T @ delta, delta.sum(axis=0)))
        if i > 0:
            delta = _through(activations[i - 1], layers[i - 1][0], delta @ weights[i][0].T)
    return gradients


def _through(activation: Activation, z: Array, da: Array) -> Array:
    """dL/dz (m, n) from dL/da (m, n): da * g(z), and da @ J for softmax."""
    name, beta = _name_and_beta(activation)
    if name == "softmax":
        return np.einsum("si,sij->sj", da, softmax_jacobian(z))
    return da * derivative(name, z, beta)


def _name_and_beta(activation: Activation) -> tuple[str, float | None]:
    return (activation, None) if isinstance(activation, str) else activation


def _from_logits(loss_name: Loss, activation: Activation) -> bool:
    """Whether the loss is computed from z; then the output activation must be the one that the loss contains."""
    name, _ = name_and_options(loss_name)
    if name not in FROM_LOGITS:
        return False
    if _name_and_beta(activation)[0] != FROM_LOGITS[name]:
        raise ValueError(f"{name} contains {FROM_LOGITS[name]}, so the output cannot be {activation!r}")
    return True


# Penalties: of weights only, never of biases; samples = m = the number of training samples, whatever the batch


def penalty(name: str, weights: Sequence[Layer], strength: float, samples: int) -> float:
    """l2: lambda/(2 m) sum w^2; l1 and proximal_l1: lambda/m sum |w|; over all weights; strength = lambda."""
    match name:
        case "l2":
            return strength / (2 * samples) * sum(float(np.sum(W**2)) for W, _ in weights)
        case "l1" | "proximal_l1":
            return strength / samples * sum(float(np.sum(np.abs(W))) for W, _ in weights)
    raise ValueError(f"no penalty is called {name!r}")


def penalty_gradient(name: str, W: Array, strength: float, samples: int) -> Array:
    """l2: lambda/m w; l1: lambda/m sgn(w), with sgn(0) = 0; proximal_l1: 0, see `train`."""
    match name:
        case "l2":
            return strength / samples * W
        case "l1":
            return strength / samples * np.sign(W)
        case "proximal_l1":
            return np.zeros_like(W)
    raise ValueError(f"no penalty is called {name!r}")


# Whole steps


def train(
    weights: Sequence[Layer],
    activations: Sequence[Activation],
    loss_name: Loss,
    X: ArrayLike,
    y: ArrayLike,
    batches: Iterable[ArrayLike],
    optimizer: str = "sgd",
    constants: dict[str, Any] | None = None,
    penalty_name: str | None = None,
    strength: float = 0.0,
    clip: tuple[str, float] | None = None,
) -> tuple[list[Layer], list[float]]:
    """One whole step for each batch: the new weights, and the cost of each batch before its step.

    X (m, n_0) and y (m, n_last) hold all training samples; a batch is the indices of its rows, and its loss is
    averaged over its own length. The cost is the batch's mean loss plus the penalty. `constants` are those of the
    optimizer: {"lr": 0.1}. clip: "value" or "norm" and the limit. proximal_l1: the soft threshold lr lambda/m follows
    every update of the weights.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    weights = [(np.array(W, dtype=np.float64), np.array(b, dtype=np.float64)) for W, b in weights]
    step, slots = OPTIMIZERS[optimizer]
    states = [[(np.zeros_like(w),) * slots for w in layer] for layer in weights]
    costs = []
    for t, batch in enumerate(batches, start=1):
        rows = np.asarray(batch)
        cost = network_loss(weights, activations, loss_name, X[rows], y[rows])
        gradients = gradient(weights, activations, loss_name, X[rows], y[rows])
        if penalty_name is not None:
            cost += penalty(penalty_name, weights, strength, len(X))
            gradients = [
                (dW + penalty_gradient(penalty_name, W, strength, len(X)), db)
                for (W, _), (dW, db) in zip(weights, gradients, strict=True)
            ]
        costs.append(cost)
        if clip is not None:
            gradients = clipped(gradients, *clip)
        for i, ((W, b), (dW, db)) in enumerate(zip(weights, gradients, strict=True)):
            W, states[i][0] = step(W, dW, states[i][0], t, **(constants or {}))
            if penalty_name == "proximal_l1":
                W = soft_threshold(W, (constants or {})["lr"] * strength / len(X))
            b, states[i][1] = step(b, db, states[i][1], t, **(constants or {}))
            weights[i] = (W, b)
    return weights, costs


# Random numbers and initial weights


def philox4x32(counter: Sequence[int], key: Sequence[int], rounds: int = 10) -> tuple[int, int, int, int]:
    """Four random 32-bit words that are a function of four counter words and two key words.

    A round multiplies c0 and c2 by two constants to 64 bits, mixes the high halves with the other words and the key,
    and swaps; between rounds the key moves on by the golden ratio and sqrt(3) - 1.
    Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011 (Random123).
    """
    c0, c1, c2, c3 = (int(word) for word in counter)
    k0, k1 = (int(word) for word in key)
    for _ in range(rounds):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second & 0xFFFFFFFF,
            (first >> 32) ^ c3 ^ k1,
            first & 0xFFFFFFFF,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def glorot_uniform_bound(n_in: int, n_out: int, gain: float = 1.0) -> float:
    """r = gain sqrt(6 / (n_in + n_out)) of U(-r, r). Source: Glorot and Bengio 2010."""
    return gain * math.sqrt(6.0 / (n_in + n_out))


def he_uniform_bound(n_in: int) -> float:
    """r = sqrt(6 / n_in) of U(-r, r), whose variance is 2 / n_in. Source: He, Zhang, Ren and Sun 2015."""
    return math.sqrt(6.0 / n_in)


def he_normal_deviation(n_in: int) -> float:
    """The standard deviation sqrt(2 / n_in) of N(0, 2 / n_in). Source: He, Zhang, Ren and Sun 2015."""
    return math.sqrt(2.0 / n_in)
