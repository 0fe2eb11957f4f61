"""A kernel to be timed by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A kernel on data of its own. kind: "product", "activation", "normalization", "noise", "loss", "optimizer" or
    "random".

    elements: of its result; flops: operations of a run, 0 where none is of floating point; moved: bytes read and
    written in a run; working_set: bytes of what it reads and writes; run(repeats) runs it so often.
    """

    kind: str
    name: str
    shape: str
    dtype: str
    elements: int
    flops: float
    moved: float
    working_set: int
    run: Callable[[int], Any]

    @property
    def label(self) -> str:
        return f"{self.name} {self.shape} {self.dtype}"

    @property
    def repeats(self) -> int:
        """Runs in a timed call, some hundred microseconds of them, the same on every machine."""
        return max(1, int(1e7 / (self.flops + self.moved)))
