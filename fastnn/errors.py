"""The errors that fastnn raises on purpose: each says what was given and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnn.training import History


class FastnnError(Exception):
    """Any error that fastnn raises on purpose. It goes from process to process with all its attributes."""

    def __reduce__(self) -> tuple:
        return _again, (type(self), self.args, self.__dict__)


class InputError(FastnnError, ValueError):
    """Data, a size, a constant or a name that cannot be used; raised before anything is computed."""


class FileError(FastnnError, OSError):
    """A file that cannot be read as what it should be, or a place that cannot be written."""


class DivergenceError(FastnnError, ArithmeticError):
    """The loss became NaN or infinite; the network keeps the last good weights.

    Attributes: epoch and step, both counted from 1, where it happened; history, of the epochs before.
    """

    history: History

    def __init__(self, message: str, epoch: int, step: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step


class FunctionError(FastnnError, RuntimeError):
    """A function of the user's own raised an exception, which is the cause; nothing is returned that it spoiled.

    In training the network keeps the last good weights. Attributes: function, "function", "value" or "derivative";
    arguments, the numbers that it was called with; history, of the epochs before, None outside of training.
    """

    history: History | None = None

    def __init__(self, message: str, function: str, arguments: tuple[float, ...]) -> None:
        super().__init__(message)
        self.function = function
        self.arguments = arguments


class MissingExtraError(FastnnError, ImportError):
    """A package is needed that only an extra of fastnn installs."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'fastnn-numba[{extra}]'"
        )


class DeviceError(FastnnError, RuntimeError):
    """The device that was asked for cannot be used, or does not answer any more."""


class DeviceMemoryError(DeviceError, MemoryError):
    """The device has too little memory for what it was asked to do."""


class DeviceLostError(DeviceError):
    """The device was lost while it worked; the network is as it was when it last came from there."""


def _again(kind: type[FastnnError], args: tuple, attributes: dict) -> FastnnError:
    """An error as it was, whatever its class is built from."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def unknown_name(what: str, given: object, known: Iterable[str]) -> InputError:
    """An InputError for a name that is not known, with the nearest one that is.

    what: the kind of thing, in the user's words ("activation").
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return InputError(f"unknown {what} {given!r}{hint} Known: {', '.join(names)}")
