"""A team of threads that enter one compiled function and stay in it until the work is done.

The threads meet at a barrier inside the function. They and the thread that started them share words, each on cache
lines of its own: the starter asks the team to stop at the next step, reads how far it is, and learns how it ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

from fastnn_kernels.jit import kernel
from fastnn_kernels.native import pointer
from fastnn_kernels.native.atomic import fetch_add, give_way, load_acquire, pause, store_release

SPACING = 16  # words between two that are used: two cache lines, since processors fetch them in pairs

ARRIVALS = 0 * SPACING  # at barriers, ever
ABORT = 1 * SPACING  # not 0: leave at once, a worker has failed
STOP = 2 * SPACING  # not 0: leave at the next step
DECISION = 3 * SPACING  # what rank 0 saw in STOP before the barrier: all must see the same
FLAG = 4 * SPACING  # not 0: a loss or a parameter is not finite, or a user's function has failed
PROGRESS = 5 * SPACING  # steps done in this call
HITS = 6 * SPACING  # right answers in this epoch
END = 7 * SPACING  # how the run ended: one of the states below
EPOCH = 8 * SPACING  # epochs finished in this call
CLIPPED = 9 * SPACING  # not 0: this step clipped its gradient
CLIPPED_STEPS = 10 * SPACING  # that did so in this epoch
FAILURES = 11 * SPACING  # exceptions that users' own functions raised
FAILED = FAILURES + 1  # whose it was: the number of a layer, 0 for the loss
ARGUMENTS = FAILURES + 2  # what the function was called with: two float64
CLAIMS = 12 * SPACING  # from here on a word for each thread: units of its work that are taken, see claim.py

GOES_ON, STOPPED, DIVERGED = 0, 1, 2

POLL_SECONDS = 0.1  # between two looks of the starter at what the workers do
SPINS = 2000  # before a waiting thread lets another one have its processor


@kernel
def meet(words, size):
    """Wait until all `size` threads are here; False where the team is told to leave."""
    if size == 1:
        return True
    ticket = fetch_add(words + ARRIVALS, 1)
    last = (ticket // size + 1) * size
    spins = 0
    while load_acquire(words + ARRIVALS) < last:
        spins += 1
        if spins < SPINS:
            pause()
        else:
            if load_acquire(words + ABORT) != 0:
                return False
            give_way()
    return True


@kernel
def raise_flag(words):
    """Say that something is not finite, or has failed; all see it after the next barrier."""
    store_release(words + FLAG, 1)


@kernel
def fail(words, layer, first, second):
    """Say that a function of the user raised an exception at these arguments; of several, the first one is kept."""
    if fetch_add(words + FAILURES, 1) == 0:
        words[FAILED] = layer
        arguments = pointer(np.float64, words + ARGUMENTS)
        arguments[0] = first
        arguments[1] = second
    raise_flag(words)


@kernel
def is_asked_to_stop(words):
    """Whether nobody waits for more. Others may see it a moment earlier or later: between barriers only."""
    return load_acquire(words + STOP) != 0


@kernel
def decide(words):
    """Rank 0, before a barrier: fix whether the team stops there."""
    store_release(words + DECISION, load_acquire(words + STOP))


@kernel
def agreed(words):
    """After that barrier: GOES_ON, STOPPED or DIVERGED, the same for all."""
    if load_acquire(words + FLAG) != 0:
        return DIVERGED
    if load_acquire(words + DECISION) != 0:
        return STOPPED
    return GOES_ON


def new_words(size: int = 1) -> np.ndarray:
    """The words that `size` threads share, all 0, on cache lines that hold nothing else."""
    count = CLAIMS + size * SPACING
    raw = np.zeros(count + SPACING, np.int64)
    start = -raw.ctypes.data // raw.itemsize % SPACING
    return raw[start : start + count]


class _Call:
    """One function that all workers of a team are to enter.

    They enter once `enter` is True and a token lies in the gate: one that is missing would be waited for without end.
    results: None while a worker is inside, then True or the exception that it met.
    """

    def __init__(self, size: int, function: Callable, words: np.ndarray, args: tuple) -> None:
        self.function, self.words, self.args = function, words, args
        self.enter = False
        self.gate: SimpleQueue[None] = SimpleQueue()
        self.results: list[bool | BaseException | None] = [None] * size
        self.woken: SimpleQueue[None] = SimpleQueue()

    def run(self, rank: int) -> None:
        """What a worker does."""
        self.gate.put(self.gate.get())  # for the others
        try:
            if self.enter:
                _spread(rank, len(self.results))
                self.function(rank, len(self.results), *self.args)
            self.results[rank] = True
        except BaseException as error:
            self.words[ABORT] = 1  # the others would wait for this one at a barrier
            self.results[rank] = error
        self.woken.put(None)

    def wait(self, seconds: float) -> bool:
        """Sleep until a worker is done, at most so long; whether some are still inside."""
        if None in self.results:
            with suppress(Empty):
                self.woken.get(timeout=seconds)
        return None in self.results


def _spread(rank: int, size: int) -> None:
    """Put the calling worker of a team that takes all processors on one of its own; it may be moved again.

    Linux may wake a thread where another one computes, which does not give way, and leave the two there for some tens
    of milliseconds while a processor is idle.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if 1 < len(allowed) <= size:
        with suppress(OSError):  # the process has just lost it
            os.sched_setaffinity(0, {allowed[rank % len(allowed)]})
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


class Team:
    """`size` threads, started once, that run compiled functions together.

    Ctrl-C may interrupt the calling thread between any two of its steps, and would leave a lock of the standard
    library's futures, events or conditions locked for good. So the two sides share nothing but queues that are one
    step each, and plain attributes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: list[SimpleQueue[_Call | None]] = [SimpleQueue() for _ in range(size)]
        self._threads = [
            Thread(target=_work, args=(rank, calls), name=f"fastnn-{rank}", daemon=True)
            for rank, calls in enumerate(self._calls)
        ]

    def __enter__(self) -> Team:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self._dismiss()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()
        for thread in self._threads:
            thread.join()

    def _dismiss(self) -> None:
        for calls in self._calls:
            calls.put(None)

    def run(self, function: Callable, words: np.ndarray, *args: object, poll: Callable[[], None] | None = None) -> None:
        """Call function(rank, size, *args) on every thread and wait; the calling thread only sleeps and polls.

        poll is called about ten times a second. An exception in a worker or in poll, Ctrl-C included, stops the
        team at its next step and is raised here once every worker has left.
        """
        call = _Call(self.size, function, words, args)
        try:
            for calls in self._calls:
                calls.put(call)
            call.enter = True
            call.gate.put(None)
            while call.wait(POLL_SECONDS):
                if poll is not None:
                    poll()
        except BaseException:
            words[STOP] = 1
            call.gate.put(None)
            _leave(call)
            raise
        for result in call.results:
            if isinstance(result, BaseException):
                raise result


def _work(rank: int, calls: SimpleQueue[_Call | None]) -> None:
    """The life of a worker."""
    while (call := calls.get()) is not None:
        call.run(rank)


def _leave(call: _Call) -> None:
    """Wait until nobody is inside, whatever else the user presses. Where nobody may enter there is none to wait for."""
    while call.enter:
        with suppress(KeyboardInterrupt):
            while call.wait(POLL_SECONDS):
                pass
            return
