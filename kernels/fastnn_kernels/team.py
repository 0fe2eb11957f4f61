"""A team of threads that enter one compiled function and stay in it until the work is done.

The threads meet at a barrier inside the function. They and the thread that started them share words, each on cache
lines of its own: the starter asks the team to stop at the next step, reads how far it is, and learns how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from fastnn_kernels.jit import kernel
from fastnn_kernels.native.atomic import fetch_add, give_way, load_acquire, pause, store_release

SPACING = 16  # words between two that are used: two cache lines, since processors fetch them in pairs

ARRIVALS = 0 * SPACING  # at barriers, ever
ABORT = 1 * SPACING  # not 0: leave at once, a worker has failed
STOP = 2 * SPACING  # not 0: leave at the next step
DECISION = 3 * SPACING  # what rank 0 saw in STOP before the barrier: all must see the same
FLAG = 4 * SPACING  # not 0: a loss or a parameter is not finite
PROGRESS = 5 * SPACING  # steps done in this call
HITS = 6 * SPACING  # right answers in this epoch
END = 7 * SPACING  # how the run ended: one of the states below
EPOCH = 8 * SPACING  # epochs finished in this call
WORDS = 9 * SPACING

GOES_ON, STOPPED, DIVERGED = 0, 1, 2

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
    """Say that something is not finite; all see it after the next barrier."""
    store_release(words + FLAG, 1)


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


def new_words() -> np.ndarray:
    """The shared words, all 0."""
    return np.zeros(WORDS, np.int64)


class Team:
    """`size` threads, started once, that run compiled functions together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="fastnn")

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True)

    def run(self, function: Callable, words: np.ndarray, *args: object, poll: Callable[[], None] | None = None) -> None:
        """Call function(rank, size, *args) on every thread and wait; the calling thread only sleeps and polls.

        poll is called about ten times a second. An exception in a worker or in poll, Ctrl-C included, stops the
        team at its next step and is raised here once every worker has left.
        """
        gate: Future[bool] = Future()
        futures: list[Future[None]] = []
        try:
            for rank in range(self.size):  # one by one: an interrupt must not lose those that have started
                futures.append(self._threads.submit(self._worker, gate, function, rank, words, args))  # noqa: PERF401
            gate.set_result(True)
            pending = set(futures)
            while pending:
                pending = wait(pending, timeout=0.1).not_done
                if poll is not None and pending:
                    poll()
        except BaseException:
            words[STOP] = 1
            if not gate.done():
                gate.set_result(False)
            wait(futures)
            raise
        for future in futures:
            future.result()

    def _worker(self, gate: Future[bool], function: Callable, rank: int, words: np.ndarray, args: tuple) -> None:
        """Enter the function once all workers are there: one that is missing would be waited for without end."""
        if not gate.result():
            return
        try:
            function(rank, self.size, *args)
        except BaseException:
            words[ABORT] = 1  # the others would wait for this one at a barrier
            raise
