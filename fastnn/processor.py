"""The processor as an engine: the kernels change the network's own arrays, on a team of threads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from fastnn import averaging, losses, norms, session, subnetwork
from fastnn.errors import FunctionError
from fastnn.job import Job, Part
from fastnn.last_good import LastGood
from fastnn.losses import Loss
from fastnn.session import EVALUATION_BLOCK
from fastnn_kernels import epoch, layout, optimizer, team, work
from fastnn_kernels import observe as observing
from fastnn_kernels.team import Team

if TYPE_CHECKING:
    from fastnn.network import MLP


class Processor:
    """threads: None for as many as the work is worth."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads

    def check(self, net: MLP, job: Job) -> None:
        """It knows all."""

    def trainer(self, net: MLP, job: Job, report: Callable[[str], None], is_trial: bool = False) -> Training:
        threads = session.choose_threads(net, job.settings.minibatch, self._threads)
        return Training(net, job, threads, report, is_trial)

    def evaluate(self, net: MLP, part: Part, loss: Loss) -> tuple[float, float | None]:
        return Evaluation(net, part, loss, self._idle(net, part)).measure()

    def predict(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        out = np.empty((len(part), net.n_out), net.dtype)
        _, threads = _blocks(len(part), self._idle(net, part))
        opened = session.open_session(net, part, loss, threads * EVALUATION_BLOCK, threads, predicts=True)
        session.enter(opened, epoch.predict, EVALUATION_BLOCK, out)
        return out

    def gradient(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        out = layout.zeros(net.layout.count, net.dtype)
        opened = session.open_session(
            net, part, loss, session.pass_rows(net, len(part)), self._idle(net, part), gradient=out
        )
        session.enter(opened, epoch.gradient)
        return out

    def observe(self, net: MLP, part: Part, layer: int, activated: bool) -> np.ndarray:
        """On one thread."""
        out = np.empty((len(part), net.sizes[layer]), net.dtype)
        loss = losses.natural(net.layers[-1].function)
        opened = session.open_session(net, part, loss, EVALUATION_BLOCK, 1, predicts=True)
        session.enter(opened, observing.observe, layer, activated, out)
        return out

    def _idle(self, net: MLP, part: Part) -> int:
        """Threads for work outside a fit."""
        return session.choose_threads(net, min(len(part), session.PASS_ROWS), self._threads)


class Training:
    """See engine.Trainer."""

    def __init__(self, net: MLP, job: Job, threads: int, report: Callable[[str], None], is_trial: bool) -> None:
        session.prepare(net.dtype, [epoch.train] if job.validation is None else [epoch.train, epoch.evaluate], report)
        self._net, self._job, self._threads, self._is_trial = net, job, threads, is_trial
        self._settings, self._state = job.settings, net.fitted.optimizer
        self.label = f"{threads} thread" + ("s" if threads > 1 else "")

    def __enter__(self) -> Training:
        with ExitStack() as stack:
            self._last_good = None
            if not self._is_trial:
                net, state = self._net, self._state
                self._last_good = stack.enter_context(
                    LastGood(net.params, net.running, self._settings.batch, state.steps)
                )
            self._session = self._open()
            self.words = self._session.words
            self._validation = None
            if self._job.validation is not None:
                self._validation = Evaluation(self._net, self._job.validation, self._settings.loss, self._threads)
            self._team = stack.enter_context(Team(self._threads))
            self._stack = stack.pop_all()
        return self

    def _open(self) -> session.Session:
        net, settings, state, training = self._net, self._settings, self._state, self._job.training
        parts, rows = session.division(net, settings.batch, settings.augment)
        rows = min(rows, session.pass_rows(net, settings.minibatch))
        kept = None if self._last_good is None else self._last_good.for_kernels
        learning = session.Learning(settings, settings.constants(len(training), state.steps), state.values, kept)
        opened = session.open_session(net, training, settings.loss, rows, self._threads, learning=learning, parts=parts)
        if self._last_good is not None:
            self._last_good.share(opened.arrays.numbers)
        return subnetwork.attach(net, opened, rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def most(self, epochs: int) -> int:
        if self._last_good is None:
            return epochs
        return self._last_good.epochs(epochs, self._state.steps, self._settings.steps(len(self._job.training)))

    def train(self, epochs: int, results: np.ndarray, poll: Callable[[], None]) -> None:
        state, batch, words = self._state, self._settings.batch, self.words
        self._session.run(self._team, epoch.train, batch, epochs, state.epochs, state.steps, results, poll=poll)
        is_good = words[team.END] == team.GOES_ON and not words[team.FAILURES]
        if self._last_good is not None and is_good:
            self._last_good.keep(state.steps + int(words[team.PROGRESS]))

    def validate(self) -> tuple[float, float | None]:
        assert self._validation is not None
        with averaging.in_place(self._net):
            return self._validation.measure(self._team)

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
        if self._last_good is not None:
            self._last_good.restore(self._state.steps)

    def failure(self, where: str) -> FunctionError | None:
        return self._session.failure(where)


class Evaluation:
    """Mean loss and accuracy over some samples, as often as asked."""

    def __init__(self, net: MLP, part: Part, loss: Loss, threads: int) -> None:
        self._net, self._part = net, part
        blocks, threads = _blocks(len(part), threads)
        self._losses, self._hits = np.zeros(blocks), np.zeros(blocks, np.int64)
        self._session = session.open_session(net, part, loss, threads * EVALUATION_BLOCK, threads, predicts=True)

    def measure(self, workers: Team | None = None) -> tuple[float, float | None]:
        """Mean loss, and the share of hits, None where nothing counts as one. workers: a team that is free."""
        net, part = self._net, self._part
        if norms.has_batch_norm(net):
            norms.fold(net, self._session.arrays.params)
        session.enter(self._session, epoch.evaluate, EVALUATION_BLOCK, self._losses, self._hits, workers=workers)
        hits = part.targets.share_of_hits(int(self._hits.sum()), len(part), net.n_out)
        return float(self._losses.sum() / len(part)), hits


def _blocks(samples: int, threads: int) -> tuple[int, int]:
    blocks = -(-samples // EVALUATION_BLOCK)
    return blocks, min(threads, blocks)
