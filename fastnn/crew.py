"""How many threads share the steps of a fit, where only trying can tell: the number that has been faster.

The threads of a small network wait for each other in every step, and read weights that another one has written. What
that costs depends on the processors that the operating system gives them and on what else runs there, and changes while
a fit lasts. The bits of the results are the same with any number, so that it may change too.
"""

from __future__ import annotations

from math import inf

SOON = 0.1  # seconds before the other number is first tried
LATE = 60.0  # the longest time from one trial to the next: it doubles with each that is lost
WORSE = 1.3  # times the usual seconds of an epoch: a reason to try at once
TRIAL = 8  # a trial is this part of what would run at once


class Crew:
    """numbers: of threads, one or two; the first is what a fit begins with. now: that of the next epochs. epoch: what
    is compared, the samples of a batch and of all."""

    def __init__(self, numbers: tuple[int, ...], epoch: tuple[int, int] = (0, 0)) -> None:
        self.numbers, self.epoch, self.now = numbers, epoch, numbers[0]
        self._paces: dict[tuple[int, bool], float] = {}  # seconds of an epoch; whether of a fit's first ones
        self._usual, self._since, self._patience = inf, 0.0, SOON
        self._is_trial = self._was_tried = self._is_first = False

    def suits(self, numbers: tuple[int, ...], epoch: tuple[int, int]) -> bool:
        """Whether what it has learned counts for this fit."""
        return (self.numbers, self.epoch) == (numbers, epoch)

    @property
    def most(self) -> int:
        return max(self.numbers)

    @property
    def label(self) -> str:
        """What a user reads."""
        text = " or ".join(str(number) for number in sorted(self.numbers))
        return f"{text} thread{'s' if self.most > 1 else ''}"

    def start(self) -> None:
        """Hear that a fit begins. Its first epochs are slower, with several threads above all."""
        if self._was_tried:
            self._decide(True)  # the last fit had no more
        self._is_first = True

    def span(self, epochs: int) -> int:
        """How many of these epochs are to run with the number that it is now."""
        return max(1, epochs // TRIAL) if self._is_trial else epochs

    def ran(self, epochs: int, seconds: float) -> None:
        """Hear what the last epochs took, and choose the number for the next."""
        if len(self.numbers) == 1 or epochs == 0:
            return
        was_first, self._is_first = self._is_first, False
        pace = self._paces[self.now, was_first] = seconds / epochs
        self._since += seconds
        if self._is_trial and was_first:
            self._was_tried = True
        elif self._is_trial:
            self._decide(False)
        elif self._since > self._patience or (not was_first and pace > WORSE * self._usual):
            self._is_trial = True
            (self.now,) = (number for number in self.numbers if number != self.now)

    def _decide(self, by_first: bool) -> None:
        """After a trial, by a fit's first epochs or by later ones."""
        best = min(self.numbers, key=lambda number: self._pace(number, by_first))
        self._patience = SOON if best == self.now else min(2 * self._patience, LATE)
        self.now, self._usual = best, self._pace(best, by_first)
        self._since, self._is_trial, self._was_tried = 0.0, False, False

    def _pace(self, number: int, is_first: bool) -> float:
        """What is known of a number that has run."""
        return self._paces.get((number, is_first)) or self._paces[number, not is_first]
