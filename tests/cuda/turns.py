"""Blocks of the simulator whose threads take turns: each runs to its next barrier, then wakes the next one.

Numba's own manager of a block asks all threads over and over whether they wait, and takes the interpreter from them
for it: several times slower. The order of the turns is random, the same in every run: a result that depends on it lacks
a barrier.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel


class Thread(kernel.BlockThread):
    """A thread that runs only when it is its turn; successor: who is next, of those that have not ended."""

    successor: Thread
    predecessor: Thread

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.turn = threading.Lock()
        self.turn.acquire()

    def run(self) -> None:
        self.turn.acquire()
        if not self.abort:
            super().run()
        self._manager.leave(self)

    def syncthreads(self) -> None:
        if self.successor is not self:
            self.successor.turn.release()
            self.turn.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block has failed")


class Manager(kernel.BlockManager):
    """A block; the first exception of a thread ends it."""

    def run(self, grid_point: tuple[int, ...], *args: Any) -> None:
        points = list(np.ndindex(*self._block_dim))
        order = np.random.default_rng(sum(grid_point)).permutation(len(points))
        threads = [Thread(lambda: self._f(*args), self, grid_point, points[i], self._debug) for i in order]
        for thread, successor in zip(threads, threads[1:] + threads[:1], strict=True):
            thread.successor, successor.predecessor = successor, thread
        self.failure: tuple | None = None
        for thread in threads:
            thread.start()
        threads[0].turn.release()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure[0].with_traceback(self.failure[1])

    def leave(self, thread: Thread) -> None:
        """Let the others go on without the thread."""
        successor = thread.successor
        thread.predecessor.successor, successor.predecessor = successor, thread.predecessor
        if thread.exception and self.failure is None:
            self.failure = thread.exception
        if successor is not thread:
            successor.abort = self.failure is not None
            successor.turn.release()


def install() -> None:
    """For all launches from now on."""
    kernel.BlockManager = Manager
