"""Epochs, evaluation, prediction and gradients on the device, as ../epoch.py has them: the loops of the host.

The host enqueues steps and is at most two groups of them ahead of the device; what the device has counted comes back
with every group, and once more at the end of an epoch.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastnn_kernels import team
from fastnn_kernels.cuda import flat, memory, output, penalty, step, stochastic, subnetwork
from fastnn_kernels.cuda.data import Source
from fastnn_kernels.cuda.driver import blocks_for, kernel, place
from fastnn_kernels.cuda.flat import THREADS
from fastnn_kernels.cuda.work import (
    BATCH_SIZE,
    CLIPPED_STEPS,
    COST,
    EPOCH,
    FACTOR,
    FLAG,
    HITS,
    LOSS,
    NOW,
    STEPS,
    STREAMED,
    SUMS,
    TRAINING,
    WORDS,
    ZEROS,
    Pass,
    T,
)
from fastnn_kernels.epoch import new_order
from fastnn_kernels.layout import N_OUT, STRIDE, A
from fastnn_kernels.noise import PER_EPOCH
from fastnn_kernels.optimizer import PENALTY_L1, PENALTY_L2
from fastnn_kernels.work import LAYERS, PASS_ROWS, RUNNING_SIZE, SEED, SHUFFLED, STOCHASTIC, SUBNETWORK

GROUP = 8  # steps between two looks at what the device has counted
SINGLE_STEPS = 1024  # steps of one sample that are enqueued at a time


def start(p: Pass, t: int = 0, epoch: int = 0, is_training: bool = False) -> None:
    """t steps and so many epochs were done, and nothing is counted yet."""
    now = np.zeros(NOW, np.int64)
    now[T], now[EPOCH], now[TRAINING] = t, epoch, is_training
    sums = np.zeros(SUMS)
    sums[FACTOR] = 1.0
    memory.put(now, p.work.now, p.stream)
    memory.put(np.zeros(WORDS, np.int64), p.work.words, p.stream)
    memory.put(sums, p.work.sums[:SUMS], p.stream)


def _passes(p: Pass, samples: int) -> Iterator[tuple[int, bool, bool]]:
    """Where each pass of an epoch ends, whether it is the first of its batch, and whether the last."""
    batch, rows = int(p.numbers[BATCH_SIZE]), int(p.numbers[PASS_ROWS])
    for first in range(0, samples, batch):
        last = min(first + batch, samples)
        for begin in range(first, last, rows):
            end = min(begin + rows, last)
            yield end, begin == first, end == last


def _pieces(passes: Sequence[Pass], source: Source, order: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """The pieces of an order, while the device has their samples: number of the Pass, first position and last."""
    main = passes[0]
    memory.put(order.astype(np.uint32), main.work.order[: len(order)], main.stream)
    for which, first, last in source.pieces(order, (end for end, *_ in _passes(main, len(order)))):
        if main.numbers[STREAMED]:
            step.move_to(passes[which], first)
        yield which, first, last


def _sweep(passes: Sequence[Pass], source: Source, order: np.ndarray) -> Iterator[tuple[int, int, bool, bool]]:
    """All passes through the samples of an order: number of the Pass, where it ends, whether it is the first of its
    batch, and whether the last."""
    ends = _passes(passes[0], len(order))
    for which, first, last in _pieces(passes, source, order):
        end = first
        while end < last:
            end, is_first, is_last = next(ends)
            yield which, end, is_first, is_last


def evaluate(passes: Sequence[Pass], source: Source, order: np.ndarray) -> tuple[float, int]:
    """The sum of the losses of the rows that `order` names, and the hits."""
    main = passes[0]
    start(main)
    for which, *_ in _sweep(passes, source, order):
        p = passes[which]
        step.begin(p)
        step.feed(p)
        output.losses(p)
        step.finish(p)
    words, sums = _counted(main)
    return float(sums[LOSS]), int(words[HITS])


def observe(
    passes: Sequence[Pass], source: Source, order: np.ndarray, layer: int, activates: bool, out: np.ndarray
) -> None:
    """A of a layer for the rows that `order` names: out, float (rows, n_out).

    activates: whether the output activation follows, which feed leaves out in the last layer.
    """
    main, begin = passes[0], 0
    start(main)
    place, stride, n_out = main.at(layer, A), main.at(layer, STRIDE), main.at(layer, N_OUT)
    for which, end, *_ in _sweep(passes, source, order):
        p = passes[which]
        step.begin(p)
        step.feed(p, layer)
        if activates:
            output.activate(p)
        rows = memory.fetch(p.work.space[place : place + (end - begin) * stride], p.stream)
        out[begin:end] = rows.reshape(-1, stride)[:, :n_out]
        begin = end


def predict(passes: Sequence[Pass], source: Source, order: np.ndarray, out: np.ndarray) -> None:
    """Outputs of the last activation for the rows that `order` names: out, float (rows, n_out)."""
    observe(passes, source, order, int(passes[0].numbers[LAYERS]), True, out)


def gradient(passes: Sequence[Pass], source: Source, order: np.ndarray) -> np.ndarray:
    """The gradient of the mean loss over the rows that `order` names, laid out as the device's parameters."""
    main = passes[0]
    start(main)
    for which, *_ in _sweep(passes, source, order):
        step.gradient(passes[which])
    return memory.fetch(main.work.gradient, main.stream)


def _counted(p: Pass) -> tuple[np.ndarray, np.ndarray]:
    return memory.fetch(p.work.words, p.stream), memory.fetch(p.work.sums[:SUMS], p.stream)


class Fit:
    """Training on the device.

    passes: one for each set of the source's samples; smalls: the same for the network that is trained in place of the
    whole, see subnetwork.py, or []; samples: work.ROW, rows of the data that take part; steps: done before; keep_after:
    steps after which the end of an epoch is due to be kept.

    There are two copies of parameters and running averages, made in turn: the newer one counts once a step from there
    has found its losses finite.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        smalls: Sequence[Pass],
        source: Source,
        samples: np.ndarray,
        steps: int,
        keep_after: int,
    ) -> None:
        self._passes, self._smalls, self._source = passes, smalls, source
        self.samples, self._kept, self._kept_at, self._keep_after = samples, 0, steps, keep_after
        self._launches: dict[tuple[int, bool, bool], Any] = {}
        self._pace = _Pace(self._main)
        self._keep()

    @property
    def _main(self) -> Pass:
        return self._passes[0]

    def train(self, rank: int, size: int, words: np.ndarray, epochs: int, epoch: int, t: int, results: Any) -> None:
        """See ../epoch.py; the one worker of a team enters it. words: int64, of team.py, on the host."""
        with memory.translated():
            start(self._main, t, epoch, is_training=True)
            self._pace.restart()
            order = self._order(epoch)
            for e in range(epochs):
                if not self._epoch(words, order, epoch + e):
                    return
                if e + 1 < epochs:  # while the device is busy
                    order = self._order(epoch + e + 1)
                state, results[e] = self._ended(words, t)
                if state != team.GOES_ON:
                    words[team.END] = state
                    return
                words[team.EPOCH] = e + 1

    def _order(self, epoch: int) -> np.ndarray:
        order, numbers = np.empty_like(self.samples), self._main.numbers
        new_order(self.samples, bool(numbers[SHUFFLED]), int(numbers[SEED]), epoch, order)
        return order

    def _epoch(self, words: np.ndarray, order: np.ndarray, epoch: int) -> bool:
        """Enqueue the steps of an epoch; False where the team is to stop, after a whole step."""
        step.rewind(self._main, epoch)
        per_epoch = self._main.numbers[SUBNETWORK] == PER_EPOCH
        if per_epoch:
            subnetwork.take(self._main, self._smalls[0])
        for is_whole in self._single_steps(order) if self._main.numbers[STOCHASTIC] else self._steps(order):
            if is_whole and (words[team.STOP] or self._pace.is_over(words)):
                break
        goes_on = not words[team.STOP]
        if per_epoch:
            subnetwork.give_back(self._main, self._smalls[0])
        if not goes_on:
            counted = memory.fetch(self._main.work.words, self._main.stream)
            words[team.PROGRESS] = counted[STEPS]
            words[team.END] = team.DIVERGED if counted[FLAG] else team.STOPPED
        return goes_on

    def _steps(self, order: np.ndarray) -> Iterator[bool]:
        """Enqueue pass after pass; whether it was the last of its step."""
        for which, _, is_first, is_last in _sweep(self._passes, self._source, order):
            self._launch(which, is_first, is_last)
            yield is_last

    def _single_steps(self, order: np.ndarray) -> Iterator[bool]:
        """Enqueue steps of one sample, many at a time."""
        for which, first, last in _pieces(self._passes, self._source, order):
            for begin in range(first, last, SINGLE_STEPS):
                stochastic.epoch(self._passes[which], begin, min(SINGLE_STEPS, last - begin))
                yield True

    def _launch(self, which: int, is_first: bool, is_last: bool) -> None:
        """A pass: launch by launch the first time, which compiles what is new, then as a graph."""
        key = which, is_first, is_last
        launch = self._launches.get(key)
        if launch is None:
            self._enqueue(key, self._main.stream)
            self._launches[key] = _Recorded(lambda stream: self._enqueue(key, stream), self._main.stream)
        else:
            launch()

    def _enqueue(self, key: tuple[int, bool, bool], stream: Any) -> None:
        which, is_first, is_last = key
        small = self._smalls[which] if self._smalls else None
        step.step(self._passes[which].on(stream), None if small is None else small.on(stream), is_first, is_last)

    def _ended(self, words: np.ndarray, t: int) -> tuple[int, tuple[float, ...]]:
        """At the end of an epoch: the state of the run, and its row of the history."""
        p = self._main
        l1, l2 = p.constants[PENALTY_L1], p.constants[PENALTY_L2]
        _check_kernel[flat.grid(p.table), THREADS, p.stream](p.work)
        if running := int(p.numbers[RUNNING_SIZE]):
            _check_running_kernel[blocks_for(running, THREADS), THREADS, p.stream](p.work)
        if l1 + l2 > 0.0:
            penalty.cost(p)
        if l1 > 0.0:
            penalty.share_of_zeros(p)
        counted, sums = _counted(p)
        words[team.PROGRESS] = counted[STEPS]
        row = sums[LOSS] / len(self.samples), counted[HITS], counted[CLIPPED_STEPS], sums[ZEROS], sums[COST]
        if counted[FLAG]:
            return team.DIVERGED, row
        if t + counted[STEPS] - self._kept_at >= self._keep_after:
            self._kept, self._kept_at = self._kept + 1, t + int(counted[STEPS])
            self._keep()
        return team.GOES_ON, row

    def _keep(self) -> None:
        """Copy parameters and running averages to a half of where they are kept."""
        work, stream, half = self._main.work, self._main.stream, self._kept % 2
        pairs = [(work.params, work.kept)]
        if self._main.numbers[RUNNING_SIZE]:
            pairs.append((work.running, work.kept_running))
        for array, kept in pairs:
            memory.put(array, kept[half * array.size : (half + 1) * array.size], stream)

    def last_good(self, steps: int) -> int:
        """Which half holds the last good ones, the step after `steps` having failed."""
        is_proved = self._kept == 0 or steps > self._kept_at
        return (self._kept if is_proved else self._kept - 1) % 2


class _Recorded:
    """Launches that are recorded when they are repeated for the first time."""

    def __init__(self, launch: Any, stream: Any) -> None:
        self._launch, self._stream = launch, stream
        self._graph: Any = None

    def __call__(self) -> None:
        if self._graph is None:
            self._graph = memory.recorded(self._launch, self._stream)
        self._graph()


class _Pace:
    """Keeps the host at most two groups of steps ahead of the device."""

    def __init__(self, p: Pass) -> None:
        self._words, self._stream, self._steps = p.work.words, p.stream, 0
        self._seen = [memory.pinned(WORDS, np.int64) for _ in range(2)]
        self._events = [memory.new_event() for _ in range(2)]

    def restart(self) -> None:
        """Nothing is counted yet, and nothing enqueued."""
        for seen in self._seen:
            seen[:] = 0

    def is_over(self, words: np.ndarray) -> bool:
        """After a step: whether nothing can come of this epoch any more; brings words[PROGRESS] up to date."""
        self._steps += 1
        if self._steps % GROUP:
            return False
        which = self._steps // GROUP % 2
        memory.fetch_later(self._words, self._seen[which], self._stream)
        self._events[which].record(self._stream)
        memory.wait_for(self._events[1 - which])
        seen = self._seen[1 - which]
        words[team.PROGRESS] = max(words[team.PROGRESS], seen[STEPS])
        return bool(seen[FLAG])


@kernel
def _check_kernel(work):
    """Set FLAG if a parameter is not finite."""
    layer, i, far = flat.here()
    one, zero = flat.layer_of(work, layer), work.params.dtype.type(0)
    while i < one.size:
        if work.params[one.start + i] * zero != zero:
            work.words[FLAG] = 1
        i += far


@kernel
def _check_running_kernel(work):
    """Set FLAG if a running average is not finite."""
    i, zero = place(), work.params.dtype.type(0)
    if i < work.running.size and work.running[i] * zero != zero:
        work.words[FLAG] = 1
