"""A run: split, epochs, validation, callbacks, stopping, history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fastnn import clipping, norms, penalties, session, subnetwork
from fastnn.augment import Augmentation
from fastnn.averaging import EMA
from fastnn.callbacks import Callback
from fastnn.clipping import Clip, ClipNorm
from fastnn.errors import DivergenceError, FunctionError
from fastnn.last_good import LastGood
from fastnn.losses import Loss
from fastnn.optimizers import SGD, Optimizer
from fastnn.progress import Progress
from fastnn.schedules import ReduceOnPlateau, Schedule
from fastnn.targets import Targets
from fastnn_kernels import epoch, layout, optimizer, team, update, work

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


@dataclass(frozen=True)
class Part:
    """Samples to train on or to validate with. index: rows of X, work.ROW; weights: a factor a row of X, or None."""

    X: np.ndarray
    targets: Targets
    index: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Settings:
    """What `fit` was asked to do, checked. batch: samples an update; pass_rows: those that go through at once."""

    loss: Loss
    optimizer: Optimizer
    epochs: int
    batch: int
    shuffle: bool
    penalty: penalties.Penalty | None
    schedule: Schedule
    callbacks: tuple[Callback, ...]
    threads: int
    pass_rows: int
    clip: Clip | None = None
    average: EMA | None = None
    augment: Augmentation | None = None

    @property
    def is_stochastic(self) -> bool:
        """Whether steps are of one sample and plain, so that the path made for them applies."""
        plain = isinstance(self.optimizer, SGD) and penalties.is_nothing(self.penalty)
        return self.batch == 1 and plain and (self.clip, self.average, self.augment) == (None, None, None)


class Run:
    """One call of fit. last_good: of the network; without it, a run that diverges leaves what it had reached."""

    def __init__(
        self,
        net: MLP,
        training: Part,
        validation: Part | None,
        settings: Settings,
        show: Progress,
        last_good: LastGood | None = None,
    ) -> None:
        self.last_good = last_good
        self.net, self.training, self.settings, self.show = net, training, settings, show
        self.history = History()
        self.samples = len(training.index)
        self.steps_per_epoch = -(-self.samples // settings.batch)
        self.state = net.fitted.optimizer
        self.epochs_done = 0
        functions = [epoch.train] if validation is None else [epoch.train, epoch.evaluate]
        session.prepare(net.dtype, functions, show.message)
        self.session = self._open()
        self.validation = None if validation is None else self._evaluation(validation)
        self.average = self.state.values[-len(net.params) :] if settings.average else None
        schedule = settings.schedule
        self.plateau = schedule.watch(settings.optimizer.lr) if isinstance(schedule, ReduceOnPlateau) else None

    def _open(self) -> session.Session:
        settings, net = self.settings, self.net
        parts, rows = session.division(net, settings.batch, settings.augment)
        rows = min(rows, settings.pass_rows)
        sums = update.chunks(len(net.params)) + parts if parts or isinstance(settings.clip, ClipNorm) else 0
        constants = np.concatenate([settings.optimizer.constants(), np.zeros(sums)])
        penalties.fill(constants, settings.penalty, self.samples)
        clipping.fill(constants, settings.clip)
        constants[optimizer.AVERAGE] = 0.0 if settings.average is None else settings.average.decay
        constants[optimizer.SCHEDULE : optimizer.CONSTANTS] = settings.schedule.constants(
            self.steps_per_epoch, settings.epochs, self.state.steps
        )
        gradients = parts or (1 if settings.batch > rows or sums > 0 else 0)
        opened = session.open_session(
            net,
            self.training.X,
            self.training.targets,
            settings.loss,
            self.training.index,
            rows,
            settings.threads,
            constants=constants,
            optimizer_code=settings.optimizer.code,
            state=self.state.values,
            gradient=layout.zeros(gradients * len(net.params), net.dtype),
            kept=None if self.last_good is None else self.last_good.for_kernels,
            shuffle=settings.shuffle,
            stochastic=settings.is_stochastic and suits_single_samples(net),
            weights=self.training.weights,
            noisy=True,
            augment=settings.augment,
            parts=parts,
        )
        if self.last_good is not None:
            self.last_good.share(opened.arrays.numbers)
        return subnetwork.attach(net, opened, rows)

    def _evaluation(self, part: Part) -> session.Evaluation:
        return session.Evaluation(
            self.net, part.X, part.targets, self.settings.loss, part.index, self.settings.threads, part.weights
        )

    def train(self) -> History:
        """All epochs; returns the history.

        Raises DivergenceError and FunctionError, which hold the history, and KeyboardInterrupt after a whole step.
        """
        try:
            self.show.start(self.settings.epochs, self.samples)
            for callback in self.settings.callbacks:
                callback.training_starts(self.net, self.training, self.settings.loss, self.history)
                callback.fit_start(self.net)
            with team.Team(self.settings.threads) as workers:
                self._epochs(workers)
        except (DivergenceError, FunctionError) as error:
            error.history = self.history
            raise
        finally:
            self._keep_average()
            self.show.close()
        for callback in self.settings.callbacks:
            callback.fit_end(self.net, self.history)
        return self.history

    def _epochs(self, workers: team.Team) -> None:
        span = 1
        while self.epochs_done < self.settings.epochs:
            span = min(span, self.settings.epochs - self.epochs_done)
            if self.last_good is not None:
                span = self.last_good.epochs(span, self.state.steps, self.steps_per_epoch)
            seconds = self._span(workers, span)
            if self.last_good is not None:
                self.last_good.keep(self.state.steps)
            with self._averaged():
                self._validate(workers)
                self.show.epoch_end(self.epochs_done, self.history)
                stops = [callback.epoch_end(self.net, self.history) for callback in self.settings.callbacks]
            if any(stops):
                return
            if self.plateau is not None:
                losses = self.history.validation_loss or self.history.loss
                self.session.arrays.constants[optimizer.LR] = self.plateau.rate(losses[-1])
            elif self.validation is None and not self.settings.callbacks:
                span = max(1, int(SPAN_SECONDS * span / max(seconds, 1e-6)))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network holds the average of its weights for a while."""
        if self.average is None:
            yield
            return
        raw = self.net.params.copy()
        self.net.params[:] = self.average
        try:
            yield
        finally:
            self.net.params[:] = raw

    def _keep_average(self) -> None:
        """At the end the network holds the average; the next fit goes on from what it held."""
        if self.average is not None:
            self.net.fitted.raw = self.net.params.copy()
            self.net.params[:] = self.average

    def _span(self, workers: team.Team, epochs: int) -> float:
        """Some epochs in one go; returns the seconds that they took."""
        results = np.zeros((epochs, 5))
        words, state = self.session.words, self.state
        words[:] = 0
        start = time.perf_counter()
        try:
            self.session.run(
                workers, epoch.train, self.settings.batch, epochs, state.epochs, state.steps, results, poll=self._poll
            )
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

    def step(self, workers: team.Team, samples: np.ndarray, rate: float) -> None:
        """One step on these rows of X, at this learning rate; an epoch of its own in the history."""
        arrays = self.session.arrays
        arrays.samples[: len(samples)] = samples
        arrays.numbers[work.SAMPLES] = len(samples)
        arrays.constants[optimizer.LR] = rate
        self._span(workers, 1)

    def _poll(self) -> None:
        words = self.session.words
        steps = int(words[team.PROGRESS]) - int(words[team.EPOCH]) * self.steps_per_epoch
        now = min(self.epochs_done + int(words[team.EPOCH]) + 1, self.settings.epochs)
        self.show.advance(now, min(max(steps, 0) * self.settings.batch, self.samples))

    def _record(self, results: np.ndarray, seconds: float) -> None:
        for loss, hits, clipped, zeros, penalty in results.tolist():
            self.history.loss.append(loss + penalty)
            if not penalties.is_nothing(self.settings.penalty):
                self.history.penalty.append(penalty)
            if self.settings.clip is not None:
                self.history.clipped.append(clipped / self.steps_per_epoch)
            if self.session.arrays.constants[optimizer.PENALTY_L1] > 0.0:
                self.history.zeros.append(zeros)
            self._append_hits(self.history.accuracy, int(hits))
            self.history.seconds.append(seconds)
            self.history.samples_per_second.append(self.samples / seconds)

    def _append_hits(self, accuracy: list[float], hits: int) -> None:
        share = session.share_of_hits(hits, self.samples, self.training.targets, self.net.n_out)
        if share is not None:
            accuracy.append(share)

    def _validate(self, workers: team.Team) -> None:
        if self.validation is None:
            return
        loss, accuracy = self.validation.measure(workers)
        self.history.validation_loss.append(loss)
        if accuracy is not None:
            self.history.validation_accuracy.append(accuracy)

    def _give_up(self, words: np.ndarray) -> NoReturn:
        """Put the last good weights back, start the optimizer afresh, and say where and why."""
        step = int(words[team.PROGRESS]) - int(words[team.EPOCH]) * self.steps_per_epoch + 1
        at_epoch, at_step = self.epochs_done + 1, min(step, self.steps_per_epoch)
        if self.last_good is not None:
            self.last_good.restore(self.state.steps)
        self.average = None
        self.state.values[:] = 0
        self.state.steps = 0
        where = (
            f" in epoch {at_epoch}, step {at_step} of {self.steps_per_epoch}. The network has its last good weights "
            "again, the optimizer starts afresh"
        )
        if (failure := self.session.failure(where)) is not None:
            raise failure
        advice = 'Try a lower learning rate or normalize="standard"'
        raise DivergenceError(f"the loss became NaN or infinite{where}. {advice}", at_epoch, at_step)


def suits_single_samples(net: MLP) -> bool:
    """Whether the path for steps of one sample knows all that the layers do."""
    is_noisy = net.has_noise or any(layer.function.is_noisy for layer in net.layers)
    return not is_noisy and not norms.has_norm(net)
