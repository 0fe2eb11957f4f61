"""The samples on the device: all of them, or piece by piece in the order of the epoch.

A source has one or two sets of the arrays FIELDS of Work. pieces(order, ends) goes through the positions of an order:
(which set, first position, last), while the device has the samples of these positions in that set.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from fastnn_kernels.cuda import memory

FIELDS = ("X", "labels", "targets", "weights")


class Source(Protocol):
    sets: list[dict[str, Any]]

    def pieces(self, order: np.ndarray, ends: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """order: int64, rows of the data; ends: positions where a piece may end, rising, the last of them the last of
        all."""


class Resident:
    """All samples, on the device for good."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.sets = [arrays]

    def pieces(self, order: np.ndarray, ends: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        yield 0, 0, len(order)


class Streamed:
    """At most `rows` samples at a time, in two sets: while the device works on one, the other is filled.

    A thread of the host gathers the rows of the next piece into pinned memory and enqueues their copy on a stream of
    its own. arrays: FIELDS on the host, a row a sample, those that are not empty; stream: on which the device works.
    """

    def __init__(self, arrays: dict[str, np.ndarray], rows: int, stream: Any) -> None:
        self._arrays = {name: array.reshape(len(array), -1) for name, array in arrays.items() if array.size}
        self._rows, self._work, self._copying = rows, stream, memory.new_stream()
        self._pinned = [self._room(memory.pinned) for _ in range(2)]
        self._room_on_device = [self._room(memory.empty) for _ in range(2)]
        self._copied, self._used = ([memory.new_event() for _ in range(2)] for _ in range(2))
        missing = {name: memory.empty(0, array.dtype) for name, array in arrays.items() if not array.size}
        self.sets = [room | missing for room in self._room_on_device]

    def _room(self, allocate: Any) -> dict[str, Any]:
        return {name: allocate(self._rows * array.shape[1], array.dtype) for name, array in self._arrays.items()}

    def pieces(self, order: np.ndarray, ends: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        pieces = _pieces(ends, self._rows)
        with ThreadPoolExecutor(1) as thread:
            filled = thread.submit(self._fill, 0, order[slice(*pieces[0])])
            for number, (first, last) in enumerate(pieces):
                which = number % 2
                filled.result()
                if number + 1 < len(pieces):
                    filled = thread.submit(self._fill, 1 - which, order[slice(*pieces[number + 1])])
                self._copied[which].wait(self._work)
                yield which, first, last
                self._used[which].record(self._work)

    def _fill(self, which: int, rows: np.ndarray) -> None:
        """Bring these rows of the data into a set, once the device is done with what it held."""
        with memory.translated():
            memory.wait_for(self._copied[which])
            self._used[which].wait(self._copying)
            for name, array in self._arrays.items():
                count = len(rows) * array.shape[1]
                pinned = self._pinned[which][name][:count]
                np.take(array, rows, axis=0, out=pinned.reshape(len(rows), -1), mode="clip")
                memory.put(pinned, self._room_on_device[which][name][:count], self._copying)
            self._copied[which].record(self._copying)


def _pieces(ends: Iterable[int], most: int) -> list[tuple[int, int]]:
    """(first, last) of pieces of at most so many positions, each as long as it can be."""
    pieces, first, last = [], 0, 0
    for end in ends:
        if end - first > most:
            pieces.append((first, last))
            first = last
        last = end
    return [*pieces, (first, last)]
