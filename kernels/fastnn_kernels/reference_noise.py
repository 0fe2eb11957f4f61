"""The oracle of noise in training: masks word by word from reference.philox4x32, and steps with given masks.

Plain float64 NumPy from the formulas, as reference.py. Layers are counted from 1, as the kernels do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn_kernels import reference as ref
from fastnn_kernels.reference import Activation, Array, Layer

PURPOSES = {"dropout": 1, "drop_connect": 2, "shakeout": 3, "whiteout": 4, "noisy_relu": 5, "augmentation": 6}


@dataclass(frozen=True)
class Disturbance:
    """What noise makes of a layer: z = x W~ + b + n, a = f(z) * output.

    output: factors (m, n_out) of the outputs; weight: W~ (n_in, n_out), None where it is W, and slope: dW~/dW, element
    by element; offset: n (n_out,), and offset_slope: dn_k/dw_jk (n_in, n_out). factors: (m, n_in, n_out), of W for each
    sample; 1 where all have the same.
    """

    output: Array | float = 1.0
    weight: Array | None = None
    slope: Array | float = 1.0
    offset: Array | float = 0.0
    offset_slope: Array | float = 0.0
    factors: Array | None = None


# Random numbers


def uniforms(count: int, purpose: str, layer: int, sample: int, t: int, seed: int) -> Array:
    """The uniform numbers (count,) of a row: element j is word j // 16 % 4 of draw j // 64 * 16 + j % 16."""
    stream, key = PURPOSES[purpose] * 65536 + layer, (seed % 2**32, seed >> 32)
    draws = [ref.philox4x32((draw, stream, sample, t % 2**32), key) for draw in range(math.ceil(count / 64) * 16)]
    words = np.array(draws).reshape(-1, 16, 4).transpose(0, 2, 1).reshape(-1)
    return (words[:count] >> 8) / 2.0**24


def normals(count: int, purpose: str, layer: int, sample: int, t: int, seed: int) -> Array:
    """The standard normal numbers of a row: its sixteens pair up, by Box and Muller 1958."""
    whole = math.ceil(count / 64) * 64
    first, second = uniforms(whole, purpose, layer, sample, t, seed).reshape(-1, 2, 16).transpose(1, 0, 2)
    radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]


# Noises: what each makes of a layer at step t


def dropout(p: float, rows: ArrayLike, units: int, layer: int, t: int, seed: int) -> Disturbance:
    """Factors m / (1 - p) of the outputs, m = 0 with probability p, else 1; rows: indices of the samples.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014.
    """
    numbers = np.array([uniforms(units, "dropout", layer, int(row), t, seed) for row in np.asarray(rows)])
    return Disturbance(output=(numbers >= p) / (1 - p))


def kept_units(p: float, units: int, layer: int, number: int, seed: int) -> Array:
    """The round((1 - p) n) units, at least 1, that dropout leaves in a whole batch or epoch of this number.

    Unit j stays with probability (places left) / (units left). Source: Knuth, volume 2, 3.4.2, algorithm S.
    """
    left, found = max(1, round((1 - p) * units)), []
    for j, u in enumerate(uniforms(units, "dropout", layer, 0, number, seed)):
        if u * (units - j) < left:
            found.append(j)
            left -= 1
    return np.array(found)


def drop_connect(p: float, W: Array, layer: int, t: int, seed: int) -> Disturbance:
    """W~ = W m / (1 - p), m = 0 with probability p, else 1. Source: Wan, Zeiler, Zhang, LeCun and Fergus 2013."""
    numbers = [uniforms(W.shape[1], "drop_connect", layer, j, t, seed) for j in range(len(W))]
    factor = (np.array(numbers) >= p) / (1 - p)
    return Disturbance(weight=W * factor, slope=factor)


def sample_connect(p: float, W: Array, rows: ArrayLike, layer: int, t: int, seed: int) -> Disturbance:
    """DropConnect with a mask for each sample; rows: their indices.

    In a sample's row of numbers each input has n_out of them, filled up to a multiple of 64.
    """
    n_in, n_out = W.shape
    width = math.ceil(n_out / 64) * 64
    numbers = [uniforms(n_in * width, "drop_connect", layer, int(row), t, seed) for row in np.asarray(rows)]
    return Disturbance(factors=(np.array(numbers).reshape(-1, n_in, width)[:, :, :n_out] >= p) / (1 - p))


def shakeout(tau: float, c: float, W: Array, layer: int, t: int, seed: int) -> Disturbance:
    """W~ = -c sgn(W) in the rows of inputs that are off, with probability tau; else (W + c tau sgn(W)) / (1 - tau).

    Source: Kang, Li and Tao 2016.
    """
    on = uniforms(len(W), "shakeout", layer, 0, t, seed)[:, None] >= tau
    kept = (W + c * tau * np.sign(W)) / (1 - tau)
    return Disturbance(weight=np.where(on, kept, -c * np.sign(W)), slope=np.where(on, 1 / (1 - tau), 0.0))


def whiteout(sigma: float, gamma: float, lam: float, form: str, W: Array, layer: int, t: int, seed: int) -> Disturbance:
    """e_jk ~ N(0, sigma^2 |w_jk|^-gamma + lam). "multiplied": W~ = W (1 + e); "added": n_k = sum_j w_jk e_jk.

    |w| counts as 1e-4 where it is less. Source: Li and Liu 2016.
    """
    numbers = np.array([normals(W.shape[1], "whiteout", layer, j, t, seed) for j in range(len(W))])
    e = numbers * np.sqrt(sigma**2 * np.maximum(abs(W), 1e-4) ** -gamma + lam)
    if form == "multiplied":
        return Disturbance(weight=W * (1 + e), slope=1 + e)
    return Disturbance(offset=(W * e).sum(axis=0), offset_slope=e)


# Steps


def gradient(
    weights: Sequence[Layer],
    activations: Sequence[Activation],
    loss_name: str,
    X: ArrayLike,
    y: ArrayLike,
    disturbances: Sequence[Disturbance],
) -> tuple[float, list[Layer]]:
    """The mean loss, and its (dW (n_in, n_out), db (n_out,)) for every layer, each disturbed; the last has no factors.

    Backwards: delta = dL/da * output * g(z), dW = x.T @ delta * slope + offset_slope * db, dL/dx = delta @ W~.T.
    """
    x, passed = np.asarray(X, dtype=np.float64), []
    for (W, b), activation, noise in zip(weights, activations, disturbances, strict=True):
        used = W if noise.weight is None else noise.weight
        z = (x @ used if noise.factors is None else np.einsum("sj,jk,sjk->sk", x, W, noise.factors)) + b + noise.offset
        passed.append((x, used, z))
        name, beta = ref._name_and_beta(activation)
        x = ref.activate(name, z, beta) * noise.output
    z = passed[-1][2]
    if ref._from_logits(loss_name, activations[-1]):
        value, delta = ref.loss(loss_name, z, y), ref.loss_derivative(loss_name, z, y)
    else:
        value = ref.loss(loss_name, x, y)
        delta = ref._through(activations[-1], z, ref.loss_derivative(loss_name, x, y))
    gradients: list[Layer] = []
    for i in reversed(range(len(weights))):
        (below, used, _), noise = passed[i], disturbances[i]
        db = delta.sum(axis=0)
        if noise.factors is None:
            dW, dx = below.T @ delta * noise.slope + noise.offset_slope * db, delta @ used.T
        else:
            dW = np.einsum("sj,sk,sjk->jk", below, delta, noise.factors)
            dx = np.einsum("sk,jk,sjk->sj", delta, used, noise.factors)
        gradients.insert(0, (dW, db))
        if i > 0:
            delta = ref._through(activations[i - 1], passed[i - 1][2], dx * disturbances[i - 1].output)
    return value, gradients


def train(
    weights: Sequence[Layer],
    activations: Sequence[Activation],
    loss_name: str,
    X: ArrayLike,
    y: ArrayLike,
    batches: Iterable[ArrayLike],
    disturb: Callable[[Sequence[Layer], Array, int], Sequence[Disturbance]],
    optimizer: str = "sgd",
    constants: dict[str, Any] | None = None,
    keep: Callable[[int], Sequence[Array]] | None = None,
) -> tuple[list[Layer], list[float]]:
    """reference.train with noise: disturb(weights, rows, t) gives what it makes of the layers at step t, from 1.

    keep(t): the numbers of the units, of the input and each layer, that take part in step t; by default all. The
    weights given to `disturb` are theirs; what belongs to the others rests, state included.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    weights = [(np.array(W, dtype=np.float64), np.array(b, dtype=np.float64)) for W, b in weights]
    step, slots = ref.OPTIMIZERS[optimizer]
    states = [[tuple(np.zeros_like(w) for _ in range(slots)) for w in layer] for layer in weights]
    costs = []
    for t, batch in enumerate(batches, start=1):
        rows = np.asarray(batch)
        units = [np.arange(n) for n in (X.shape[1], *(len(b) for _, b in weights))] if keep is None else keep(t)
        places = [(np.ix_(below, here), here) for below, here in pairwise(units)]
        part = [(W[at], b[here]) for (W, b), (at, here) in zip(weights, places, strict=True)]
        cost, gradients = gradient(part, activations, loss_name, X[rows], y[rows], disturb(part, rows, t))
        costs.append(cost)
        for i, (layer, slopes) in enumerate(zip(weights, gradients, strict=True)):
            for j in range(2):
                at = places[i][j]
                old = tuple(state[at] for state in states[i][j])
                layer[j][at], new = step(layer[j][at], slopes[j], old, t, **(constants or {}))
                for state, values in zip(states[i][j], new, strict=True):
                    state[at] = values
    return weights, costs
