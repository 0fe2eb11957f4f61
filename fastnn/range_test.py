"""The learning rate range test. Source: Smith, Cyclical learning rates for training neural networks, 2017."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks
from fastnn.engine import Engine
from fastnn.errors import DivergenceError, InputError
from fastnn.job import Job
from fastnn.progress import Silent
from fastnn.training import Run
from fastnn_kernels import layout

if TYPE_CHECKING:
    from fastnn.network import MLP

WORSE = 4.0  # times the lowest mean loss: there the test ends
LEAST_STEPS = 10
LEAST_SAMPLES = 64  # that a mean is taken over: single losses say little


@dataclass(frozen=True)
class RangeTest:
    """rates and losses: (steps,), the rate of each step and the loss of its batch before it.

    suggestion: the rate at which the smoothed loss falls most steeply. reach: how many neighbours to each side go into
    that.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float
    reach: int

    @property
    def smoothed(self) -> np.ndarray:
        """The losses, each as the mean of its neighbours."""
        return _smooth(self.losses, self.reach)


def rates(lowest: Any, highest: Any, steps: Any) -> np.ndarray:
    """Rates that rise exponentially. Raises InputError."""
    least = checks.real("lowest", lowest, above=0.0)
    most = checks.real("highest", highest, above=0.0)
    if most <= least:
        raise InputError(f"highest must be above lowest, got {highest!r} and {lowest!r}")
    return np.geomspace(least, most, checks.whole("steps", steps, least=LEAST_STEPS))


def run(net: MLP, job: Job, rates: np.ndarray, engine: Engine) -> RangeTest:
    """A step of a copy of the network at each of the rates. job: of one epoch, not shuffled."""
    engine.check(net, job)
    trial = copy.copy(net)
    trial.params = layout.zeros(len(net.params), net.dtype)
    trial.params[:], trial.running = net.params, net.running.copy()
    trial.fitted = net.fitted.copy()
    show = Silent()
    with trial.fitted.beginning(job, trial.params), engine.trainer(trial, job, show.message) as trainer:
        losses = _losses(Run(trial, job, trainer, show), rates, net.seed)
    tried = rates[: len(losses)]
    reach = max(_window(len(tried)), LEAST_SAMPLES // 2 // job.settings.batch)
    return RangeTest(tried, losses, _suggestion(tried, losses, reach), reach)


def _losses(run: Run, rates: np.ndarray, seed: int) -> np.ndarray:
    losses, lowest, batch = run.history.loss, float("inf"), run.job.settings.batch
    span = max(_window(len(rates)), LEAST_SAMPLES // batch)
    batches = _batches(run.job.training.index.copy(), batch, seed)
    for rate in rates:
        try:
            run.step(next(batches), rate)
        except DivergenceError:
            break
        if len(losses) < span:
            continue
        now = float(np.mean(losses[-span:]))
        lowest = min(lowest, now)
        if now > lowest + (WORSE - 1.0) * abs(lowest):
            break
    return np.array(losses)


def _batches(samples: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.Generator(np.random.Philox(seed))
    while True:
        order = random.permutation(samples)
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


def _window(steps: int) -> int:
    return max(1, steps // 20)


def _smooth(losses: np.ndarray, reach: int) -> np.ndarray:
    return np.array([losses[max(i - reach, 0) : i + reach + 1].mean() for i in range(len(losses))])


def _suggestion(rates: np.ndarray, losses: np.ndarray, reach: int) -> float:
    if len(losses) < LEAST_STEPS:
        raise InputError(
            f"the loss grew beyond bounds after {len(losses)} steps, at a rate of {rates[-1] if len(rates) else 0:g}: "
            "give a lower rate as lowest"
        )
    slopes = np.gradient(_smooth(losses, reach))
    if slopes.min() >= 0.0:
        raise InputError(f"the loss falls at none of the rates from {rates[0]:g} on: give a lower rate as lowest")
    return float(rates[slopes.argmin()])
