"""What several tests need: small networks with known weights, bounds on rounding, processes of their own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numba import typeof

import fastnn as fn
from fastnn import session
from fastnn_kernels import jit, reference_activation
from fastnn_kernels import reference as ref

ODD_SIZES = (1, 2, 15, 16, 17, 33, 100)
DTYPES = ("float32", "float64")
Weights = Sequence[tuple[np.ndarray, np.ndarray]]


def turns(values: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """`count` neighbours in the ring of values, starting at each: every value in every place, not every pair."""
    step = 3  # so that neighbours differ much
    return [tuple(values[(i + step * j) % len(values)] for j in range(count)) for i in range(len(values))]


def random_weights(rng: np.random.Generator, sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights that keep values near 1, and biases that are not 0; exact in float32."""
    return [
        (
            (rng.normal(size=(n_in, n_out)) / math.sqrt(n_in)).astype(np.float32).astype(np.float64),
            rng.uniform(-0.5, 0.5, n_out).astype(np.float32).astype(np.float64),
        )
        for n_in, n_out in pairwise(sizes)
    ]


def network(rng: np.random.Generator, sizes: Sequence[int], **options: Any) -> fn.MLP:
    """A network with `random_weights`."""
    net = fn.MLP(sizes, **options)
    net.set_weights(random_weights(rng, sizes))
    return net


def data(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers in float64 that are exact in float32."""
    return rng.normal(size=shape).astype(np.float32).astype(np.float64)


def exact(weights: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights or gradients in float64."""
    return [(W.astype(np.float64), b.astype(np.float64)) for W, b in weights]


def flat(weights: Weights) -> np.ndarray:
    """All numbers of weights or gradients behind each other, in float64."""
    return np.concatenate([array.ravel() for pair in exact(weights) for array in pair])


def same(a: Weights, b: Weights) -> bool:
    """Whether two networks' weights are the same bits."""
    pairs = ((x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def sum_error(k: int, dtype: str) -> float:
    """A bound on the error of a sum of k products, in any order, relative to the sum of their absolute values.

    Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1: gamma_k = k u / (1 - k u).
    """
    u = float(np.finfo(dtype).eps) / 2
    return k * u / (1 - k * u)


def drift(
    train: Callable[[Weights], Weights], weights: Weights, steps: int, dtype: str, rng: np.random.Generator
) -> float:
    """How far some steps in a dtype may lead from exact ones.

    A step rounds sums of k terms: it moves the weights by about sqrt(k) eps. What such a move becomes by the end is
    measured on `train`, which is exact; every step may contribute as much.
    """
    k = max(len(W) for W, _ in weights) + 1
    size = math.sqrt(k) * float(np.finfo(dtype).eps)
    end, worst = flat(train(weights)), 0.0
    for _ in range(3):
        moved = [
            tuple(w + rng.choice((-size, size), w.shape) * np.maximum(abs(w), 1) for w in pair) for pair in weights
        ]
        worst = max(worst, float(abs(flat(train(moved)) - end).max()))
    return steps * worst


def gradient_error(
    weights: Weights, loss: str, X: np.ndarray, y: np.ndarray, output: np.ndarray, dtype: str
) -> Weights:
    """A bound on the rounding of a gradient, for activations whose slope is at most 1 in size, element by element.

    Sums of absolute values take the place of sums, forwards and backwards; a few sqrt(k) eps of them may be lost, k
    being all the terms that meet in an element.
    """
    size = [abs(X)]
    for W, b in weights:
        size.append(size[-1] @ abs(W) + abs(b) + 1)
    m, n = y.shape
    scale = {"mse": 2 / (m * n), "half_mse": 1 / m, "mae": 1 / (m * n), "binary_cross_entropy": 1 / (m * n)}
    delta = (abs(output) + abs(y)) * scale.get(loss, 1 / m)
    k = m + sum(len(b) for _, b in weights) + X.shape[1]
    lost = 8 * math.sqrt(k) * float(np.finfo(dtype).eps)
    bounds: list[tuple[np.ndarray, np.ndarray]] = []
    for a, (W, _) in zip(reversed(size[:-1]), reversed(weights), strict=True):
        bounds.insert(0, (lost * (a.T @ delta), lost * delta.sum(axis=0)))
        delta = delta @ abs(W).T
    return bounds


def assert_close(given: Weights, expected: Weights, bounds: Weights) -> None:
    """Every element within its bound."""
    for number, (pair, wanted, bound) in enumerate(zip(exact(given), expected, bounds, strict=True)):
        for name, a, b, limit in zip(("dW", "db"), pair, wanted, bound, strict=True):
            excess = float((abs(a - b) / limit).max())
            assert excess <= 1, f"{name} of layer {number}: {excess:.2g} times the bound"


def away_from_kinks(weights: Weights, activations: Sequence[Any], X: np.ndarray, margin: float) -> bool:
    """Whether no pre-activation lies within `margin` of a kink of some activation."""
    layers = ref.feedforward(weights, activations, X)
    return all(abs(z - kink).min() > margin for z, _ in layers for kink in reference_activation.KINKS)


def fisher_yates(count, seed, stream):
    """The order that a shuffle gives to 0, 1, 2, ...: Fisher and Yates, backwards, four random words a counter."""
    order = list(range(count))
    key = (seed & 0xFFFFFFFF, seed >> 32)
    i = count - 1
    while i > 0:
        for word in ref.philox4x32((i >> 2, 0, stream & 0xFFFFFFFF, stream >> 32), key):
            if i > 0:
                j = word * (i + 1) >> 32
                order[i], order[j] = order[j], order[i]
                i -= 1
    return order


def compiled_by(entry: Any, extras: bool | None) -> list[Any]:
    """All kernels that an entry of the compiled code is made of, in float32, the entry itself among them."""
    args = session.entries(np.dtype(np.float32), extras)[entry]
    found: dict[Any, None] = {}
    waiting = [jit.kernel(entry.py_func).lowered(tuple(typeof(arg) for arg in args))]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting.extend(one.calls)
    return list(found)


def python(code: str, *arguments: Any, check: bool = True, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with environment variables set; its output as text."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not check or result.returncode == 0, result.stderr
    return result
