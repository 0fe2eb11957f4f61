"""Blocks of the simulator whose threads take turns: each runs to its next barrier, then the next one does.

Numba's own manager of a block takes threads of the operating system, asks all of them over and over whether they wait,
and takes the interpreter from them for it: many times slower. The order of the turns is random, the same in every run:
a result that depends on it lacks a barrier.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numba.cuda.simulator import kernel, kernelapi


class Thread(greenlet):
    """What the simulated functions of a kernel find as the current thread."""

    def __init__(self, manager: Manager, block: tuple[int, ...], point: tuple[int, ...]) -> None:
        super().__init__(manager._f)
        self._manager = manager
        self.blockIdx, self.threadIdx = kernel.Dim3(*block), kernel.Dim3(*point)
        width, height, _ = manager._block_dim
        self.thread_id = point[0] + width * (point[1] + height * point[2])

    def syncthreads(self) -> None:
        self.parent.switch()

    syncthreads_count = kernel.BlockThread.syncthreads_count
    syncthreads_and = kernel.BlockThread.syncthreads_and
    syncthreads_or = kernel.BlockThread.syncthreads_or


class Manager(kernel.BlockManager):
    """A block; an exception in a thread ends it."""

    def run(self, grid_point: tuple[int, ...], *args: Any) -> None:
        points = list(np.ndindex(*self._block_dim))
        order = np.random.default_rng(sum(grid_point)).permutation(len(points))
        threads = [Thread(self, grid_point, points[i]) for i in order]
        for thread in threads:
            thread.switch(*args)
        while threads := [thread for thread in threads if not thread.dead]:
            for thread in threads:
                thread.switch()


def install() -> None:
    """For all launches from now on."""
    kernel.BlockManager = Manager
    kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
