"""What fits into the device's memory: how many rows at once, and whether all samples or a piece of them at a time."""

from collections.abc import Callable
from dataclasses import dataclass

MOST_ROWS = 16384  # of a pass: more fill no device better
FEWEST_ROWS = 1024  # of a pass, before samples leave the device for the sake of more
PIECE = 256 << 20  # bytes of samples at a time, where not all fit
RESERVE = 64 << 20, 0.02  # left to the driver: bytes, and of all that is free


@dataclass(frozen=True)
class Needs:
    """Bytes. fixed: parameters, state and what else does not depend on rows or samples; sample: one of them; samples:
    how many; order: of the positions of all of them; workspace: of so many rows; library: of cuBLAS."""

    fixed: int
    sample: int
    samples: int
    order: int
    workspace: Callable[[int], int]
    library: int = 0

    @property
    def data(self) -> int:
        return self.sample * self.samples


@dataclass(frozen=True)
class Budget:
    """rows: that go through the network at once; piece: samples on the device at a time, None for all."""

    rows: int
    piece: int | None


class TooLargeError(Exception):
    """It does not fit. rows: of the batch that was tried; fitting: the largest batch that would, 0 if none."""

    def __init__(self, needs: Needs, rows: int, fitting: int, free: int) -> None:
        super().__init__("too little memory on the device")
        self.needs, self.rows, self.fitting, self.free = needs, rows, fitting, free


def plan(needs: Needs, batch: int, is_whole: bool, free: int) -> Budget:
    """The budget for batches of so many rows. is_whole: whether all rows of a batch must go through at once.

    Raises TooLargeError.
    """
    left = free - max(RESERVE[0], RESERVE[1] * free) - needs.fixed - needs.order - needs.library
    wanted = batch if is_whole else min(batch, MOST_ROWS)
    choices = [wanted] if is_whole else _halves(wanted)
    for rows in choices:
        if (rows == wanted or rows >= FEWEST_ROWS) and needs.workspace(rows) + needs.data <= left:
            return Budget(rows, None)
    for rows in choices:
        room = (left - needs.workspace(rows)) / 2  # two pieces
        if room >= rows * needs.sample:
            return Budget(rows, _piece(rows, needs.sample, room) if needs.data else None)
    fitting = next((rows for rows in _halves(wanted) if needs.workspace(rows) + 2 * rows * needs.sample <= left), 0)
    raise TooLargeError(needs, wanted, fitting, free)


def _piece(rows: int, sample: int, room: float) -> int:
    """Samples of a piece, that bytes of room allow: no fewer than a pass has."""
    return int(min(max(PIECE // sample, rows), room // sample))


def _halves(rows: int) -> list[int]:
    """rows, half of it, and so on down to 1."""
    found = [rows]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found
