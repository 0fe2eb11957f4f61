"""The oracle of batch and layer normalization, in plain float64 NumPy; nothing here looks at a kernel.

A layer is (W, b), or (W, b, gamma, beta) where it has a norm; a norm is None or (kind, eps) with kind "batch" or
"layer". Shapes as in reference.py: z (m, n), gamma and beta (n,).

Sources: Ioffe and Szegedy, Batch Normalization, 2015; Ba, Kiros and Hinton, Layer Normalization, 2016; the averages
follow PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn_kernels import reference as ref
from fastnn_kernels.reference import Array

Layer = tuple[Array, ...]
Norm = tuple[str, float] | None
Running = tuple[Array, Array]  # mean and variance (n,)

AXES = {"batch": 0, "layer": 1}
"""What the statistics run over: the samples of the batch, or the units of the layer."""


def normalize(norm: tuple[str, float], z: ArrayLike) -> tuple[Array, Array]:
    """xhat = (z - mean) / s (m, n) and s = sqrt(variance + eps), (1, n) or (m, 1), with the biased variance."""
    z, (kind, eps) = np.asarray(z, dtype=np.float64), norm
    s = np.sqrt(z.var(axis=AXES[kind], keepdims=True) + eps)
    return (z - z.mean(axis=AXES[kind], keepdims=True)) / s, s


def jacobian(x: Array, s: float) -> Array:
    """dxhat_i/dz_j = ([i = j] - 1/k - xhat_i xhat_j / k) / s of k numbers that are normalized together."""
    k = len(x)
    return (np.eye(k) - 1 / k - np.outer(x, x) / k) / s


def backward(norm: tuple[str, float], dy: Array, xhat: Array, s: Array, gamma: Array) -> tuple[Array, Array, Array]:
    """dz (m, n), dgamma (n,) and dbeta (n,) from dy (m, n), for y = gamma xhat + beta."""
    d = dy * gamma
    if AXES[norm[0]] == 0:
        dz = np.column_stack([jacobian(xhat[:, j], s[0, j]).T @ d[:, j] for j in range(d.shape[1])])
    else:
        dz = np.vstack([jacobian(xhat[i], s[i, 0]).T @ d[i] for i in range(len(d))])
    return dz, (dy * xhat).sum(axis=0), dy.sum(axis=0)


def network_loss(
    layers: Sequence[Layer], activations: Sequence[Any], norms: Sequence[Norm], loss: str, X: ArrayLike, y: ArrayLike
) -> float:
    """The mean loss with the statistics of X: the loss that a training step descends."""
    return _forward(layers, activations, norms, loss, X, y)[0]


def _forward(layers, activations, norms, loss, X, y):
    """The loss, dL/dz of the last layer, and of every layer its input, z, xhat, s, and what the activation takes."""
    a, passed = np.asarray(X, dtype=np.float64), []
    for layer, activation, norm in zip(layers, activations, norms, strict=True):
        below, z = a, a @ layer[0] + layer[1]
        xhat, s = (None, None) if norm is None else normalize(norm, z)
        u = z if norm is None else layer[2] * xhat + layer[3]
        a = ref.activate(activation, u)
        passed.append((below, z, xhat, s, u))
    if ref.FROM_LOGITS.get(loss) == activations[-1]:
        return ref.loss(loss, u, y), ref.loss_derivative(loss, u, y), passed
    return ref.loss(loss, a, y), ref.loss_derivative(loss, a, y) * ref.derivative(activations[-1], u), passed


def gradient(
    layers: Sequence[Layer], activations: Sequence[Any], norms: Sequence[Norm], loss: str, X: ArrayLike, y: ArrayLike
) -> list[Layer]:
    """The gradient of `network_loss`, an array for each array of the layers."""
    _, delta, passed = _forward(layers, activations, norms, loss, X, y)
    gradients: list[Layer] = []
    for i in reversed(range(len(layers))):
        below, _, xhat, s, _ = passed[i]
        norm, rest = norms[i], list[Array]()
        if norm is not None:
            delta, *rest = backward(norm, delta, xhat, s, layers[i][2])
        gradients.insert(0, (below.T @ delta, delta.sum(axis=0), *rest))
        if i > 0:
            delta = delta @ layers[i][0].T * ref.derivative(activations[i - 1], passed[i - 1][4])
    return gradients


def average(running: Running, z: Array, momentum: float) -> Running:
    """r = (1 - momentum) r + momentum s for the mean and the unbiased variance of the units over the batch z (m, n)."""
    mean, variance = running
    return (1 - momentum) * mean + momentum * z.mean(axis=0), (1 - momentum) * variance + momentum * z.var(
        axis=0, ddof=1
    )


def train(
    layers: Sequence[Layer],
    activations: Sequence[Any],
    norms: Sequence[Norm],
    loss: str,
    X: Array,
    y: Array,
    batches: Iterable[ArrayLike],
    optimizer: str,
    constants: dict[str, Any],
    momentum: float = 0.1,
    l2: float = 0.0,
) -> tuple[list[Layer], list[Running | None], list[float]]:
    """One whole step for each batch of row indices: new layers, running averages (from 0 and 1 on), batch losses.

    l2: lambda / m; penalties are on W alone.
    """
    layers = [tuple(np.array(array, dtype=np.float64) for array in layer) for layer in layers]
    running: list[Running | None] = [
        (np.zeros(len(layer[1])), np.ones(len(layer[1]))) if norm is not None and norm[0] == "batch" else None
        for layer, norm in zip(layers, norms, strict=True)
    ]
    step, slots = ref.OPTIMIZERS[optimizer]
    states = [[(np.zeros_like(array),) * slots for array in layer] for layer in layers]
    losses = []
    for t, batch in enumerate(batches, start=1):
        rows = np.asarray(batch)
        value, _, passed = _forward(layers, activations, norms, loss, X[rows], y[rows])
        gradients = gradient(layers, activations, norms, loss, X[rows], y[rows])
        losses.append(value)
        for i, layer in enumerate(layers):
            known = running[i]
            running[i] = None if known is None else average(known, passed[i][1], momentum)
            slopes = [gradients[i][0] + l2 * layer[0], *gradients[i][1:]]
            new = [step(w, g, states[i][j], t, **constants) for j, (w, g) in enumerate(zip(layer, slopes, strict=True))]
            layers[i] = tuple(w for w, _ in new)
            states[i] = [state for _, state in new]
    return layers, running, losses


def predict(
    layers: Sequence[Layer],
    activations: Sequence[Any],
    norms: Sequence[Norm],
    running: Sequence[Running | None],
    X: ArrayLike,
) -> Array:
    """Outputs (m, n_last): batch normalization by running averages, not folded into anything."""
    a = np.asarray(X, dtype=np.float64)
    for layer, activation, norm, known in zip(layers, activations, norms, running, strict=True):
        u = a @ layer[0] + layer[1]
        if norm is not None:
            xhat = normalize(norm, u)[0] if known is None else (u - known[0]) / np.sqrt(known[1] + norm[1])
            u = layer[2] * xhat + layer[3]
        a = ref.activate(activation, u)
    return a
