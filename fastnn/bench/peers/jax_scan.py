"""JAX with a whole epoch in one compiled call: a scan over the batches, its carry donated.

Measured, and kept because they were faster: the permutation comes from NumPy, since XLA's sort on the CPU takes up to a
third of a small network's epoch; each step gathers its own rows; at batch 1 the scan is unrolled four times. Epochs are
dispatched without waiting for the one before.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from fastnn.bench.peers import PeerTrainer, missing_package
from fastnn.bench.workloads import LEARNING_RATE, Workload

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def available() -> str | None:
    return missing_package("jax")


class Trainer(PeerTrainer):
    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", workload.dtype == "float64")
        self.rng = np.random.default_rng(0)
        self.X, self.y = jax.device_put(X), jax.device_put(y.astype(np.int32) if workload.classifies else y)
        self.state = jax.device_put(initial_state(workload, self.rng))
        self.run = compiled_epoch(workload)

    def epoch(self) -> None:
        self.epochs(1)

    def epochs(self, count: int) -> None:
        import jax

        for _ in range(count):
            self.state = self.run(self.state, self.X, self.y, self.rng.permutation(len(self.X)).astype(np.int32))
        jax.block_until_ready(self.state)


def initial_state(workload: Workload, rng: np.random.Generator):
    """The parameters [(W, b), ...]; for Adam also its two averages and the step number."""
    parameters = [
        (
            (rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(workload.dtype),
            np.zeros(b, workload.dtype),
        )
        for a, b in itertools.pairwise(workload.sizes)
    ]
    if workload.optimizer == "sgd":
        return (parameters,)
    zeros = [(np.zeros_like(W), np.zeros_like(b)) for W, b in parameters]
    return parameters, zeros, [(W.copy(), b.copy()) for W, b in zeros], np.zeros((), workload.dtype)


def compiled_epoch(workload: Workload):
    """(state, X, y, permutation) -> state after an epoch; a shorter last batch is a step after the scan."""
    import jax

    loss, update = mean_loss(workload.classifies), sgd if workload.optimizer == "sgd" else adam

    def step(state, X, y, rows):
        return update(state, jax.grad(loss)(state[0], X[rows], y[rows]))

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, X, y, permutation):
        full = workload.samples - workload.samples % workload.rows
        batches = permutation[:full].reshape(-1, workload.rows)
        unroll = 4 if workload.rows == 1 else 1
        state, _ = jax.lax.scan(lambda carry, rows: (step(carry, X, y, rows), None), state, batches, unroll=unroll)
        return step(state, X, y, permutation[full:]) if full < workload.samples else state

    return epoch


def mean_loss(classifies: bool):
    """The loss of (parameters, X, y)."""
    import jax
    import jax.numpy as jnp

    def loss(parameters, x, y):
        for W, b in parameters[:-1]:
            x = jax.nn.relu(x @ W + b)
        W, b = parameters[-1]
        z = x @ W + b
        if not classifies:
            return jnp.mean((z - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))

    return loss


def sgd(state, gradients):
    import jax

    return (jax.tree.map(lambda w, g: w - LEARNING_RATE * g, state[0], gradients),)


def adam(state, gradients):
    import jax
    import jax.numpy as jnp

    parameters, s, r, t = state
    t = t + 1
    s = jax.tree.map(lambda s, g: BETA1 * s + (1 - BETA1) * g, s, gradients)
    r = jax.tree.map(lambda r, g: BETA2 * r + (1 - BETA2) * g * g, r, gradients)
    rate, scale = LEARNING_RATE / (1 - BETA1**t), 1 / (1 - BETA2**t)
    parameters = jax.tree.map(lambda w, s, r: w - rate * s / (jnp.sqrt(r * scale) + EPS), parameters, s, r)
    return parameters, s, r, t
