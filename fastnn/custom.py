"""Activations and losses that users write: pairs of functions, compiled apart; the trainer calls them by address."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cfunc, from_dtype, njit, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastnn import checks
from fastnn.activations import Activation
from fastnn.errors import InputError
from fastnn.losses import Loss
from fastnn_kernels import activation, loss
from fastnn_kernels.jit import FLAGS

POINTS = np.linspace(-4.0, 4.0, 41) + 0.0173  # where derivatives are compared: off the round numbers, where kinks are
STEP, TOLERANCE = 1e-5, 1e-3
TARGETS = (-0.9123, 0.1377, 0.5521, 1.2219)  # of a loss, for the same


@dataclass(frozen=True)
class CustomActivation(Activation):
    """a = function(z), g = derivative(z): njit functions of one number, or plain ones that Numba can compile.

    Elementwise only. They are compiled into loops over rows of the network's dtype, which LLVM vectorizes where their
    arithmetic allows; nothing else is compiled again. name: what files call the pair, by default the function's name.
    check: whether the derivative must agree with finite differences; False lets a surrogate pass.

    Raises InputError for what does not compile, is not finite within (-4, 4), or has clearly another derivative.
    """

    function: Callable[[float], float]
    derivative: Callable[[float], float]
    name: str = ""
    check: bool = True

    def __post_init__(self) -> None:
        _check_functions(self, ("function", "derivative"))
        if not isinstance(self.name, str):
            raise InputError(f"name of CustomActivation must be a string, got {self.name!r}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))
        checks.flag("check", self.check)
        _check_slope(self.name, self.function, self.derivative, (), self.check)

    @property
    def code(self) -> int:
        return activation.CUSTOM

    @property
    def label(self) -> str:
        return self.name

    def addresses(self, dtype: np.dtype) -> tuple[int, int]:
        feed, delta = _loops(self.function, self.derivative, dtype)
        return feed.address, delta.address

    def describe(self) -> dict[str, Any]:
        return {"name": "custom", "function": self.name}


@dataclass(frozen=True)
class CustomLoss(Loss):
    """mean value(yhat, y) over samples and outputs, for a pair of functions of two numbers.

    value(yhat, y): the loss of one output; derivative(yhat, y): its derivative by yhat; njit functions, or plain ones
    that Numba can compile. Nothing else is compiled again. A saved network keeps no custom loss: give it again to fit,
    evaluate and loss. check: whether the derivative must agree with finite differences at yhat within (-4, 4) and y
    within (-1, 1.3), wherever value is finite: a loss of probabilities is compared between 0 and 1.

    Raises InputError for what does not compile, or fails the check.
    """

    value: Callable[[float, float], float]
    derivative: Callable[[float, float], float]
    check: bool = True

    def __post_init__(self) -> None:
        _check_functions(self, ("value", "derivative"))
        checks.flag("check", self.check)
        if self.check:
            self._compare()

    def _compare(self) -> None:
        """_check_slope for the points at which value is finite, of which there must be some."""
        compared = 0
        for y in TARGETS:
            around = [_values("value", self.value, POINTS + step, (y,), finite=False) for step in (STEP, -STEP)]
            points = POINTS[np.isfinite(around).all(axis=0)]
            _check_slope("value", self.value, self.derivative, (y,), True, points)
            compared += len(points)
        if not compared:
            raise InputError(f"the value is finite at no yhat within (-4, 4) for y = {TARGETS}; check=False takes it")

    @property
    def code(self) -> int:
        return loss.CUSTOM

    def address(self, dtype: np.dtype) -> int:
        return _row_loss(self.value, self.derivative, dtype).address


def _check_functions(given: Any, names: tuple[str, ...]) -> None:
    for name in names:
        function = getattr(given, name)
        if not inspect.isfunction(function) and not isinstance(function, Dispatcher):
            what = type(given).__name__
            raise InputError(f"{name} of {what} must be a Python or njit function, got {function!r}")


def _check_slope(
    name: str,
    function: Callable,
    derivative: Callable,
    rest: tuple[float, ...],
    compare: bool,
    points: np.ndarray = POINTS,
) -> None:
    """Raises InputError where one is not finite, or, where they are to be compared, the slope is clearly another."""
    slopes = _values("derivative", derivative, points, rest)
    above, below = (_values("function", function, points + step, rest) for step in (STEP, -STEP))
    measured = (above - below) / (2 * STEP)
    wrong = np.flatnonzero(abs(slopes - measured) > TOLERANCE * (1 + abs(measured)))
    if compare and len(wrong):
        i = wrong[0]
        raise InputError(
            f"the derivative of {name!r} is {slopes[i]:.6g} at {_point(points[i], rest)}, but finite differences "
            f"give {measured[i]:.6g}; check=False takes a derivative that is meant to differ"
        )


def _point(z: float, rest: tuple[float, ...]) -> str:
    return f"(yhat, y) = ({z:.4f}, {rest[0]:.4f})" if rest else f"z = {z:.4f}"


@cache
def _compiled(function: Callable) -> Dispatcher:
    """With the kernels' flags, also where it was compiled by others: an exception in machine code that is called by its
    address would be printed and forgotten, and 0 taken for the result; so a division by 0 must give infinity or NaN.
    """
    if not isinstance(function, Dispatcher):
        return njit(function, **FLAGS)
    options = {name: value for name, value in function.targetoptions.items() if name != "nopython"}
    return njit(function.py_func, **{**options, **FLAGS})


def _values(
    what: str, function: Callable, points: np.ndarray, rest: tuple[float, ...], finite: bool = True
) -> np.ndarray:
    """The function at some points. Raises InputError where it does not compile or gives no (finite) number."""
    try:
        values = [_compiled(function)(z, *rest) for z in points.tolist()]
    except (NumbaError, TypeError) as error:
        raise InputError(f"Numba cannot compile the {what} for {1 + len(rest)} numbers: {error}") from error
    for z, value in zip(points, values, strict=True):
        if not isinstance(value, int | float) or (finite and not np.isfinite(value)):
            raise InputError(f"the {what} must give finite numbers, got {value!r} at {_point(z, rest)}")
    return np.array(values, np.float64)


@cache
def _loops(function: Callable, derivative: Callable, dtype: np.dtype) -> tuple[Any, Any]:
    """What rowwise.py calls: a = f(z) and d = d g(z) over n elements. The cache keeps their code where it is."""
    f, g = _compiled(function), _compiled(derivative)
    row = types.CPointer(from_dtype(dtype))
    signature = types.void(row, row, types.int64)

    @cfunc(signature, error_model=FLAGS["error_model"])
    def feed(z, a, n):
        for i in range(n):
            a[i] = f(z[i])

    @cfunc(signature, error_model=FLAGS["error_model"])
    def delta(z, d, n):
        for i in range(n):
            d[i] = d[i] * g(z[i])

    return feed, delta


@cache
def _row_loss(value: Callable, derivative: Callable, dtype: np.dtype) -> Any:
    """What loss.py calls: the sum of value over n outputs, the derivatives written over the targets in d."""
    f, g = _compiled(value), _compiled(derivative)
    row = types.CPointer(from_dtype(dtype))

    @cfunc(types.float64(row, row, types.int64), error_model=FLAGS["error_model"])
    def sum_row(yhat, d, n):
        total = 0.0
        for j in range(n):
            y = d[j]
            total += f(yhat[j], y)
            d[j] = g(yhat[j], y)
        return total

    return sum_row
