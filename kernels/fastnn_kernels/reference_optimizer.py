"""The oracle's optimizers, in plain float64 NumPy.

Each takes an array w, its gradient g, the state and the number t of this step, counted from 1, and returns the new w
and the new state. Nothing is overwritten. The formulas are PyTorch's where PyTorch has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Array, Array]  # (dW, db)
State = tuple[Array, ...]  # what an optimizer remembers of one array, each of that array's shape


def sgd(w: Array, g: Array, state: State, t: int, *, lr: float) -> tuple[Array, State]:
    """w -= lr g. State: none."""
    return w - lr * g, ()


def momentum(w: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> tuple[Array, State]:
    """v = beta v + g; w -= lr v. State: (v,). Source: Polyak 1964, with lr outside the velocity."""
    v = beta * state[0] + g
    return w - lr * v, (v,)


def nesterov(w: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> tuple[Array, State]:
    """v = beta v + g; w -= lr (g + beta v): one gradient a step, at w. State: (v,). Source: Sutskever et al. 2013."""
    v = beta * state[0] + g
    return w - lr * (g + beta * v), (v,)


def adam(
    w: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> tuple[Array, State]:
    """w -= lr s' / (sqrt(r' + eps_root) + eps), with s' = s / (1 - beta1^t) and r' = r / (1 - beta2^t) of the averages

    s = beta1 s + (1 - beta1) g and r = beta2 r + (1 - beta2) g^2. State: (s, r). Source: Kingma and Ba 2015.
    """
    s = beta1 * state[0] + (1 - beta1) * g
    r = beta2 * state[1] + (1 - beta2) * g**2
    step = (s / (1 - beta1**t)) / (np.sqrt(r / (1 - beta2**t) + eps_root) + eps)
    return w - lr * step, (s, r)


def lookahead(w: Array, g: Array, state: State, t: int, *, lr: float, beta: float) -> tuple[Array, State]:
    """The course's w += v; g there; v = beta v - lr g, with the first line of the next step already done.

    State: (v,). w is where the next gradient is taken.
    """
    v = beta * state[0] - lr * g
    return w + v, (v,)


def adagrad(
    w: Array, g: Array, state: State, t: int, *, lr: float, eps: float = 1e-10, eps_root: float = 0.0
) -> tuple[Array, State]:
    """r += g^2; w -= lr g / (sqrt(r + eps_root) + eps). State: (r,). Source: Duchi, Hazan and Singer 2011."""
    r = state[0] + g**2
    return w - lr * g / (np.sqrt(r + eps_root) + eps), (r,)


def rmsprop(
    w: Array, g: Array, state: State, t: int, *, lr: float, rho: float = 0.99, eps: float = 1e-8, eps_root: float = 0.0
) -> tuple[Array, State]:
    """r = rho r + (1 - rho) g^2; w -= lr g / (sqrt(r + eps_root) + eps). State: (r,). Source: Tieleman, Hinton 2012."""
    r = rho * state[0] + (1 - rho) * g**2
    return w - lr * g / (np.sqrt(r + eps_root) + eps), (r,)


def adamw(
    w: Array, g: Array, state: State, t: int, *, lr: float, weight_decay: float = 0.01, **constants: float
) -> tuple[Array, State]:
    """w -= lr decay w, then Adam. Biases, vectors, do not decay. Source: Loshchilov and Hutter 2019."""
    decay = weight_decay if w.ndim != 1 else 0.0
    return adam(w - lr * decay * w, g, state, t, lr=lr, **constants)


def amsgrad(
    w: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> tuple[Array, State]:
    """Adam whose root holds the largest r so far. State: (s, r, largest r). Source: Reddi, Kale and Kumar 2018."""
    s = beta1 * state[0] + (1 - beta1) * g
    r = beta2 * state[1] + (1 - beta2) * g**2
    most = np.maximum(state[2], r)
    step = (s / (1 - beta1**t)) / (np.sqrt(most / (1 - beta2**t) + eps_root) + eps)
    return w - lr * step, (s, r, most)


def nadam(
    w: Array,
    g: Array,
    state: State,
    t: int,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    momentum_decay: float = 4e-3,
) -> tuple[Array, State]:
    """w -= lr (g (1 - mu_t) / (1 - M_t) + s mu_t+1 / (1 - M_t+1)) / (sqrt(r / (1 - beta2^t) + eps_root) + eps)

    with mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 ... mu_t, and Adam's averages s and r.
    State: (s, r). Source: Dozat 2016.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (np.arange(1, t + 2) * momentum_decay))
    product = np.cumprod(mu)
    s = beta1 * state[0] + (1 - beta1) * g
    r = beta2 * state[1] + (1 - beta2) * g**2
    step = g * (1 - mu[t - 1]) / (1 - product[t - 1]) + s * mu[t] / (1 - product[t])
    return w - lr * step / (np.sqrt(r / (1 - beta2**t) + eps_root) + eps), (s, r)


OPTIMIZERS: dict[str, tuple[Callable[..., tuple[Array, State]], int]] = {
    "sgd": (sgd, 0),
    "momentum": (momentum, 1),
    "nesterov": (nesterov, 1),
    "lookahead": (lookahead, 1),
    "adagrad": (adagrad, 1),
    "rmsprop": (rmsprop, 1),
    "adam": (adam, 2),
    "adamw": (adamw, 2),
    "amsgrad": (amsgrad, 3),
    "nadam": (nadam, 2),
}
"""The step function of each optimizer and how many state arrays, all zero before the first step, it keeps."""


# Around the update


def clipped(gradients: Sequence[Layer], kind: str, limit: float) -> list[Layer]:
    """value: every element between -limit and limit; norm: all times limit / |g| where the norm |g| of all is larger.

    Source: Pascanu, Mikolov and Bengio 2013.
    """
    if kind == "value":
        return [(np.clip(dW, -limit, limit), np.clip(db, -limit, limit)) for dW, db in gradients]
    norm = np.sqrt(sum(float(np.sum(g**2)) for pair in gradients for g in pair))
    factor = min(1.0, limit / norm) if norm > 0 else 1.0
    return [(dW * factor, db * factor) for dW, db in gradients]


def soft_threshold(w: Array, threshold: float) -> Array:
    """sgn(w) max(|w| - threshold, 0): what minimizes (v - w)^2 / 2 + threshold |v| over v."""
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0.0)


def averaged(path: Sequence[Array], decay: float) -> Array:
    """The average after the steps 1, 2, ... of w from path[0] on: mean += (1 - d) (w - mean), d = min(decay, ...)."""
    mean = path[0]
    for t, w in enumerate(path[1:], start=1):
        mean = mean + (1 - min(decay, (1 + t) / (10 + t))) * (w - mean)
    return mean
