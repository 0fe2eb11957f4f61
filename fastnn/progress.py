"""What a run shows while it trains: nothing, a line per epoch, or a live bar; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

REFRESH_SECONDS = 0.1
LINE_SECONDS = 1.0


class Curves(Protocol):
    """The lists of a history, one value per epoch; a list is empty where its quantity is not measured."""

    loss: list[float]
    accuracy: list[float]
    validation_loss: list[float]
    validation_accuracy: list[float]
    seconds: list[float]
    samples_per_second: list[float]


class Progress(Protocol):
    """What the trainer tells; every call comes from the main thread. Epochs count from 1 within the run."""

    def start(self, epochs: int, samples: int) -> None:
        """A run of so many epochs over so many samples begins."""

    def advance(self, epoch: int, samples: int) -> None:
        """So many samples of this epoch are done; to be called some ten times a second."""

    def epoch_end(self, epoch: int, history: Curves) -> None:
        """An epoch ended; its values are the last ones of the history."""

    def message(self, text: str) -> None:
        """Something else takes time: "compiling ..."."""

    def close(self) -> None:
        """The run is over, finished or not; may be called twice."""


class Silent:
    """Shows nothing."""

    def start(self, epochs: int, samples: int) -> None:
        pass

    def advance(self, epoch: int, samples: int) -> None:
        pass

    def epoch_end(self, epoch: int, history: Curves) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line per epoch, for logs and pipes; of very short epochs about one line a second, and the last."""

    def __init__(self, write: Callable[[str], Any] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write or _write_to_stderr
        self._clock = clock
        self._epochs = 0
        self._began = self._written = -LINE_SECONDS
        self._pending = ""

    def start(self, epochs: int, samples: int) -> None:
        self._epochs = epochs
        self._began = self._clock()
        self._written = self._began - LINE_SECONDS

    def advance(self, epoch: int, samples: int) -> None:
        pass

    def epoch_end(self, epoch: int, history: Curves) -> None:
        now = self._clock()
        left = (now - self._began) / epoch * (self._epochs - epoch)
        parts = [f"epoch {epoch}/{self._epochs}", metrics(history), rate(history.samples_per_second[-1])]
        self._pending = "  ".join([*parts, f"{duration(left)} left"] if left else parts)
        if epoch == self._epochs or now - self._written >= LINE_SECONDS:
            self._written = now
            self._write_pending()

    def message(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        self._write_pending()

    def _write_pending(self) -> None:
        if self._pending:
            self._write(self._pending)
        self._pending = ""


class Bar:
    """A live bar for terminals: epoch, samples per second and time left; below it loss and accuracy."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._live: Any = None
        self._epochs = self._samples = 0
        self._text = ""
        self._shown = 0.0

    def start(self, epochs: int, samples: int) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn

        self._epochs, self._samples, self._text = epochs, samples, ""
        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}", style="cyan"),
        )
        self._bar = Progress(*columns, console=self._console, auto_refresh=False, expand=True)
        self._task = self._bar.add_task("", total=epochs * samples, epoch=1, epochs=epochs, rate="", left="")
        redirect = sys.stdout.isatty()
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=redirect)
        self._live.start()
        self._draw()

    def advance(self, epoch: int, samples: int) -> None:
        if self._live is None or time.monotonic() - self._shown < REFRESH_SECONDS:
            return
        self._move(epoch, samples)
        self._draw()

    def epoch_end(self, epoch: int, history: Curves) -> None:
        if self._live is None:
            return
        self._text = metrics(history)
        if epoch == self._epochs or time.monotonic() - self._shown >= REFRESH_SECONDS:
            self._move(epoch, self._samples)
            self._draw()

    def message(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, style="dim")
        else:
            self._text = text
            self._draw()

    def close(self) -> None:
        if self._live is not None:
            self._bar.update(self._task, left="")
            self._draw()
            self._live.stop()
        self._live = None

    def _move(self, epoch: int, samples: int) -> None:
        self._bar.update(self._task, completed=(epoch - 1) * self._samples + samples, epoch=epoch)
        task = self._bar.tasks[0]
        if task.speed and task.remaining is not None:
            left = task.remaining / task.speed
            self._bar.update(self._task, rate=rate(task.speed), left=f"{duration(left)} left" if left else "")

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        self._shown = time.monotonic()
        self._live.update(Group(self._bar.get_renderable(), Text(self._text)), refresh=True)


def create(progress: bool) -> Progress:
    """Silent without progress; else a Bar where stderr is a terminal, and Lines where it is not."""
    if not progress:
        return Silent()
    return Bar() if sys.stderr is not None and sys.stderr.isatty() else Lines()


def metrics(history: Curves) -> str:
    """The last epoch's values: "loss 0.1234  accuracy 0.987  validation loss 0.2345  accuracy 0.976"."""
    named = (
        ("loss", ".4g", history.loss),
        ("accuracy", ".4f", history.accuracy),
        ("validation loss", ".4g", history.validation_loss),
        ("accuracy", ".4f", history.validation_accuracy),
    )
    return "  ".join(f"{name} {values[-1]:{form}}" for name, form, values in named if values)


def rate(samples_per_second: float) -> str:
    return f"{samples_per_second:,.0f} samples/s"


def duration(seconds: float) -> str:
    """ "0:07", "12:34", "3:12:34"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _write_to_stderr(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)
