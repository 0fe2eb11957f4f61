"""The processor as an engine: the kernels change the network's own arrays, on a team of threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fastnn import averaging, description, division, losses, norms, session, subnetwork
from fastnn.crew import Crew
from fastnn.errors import FunctionError
from fastnn.job import Job, Part
from fastnn.last_good import LastGood
from fastnn.losses import Loss
from fastnn.session import EVALUATION_BLOCK
from fastnn_kernels import epoch, layout, optimizer, work
from fastnn_kernels import observe as observing
from fastnn_kernels.team import END, EPOCH, GOES_ON, PROGRESS, Team

if TYPE_CHECKING:
    from fastnn.network import MLP


class Processor:
    """threads: None for as many as the work is worth."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads

    def check(self, net: MLP, job: Job) -> None:
        """It knows all."""

    def trainer(self, net: MLP, job: Job, report: Callable[[str], None]) -> Training:
        single = division.single_samples(net, job.training, job.settings)
        numbers = division.numbers_of_threads(net, job.settings.minibatch, self._threads, single)
        epoch_of = job.settings.minibatch, len(job.training)
        if net.fitted.crew is None or not net.fitted.crew.suits(numbers, epoch_of):
            net.fitted.crew = Crew(numbers, epoch_of)
        return Training(net, job, net.fitted.crew, report)

    def evaluate(self, net: MLP, part: Part, loss: Loss) -> tuple[float, float | None]:
        return Evaluation(net, part, loss, self._idle(net, part)).measure()

    def predict(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        out = np.empty((len(part), net.n_out), net.dtype)
        _, threads = _blocks(len(part), self._idle(net, part))
        opened = session.open_session(net, part, loss, _rows(part, threads), threads, predicts=True)
        session.enter(opened, epoch.predict, EVALUATION_BLOCK, out)
        return out

    def gradient(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        out = layout.zeros(net.layout.count, net.dtype)
        opened = session.open_session(
            net, part, loss, division.pass_rows(net, len(part)), self._idle(net, part), gradient=out
        )
        session.enter(opened, epoch.gradient)
        return out

    def observe(self, net: MLP, part: Part, layer: int, activated: bool) -> np.ndarray:
        """On one thread."""
        out = np.empty((len(part), net.sizes[layer]), net.dtype)
        loss = losses.natural(net.layers[-1].function)
        opened = session.open_session(net, part, loss, _rows(part, 1), 1, predicts=True)
        session.enter(opened, observing.observe, layer, activated, out)
        return out

    def _idle(self, net: MLP, part: Part) -> int:
        """Threads for work outside a fit."""
        return division.choose_threads(net, min(len(part), division.PASS_ROWS), self._threads)


class Training:
    """See engine.Trainer."""

    def __init__(self, net: MLP, job: Job, crew: Crew, report: Callable[[str], None]) -> None:
        settings, training, state = job.settings, job.training, net.fitted.optimizer
        self._entry = epoch.train_singly if division.single_samples(net, training, settings) else epoch.train
        wanted = [self._entry] if job.validation is None else [self._entry, epoch.evaluate]
        session.prepare(net.dtype, description.extras(net, settings.augment), wanted, report)
        parts, rows = division.parts_and_rows(net, settings.batch, settings.augment)
        rows = min(rows, division.pass_rows(net, settings.minibatch))
        self._steps_per_epoch = settings.steps(len(training))
        self._last_good = LastGood(net.params, net.running, settings.batch, state.steps)
        constants = settings.constants(len(training), state.steps, state.own_epochs)
        learning = session.Learning(settings, constants, state.values, self._last_good)
        opened = session.open_session(net, training, settings.loss, rows, crew.most, learning=learning, parts=parts)
        self._session = subnetwork.attach(net, opened, rows)
        self._validation = None
        if job.validation is not None:
            self._validation = Evaluation(net, job.validation, settings.loss, crew.most)
        self._net, self._settings, self._state = net, settings, state
        self._stack = ExitStack()
        self._stack.enter_context(self._last_good)
        self._crew, self.words, self.label = crew, self._session.words, crew.label

    def __enter__(self) -> Training:
        try:
            self._teams = {number: self._stack.enter_context(Team(number)) for number in self._crew.numbers}
        except BaseException:
            self._stack.close()
            raise
        self._crew.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def span(self, most: int) -> int:
        return self._last_good.epochs(self._crew.span(most), self._state.steps, self._steps_per_epoch)

    def train(self, epochs: int, results: np.ndarray, poll: Callable[[], None]) -> None:
        state, batch, team, start = self._state, self._settings.batch, self._teams[self._crew.now], time.perf_counter()
        self._session.run(team, self._entry, batch, epochs, state.epochs, state.steps, results, poll=poll)
        self._crew.ran(int(self.words[EPOCH]), time.perf_counter() - start)
        if self.words[END] == GOES_ON:
            self._last_good.keep(state.steps + int(self.words[PROGRESS]))

    def validate(self) -> tuple[float, float | None]:
        assert self._validation is not None
        with averaging.in_place(self._net):
            return self._validation.measure(self._teams[self._crew.most])

    def set_rate(self, rate: float) -> None:
        self._session.arrays.constants[optimizer.LR] = rate

    def choose(self, samples: np.ndarray) -> None:
        arrays = self._session.arrays
        arrays.samples[: len(samples)] = samples
        arrays.numbers[work.SAMPLES] = len(samples)

    def fetch(self) -> None:
        """It is there."""

    def send(self) -> None:
        """They are the same."""

    def restore(self) -> None:
        self._last_good.restore(self._state.steps)

    def failure(self, where: str) -> FunctionError | None:
        return self._session.failure(where)


class Evaluation:
    """Mean loss and accuracy over some samples, as often as asked."""

    def __init__(self, net: MLP, part: Part, loss: Loss, threads: int) -> None:
        self._net, self._part = net, part
        blocks, threads = _blocks(len(part), threads)
        self._losses, self._hits = np.zeros(blocks), np.zeros(blocks, np.int64)
        self._session = session.open_session(net, part, loss, _rows(part, threads), threads, predicts=True)

    def measure(self, workers: Team | None = None) -> tuple[float, float | None]:
        """Mean loss, and the share of hits, None where nothing counts as one. workers: a team that is free."""
        net, part = self._net, self._part
        if norms.has_batch_norm(net):
            norms.fold(net, self._session.arrays.params)
        session.enter(self._session, epoch.evaluate, EVALUATION_BLOCK, self._losses, self._hits, workers=workers)
        hits = part.targets.share_of_hits(int(self._hits.sum()), len(part), net.n_out)
        return float(self._losses.sum() / len(part)), hits


def _rows(part: Part, threads: int) -> int:
    """Rows of a workspace in which each thread, whichever blocks it takes, has room for a whole one."""
    return threads * min(EVALUATION_BLOCK, len(part))


def _blocks(samples: int, threads: int) -> tuple[int, int]:
    blocks = -(-samples // EVALUATION_BLOCK)
    return blocks, min(threads, blocks)
