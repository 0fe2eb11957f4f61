"""The last good weights of a run: what the network holds again after the loss became NaN or infinite.

They are those of an epoch's end after which one more step found its losses finite. Nobody knows that yet when they are
copied, so there are two copies, made in turn; the newer one counts once it has proved good. A run that fails before any
has goes back to where it began.

The compiled epochs keep a small network's copies in memory. Those of a large one would be more than anything else that
plain SGD needs; they go to a temporary file without a name, by plain writing, and lie in memory only where that fails.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np

from fastnn.errors import FileError
from fastnn_kernels import work

SMALL = 1 << 18  # bytes of parameters up to which a network is small
STEPS = 32  # between two copies in memory: they cost a few percent of one step
SAMPLES = 1 << 13  # between two copies in the file: training on them takes hundreds of times as long as writing
ROOMY = "/var/tmp"  # on a disk, while /tmp may be memory (systemd's file-hierarchy(7)); not on all systems
NAMED_BY_USER = ("TMPDIR", "TEMP", "TMP")

Arrays = Sequence[np.ndarray]


class _Place(Protocol):
    """Two copies of some arrays, 0 and 1."""

    def write(self, half: int, arrays: Arrays) -> None: ...

    def read(self, half: int, arrays: Arrays) -> None: ...

    def close(self) -> None: ...


class _Memory:
    """Both begin as the arrays are."""

    def __init__(self, arrays: Arrays) -> None:
        self.copies = [np.stack([array, array]) for array in arrays]

    def write(self, half: int, arrays: Arrays) -> None:
        for copy, array in zip(self.copies, arrays, strict=True):
            copy[half] = array

    def read(self, half: int, arrays: Arrays) -> None:
        for copy, array in zip(self.copies, arrays, strict=True):
            array[:] = copy[half]

    def close(self) -> None:
        self.copies = []


class _File:
    """Copy 0 begins as the arrays are. Raises OSError where the system cannot write or read."""

    def __init__(self, arrays: Arrays) -> None:
        self._file = tempfile.TemporaryFile(buffering=0, dir=_folder())  # noqa: SIM115 (closed by `close`)
        try:
            self.write(0, arrays)
        except OSError:
            self.close()
            raise

    def write(self, half: int, arrays: Arrays) -> None:
        for rest in self._bytes(half, arrays):
            while rest:  # the system may write a part
                rest = rest[self._file.write(rest) :]

    def read(self, half: int, arrays: Arrays) -> None:
        for rest in self._bytes(half, arrays):
            while rest:
                count = self._file.readinto(rest)
                if count == 0:
                    raise OSError("the file is too short")
                rest = rest[count:]

    def _bytes(self, half: int, arrays: Arrays) -> list[memoryview]:
        """The arrays as bytes, the file at the place where they begin."""
        self._file.seek(half * sum(array.nbytes for array in arrays))
        return [array.view(np.uint8).data for array in arrays]

    def close(self) -> None:
        self._file.close()


def _folder() -> str | None:
    """Where large temporary files belong; None for Python's choice, which is the user's where there is one."""
    is_chosen = tempfile.tempdir is not None or any(name in os.environ for name in NAMED_BY_USER)
    return ROOMY if not is_chosen and os.access(ROOMY, os.W_OK | os.X_OK) else None


def interval(params: np.ndarray, batch: int) -> int:
    """Steps of so many samples after which the end of an epoch is due to be copied."""
    return STEPS if params.nbytes <= SMALL else max(1, SAMPLES // batch)


class LastGood:
    """Keeps copies of params and running, arrays of a network in training, and puts one of them back.

    batch: samples a step; steps: done before. To be closed after the run, as a context.
    """

    def __init__(self, params: np.ndarray, running: np.ndarray, batch: int, steps: int) -> None:
        self._arrays = (params, running)
        self._is_small = params.nbytes <= SMALL
        self._every = interval(params, batch)
        self._numbers = np.zeros(work.NUMBERS, np.int64)
        self._numbers[work.KEPT_AT] = steps
        self._place = self._new_place()

    def _new_place(self) -> _Place:
        if not self._is_small:
            with suppress(OSError):
                return _File(self._arrays)
        return _Memory(self._arrays)

    def __enter__(self) -> LastGood:
        return self

    def __exit__(self, *_: object) -> None:
        self._place.close()

    @property
    def for_kernels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Both copies of params and of running, where the compiled epochs write them; None where `keep` does."""
        if self._is_small and isinstance(self._place, _Memory):
            params, running = self._place.copies
            return params, running
        return None

    def share(self, numbers: np.ndarray) -> None:
        """From here on the numbers of a session say what is kept, to the compiled epochs too."""
        numbers[work.KEEP_AFTER] = self._every if self._is_small else 0
        numbers[work.KEPT_AT], numbers[work.KEPT] = self._numbers[work.KEPT_AT], self._numbers[work.KEPT]
        self._numbers = numbers

    def epochs(self, most: int, steps: int, steps_per_epoch: int) -> int:
        """How many epochs, at most `most`, may pass until `keep` has something to do, `steps` being done."""
        if self._is_small:
            return most
        due = int(self._numbers[work.KEPT_AT]) + self._every - steps
        return min(most, max(1, -(-due // steps_per_epoch)))

    def keep(self, steps: int) -> None:
        """At the end of an epoch: copy what the network holds, if it is time and the compiled epochs did not."""
        if self._is_small or steps - self._numbers[work.KEPT_AT] < self._every:
            return
        half = int(self._numbers[work.KEPT] + 1) % 2
        try:
            self._place.write(half, self._arrays)
        except OSError:
            self._move(1 - half)
        self._numbers[work.KEPT_AT] = steps
        self._numbers[work.KEPT] += 1

    def _move(self, older: int) -> None:
        """From the file, which is full, to memory: what the network holds, and the older copy if it can be read."""
        memory = _Memory(self._arrays)
        try:
            self._place.read(older, [copy[older] for copy in memory.copies])
        except OSError:
            memory.write(older, self._arrays)
        self._place.close()
        self._place = memory

    def restore(self, steps: int) -> None:
        """Put the last good weights back, the step after `steps` having failed. Raises FileError."""
        kept = int(self._numbers[work.KEPT])
        is_proved = kept == 0 or steps > self._numbers[work.KEPT_AT]
        try:
            self._place.read((kept if is_proved else kept - 1) % 2, self._arrays)
        except OSError as error:
            raise FileError(f"the last good weights cannot be read from the temporary file: {error}") from error
