"""A run: epochs, validation, callbacks, stopping, history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

import numpy as np

from fastnn import averaging, penalties
from fastnn.engine import Trainer
from fastnn.errors import DivergenceError, FunctionError, InputError
from fastnn.job import Job
from fastnn.progress import Progress
from fastnn.schedules import ReduceOnPlateau
from fastnn_kernels import team

if TYPE_CHECKING:
    from fastnn.diagnostics import Diagnosis
    from fastnn.network import MLP

SPAN_SECONDS = 0.2  # epochs that are shorter run several at a time where nobody waits for each of them


@dataclass
class History:
    """A value per epoch. Accuracies are empty for regression, validation_* without validation data.

    loss: mean over the epoch's samples while training, with the penalty at the end of the epoch; accuracy: likewise
    while training. penalty: with one, what of the loss it is. seconds: time of the epoch without validation and
    callbacks; samples_per_second follows from it. clipped: with clipping, the share of steps whose gradient was
    clipped. zeros: with an L1 penalty, the share of all weights that are exactly 0.

    diagnostics: with fn.Diagnostics among the callbacks, what it saw, a Diagnosis a look; the first is of before the
    first epoch.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    zeros: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    diagnostics: list[Diagnosis] = field(default_factory=list)

    @property
    def gap(self) -> list[float]:
        """The overfitting gap: validation loss - training loss without penalty; empty without validation.

        It grows where the network learns samples by heart. The training loss is the mean over the epoch, so it lags
        half an epoch behind, and has the noise that the network trains with.
        """
        own = np.subtract(self.loss, self.penalty) if self.penalty else self.loss
        return [float(held - one) for held, one in zip(self.validation_loss, own, strict=False)]

    @property
    def accuracy_gap(self) -> list[float]:
        """Training accuracy - validation accuracy, likewise."""
        return [own - held for own, held in zip(self.accuracy, self.validation_accuracy, strict=False)]


_trained: WeakSet[MLP] = WeakSet()
_trained_lock = Lock()


@contextmanager
def alone(net: MLP) -> Iterator[None]:
    """Train a network that nobody else trains meanwhile, in another thread or from a callback. Raises InputError."""
    with _trained_lock:
        if net in _trained:
            raise InputError("this network is being trained: a second fit can only begin when the first one has ended")
        _trained.add(net)
    try:
        yield
    finally:
        with _trained_lock:
            _trained.discard(net)


class Run:
    """One call of fit, on a device that its trainer holds."""

    def __init__(self, net: MLP, job: Job, trainer: Trainer, show: Progress) -> None:
        self.net, self.job, self.trainer, self.show = net, job, trainer, show
        self.history = History()
        self.samples = len(job.training)
        self.steps_per_epoch = job.settings.steps(self.samples)
        self.state = net.fitted.optimizer
        self.epochs_done = 0
        schedule = job.settings.schedule
        self.plateau = schedule.watch(job.settings.optimizer.lr) if isinstance(schedule, ReduceOnPlateau) else None

    def train(self) -> History:
        """All epochs; returns the history.

        Raises DivergenceError and FunctionError, which hold the history, and KeyboardInterrupt after a whole step.
        """
        try:
            self._train()
        except KeyboardInterrupt:
            self._tell_end()
            raise
        self._tell_end()
        return self.history

    def _tell_end(self) -> None:
        for callback in self.job.callbacks:
            callback.fit_end(self.net, self.history)

    def _train(self) -> None:
        settings, callbacks = self.job.settings, self.job.callbacks
        try:
            self.show.start(settings.epochs, self.samples)
            for callback in callbacks:
                callback.training_starts(self.net, self.job.training, settings.loss, self.history)
                callback.fit_start(self.net)
            if callbacks:
                self.trainer.send()
            self._epochs(settings.epochs)
        except (DivergenceError, FunctionError) as error:
            error.history = self.history
            raise
        finally:
            self.trainer.fetch()
            averaging.keep(self.net)
            self.show.close()

    def _epochs(self, epochs: int) -> None:
        span = 1
        while self.epochs_done < epochs:
            span = min(self.trainer.span(span), epochs - self.epochs_done)
            seconds = self._span(span)
            self._validate()
            self.show.epoch_end(self.epochs_done, self.history)
            if self._is_stopped():
                return
            if self.plateau is not None:
                losses = self.history.validation_loss or self.history.loss
                self.trainer.set_rate(self.plateau.rate(losses[-1]))
            elif self.job.validation is None and not self.job.callbacks:
                span = max(1, int(SPAN_SECONDS * span / max(seconds, 1e-6)))

    def _is_stopped(self) -> bool:
        """Ask the callbacks, who see the network with the average of its weights, where there is one."""
        if not self.job.callbacks:
            return False
        self.trainer.fetch()
        with averaging.in_place(self.net):
            stops = [callback.epoch_end(self.net, self.history) for callback in self.job.callbacks]
        self.trainer.send()
        return any(stops)

    def _span(self, epochs: int) -> float:
        """Some epochs in one go; returns the seconds that they took."""
        results = np.zeros((epochs, 5))
        words, state = self.trainer.words, self.state
        words[:] = 0
        start = time.perf_counter()
        try:
            self.trainer.train(epochs, results, self._poll)
        finally:
            seconds = time.perf_counter() - start
            done = int(words[team.EPOCH])
            self._record(results[:done], seconds / max(done, 1))
            state.steps += int(words[team.PROGRESS])
            state.epochs += done
            self.epochs_done += done
        if words[team.FAILURES] or words[team.END] == team.DIVERGED:
            self._give_up(words)
        return seconds

    def step(self, samples: np.ndarray, rate: float) -> None:
        """One step on these rows of X, at this learning rate; an epoch of its own in the history."""
        self.trainer.choose(samples)
        self.trainer.set_rate(rate)
        self._span(1)

    def _poll(self) -> None:
        words, settings = self.trainer.words, self.job.settings
        steps = int(words[team.PROGRESS]) - int(words[team.EPOCH]) * self.steps_per_epoch
        now = min(self.epochs_done + int(words[team.EPOCH]) + 1, settings.epochs)
        self.show.advance(now, min(max(steps, 0) * settings.batch, self.samples))

    def _record(self, results: np.ndarray, seconds: float) -> None:
        settings, history = self.job.settings, self.history
        has_l1 = settings.penalty is not None and settings.penalty.strengths[0] > 0.0
        for loss, hits, clipped, zeros, penalty in results.tolist():
            history.loss.append(loss + penalty)
            if not penalties.is_nothing(settings.penalty):
                history.penalty.append(penalty)
            if settings.clip is not None:
                history.clipped.append(clipped / self.steps_per_epoch)
            if has_l1:
                history.zeros.append(zeros)
            share = self.job.training.targets.share_of_hits(int(hits), self.samples, self.net.n_out)
            if share is not None:
                history.accuracy.append(share)
            history.seconds.append(seconds)
            history.samples_per_second.append(self.samples / seconds)

    def _validate(self) -> None:
        if self.job.validation is None:
            return
        loss, accuracy = self.trainer.validate()
        self.history.validation_loss.append(loss)
        if accuracy is not None:
            self.history.validation_accuracy.append(accuracy)

    def _give_up(self, words: np.ndarray) -> NoReturn:
        """Put the last good weights back, start the optimizer afresh, and say where and why."""
        step = int(words[team.PROGRESS]) - int(words[team.EPOCH]) * self.steps_per_epoch + 1
        at_epoch, at_step = self.epochs_done + 1, min(step, self.steps_per_epoch)
        self.trainer.restore()
        self.state.start_over()
        where = (
            f" in epoch {at_epoch}, step {at_step} of {self.steps_per_epoch}. The network has its last good weights "
            "again, the optimizer starts afresh"
        )
        if (failure := self.trainer.failure(where)) is not None:
            raise failure
        advice = 'Try a lower learning rate or normalize="standard"'
        raise DivergenceError(f"the loss became NaN or infinite{where}. {advice}", at_epoch, at_step)
