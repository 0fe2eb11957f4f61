"""Activations and losses that users write: pairs of functions, compiled apart; the trainer calls them by address.

The trainer is told how many elements a function has done. Where that is not all of them the function raised an
exception: it is called again, from Python, for its type and message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cfunc, from_dtype, njit, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastnn import checks
from fastnn.activations import Activation
from fastnn.errors import FunctionError, InputError
from fastnn.losses import Loss
from fastnn_kernels import activation, loss, team
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native.call import attempt

POINTS = np.linspace(-4.0, 4.0, 41) + 0.0173  # where derivatives are compared: off the round numbers, where kinks are
STEP, TOLERANCE = 1e-5, 1e-3
TARGETS = (-0.9123, 0.1377, 0.5521, 1.2219)  # of a loss, for the same


@dataclass(frozen=True)
class CustomActivation(Activation):
    """a = function(z), g = derivative(z): njit functions of one number, or plain ones that Numba can compile.

    Elementwise only. They are compiled into loops over rows of the network's dtype, which LLVM vectorizes where their
    arithmetic allows; nothing else is compiled again. name: what files call the pair, by default the function's name.
    check: whether the derivative must agree with finite differences; False lets a surrogate pass.

    Raises InputError for what does not compile, is not finite or raises an exception within (-4, 4), or has clearly
    another derivative. An exception later on is a FunctionError.
    """

    function: Callable[[float], float]
    derivative: Callable[[float], float]
    name: str = ""
    check: bool = True

    def __post_init__(self) -> None:
        _check_functions(self)
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

    @property
    def pair(self) -> dict[str, Callable]:
        """The functions by the names of the fields."""
        return {"function": self.function, "derivative": self.derivative}

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
    within (-1, 1.3), wherever value is finite and raises nothing: a loss of probabilities is compared between 0 and 1.

    Raises InputError for what does not compile, or fails the check. An exception later on is a FunctionError.
    """

    value: Callable[[float, float], float]
    derivative: Callable[[float, float], float]
    check: bool = True

    def __post_init__(self) -> None:
        _check_functions(self)
        checks.flag("check", self.check)
        for what, function in self.pair.items():
            _ready(what, function, 2)
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

    @property
    def pair(self) -> dict[str, Callable]:
        """The functions by the names of the fields."""
        return {"value": self.value, "derivative": self.derivative}

    def address(self, dtype: np.dtype) -> int:
        return _row_loss(self.value, self.derivative, dtype).address


def _check_functions(given: CustomActivation | CustomLoss) -> None:
    for name, function in given.pair.items():
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
            f"the derivative of {name!r} is {slopes[i]:.6g} at {_point((points[i], *rest))}, but finite differences "
            f"give {measured[i]:.6g}; check=False takes a derivative that is meant to differ"
        )


def _point(arguments: Sequence[float], form: str = ".4f") -> str:
    numbers = ", ".join(format(number, form) for number in arguments)
    return f"(yhat, y) = ({numbers})" if len(arguments) > 1 else f"z = {numbers}"


@cache
def _compiled(function: Callable) -> Dispatcher:
    """With the kernels' flags, also where it was compiled by others: a division by 0 gives infinity or NaN."""
    if not isinstance(function, Dispatcher):
        return njit(function, **FLAGS)
    options = {name: value for name, value in function.targetoptions.items() if name != "nopython"}
    return njit(function.py_func, **{**options, **FLAGS})


def _ready(what: str, function: Callable, count: int) -> Dispatcher:
    """The function compiled for so many numbers. Raises InputError where that cannot be, or gives no real number."""
    compiled, signature = _compiled(function), (types.float64,) * count
    try:
        compiled.compile(signature)
    except (NumbaError, TypeError) as error:
        raise InputError(f"Numba cannot compile the {what} for {count} numbers: {error}") from error
    kind = compiled.overloads[signature].signature.return_type
    if not isinstance(kind, types.Float | types.Integer | types.Boolean):
        raise InputError(f"the {what} must give a number, but what it gives is {kind} to Numba")
    return compiled


def _values(
    what: str, function: Callable, points: np.ndarray, rest: tuple[float, ...], finite: bool = True
) -> np.ndarray:
    """The function at some points; NaN where it raises an exception and need not be finite.

    Raises InputError where it does not compile or gives no finite number.
    """
    compiled, values = _ready(what, function, 1 + len(rest)), []
    for z in points.tolist():
        try:
            value = compiled(z, *rest)
        except Exception as error:
            if finite:
                where = _point((z, *rest))
                raise InputError(f"the {what} must give finite numbers, got {_told(error)} at {where}") from error
            value = np.nan
        if finite and not np.isfinite(value):
            raise InputError(f"the {what} must give finite numbers, got {value!r} at {_point((z, *rest))}")
        values.append(value)
    return np.array(values, np.float64)


def _told(error: Exception) -> str:
    """ "ValueError: too large"."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure(
    loss: Loss, activations: Sequence[Activation], words: np.ndarray, dtype: np.dtype, where: str
) -> FunctionError:
    """What a run met whose words say that a function of the user raised an exception, which becomes the cause.

    where: the end of the message.
    """
    layer, values = int(words[team.FAILED]), words[team.ARGUMENTS : team.ARGUMENTS + 2].view(np.float64).tolist()
    owner = activations[layer - 1] if layer else loss
    assert isinstance(owner, CustomActivation | CustomLoss)
    whose = f"of the activation {activations[layer - 1].label!r} of layer {layer}" if layer else "of the custom loss"
    arguments = tuple(values[:1] if layer else values)
    point = _point(arguments, ".9g") + where
    for name, function in owner.pair.items():
        try:
            _compiled(function)(*map(dtype.type, arguments))
        except Exception as error:
            found = FunctionError(f"the {name} {whose} raised {_told(error)}, at {point}", name, arguments)
            found.__cause__ = error
            return found
    name = " or ".join(owner.pair)
    told = f"the {name} {whose} raised an exception, which does not come again, at {point}"
    return FunctionError(told, name, arguments)


@cache
def _loops(function: Callable, derivative: Callable, dtype: np.dtype) -> tuple[Any, Any]:
    """What rowwise.py calls: a = f(z) and d = d g(z) over n elements. The cache keeps their code where it is.

    Both return how many elements they have done.
    """
    f, g = _compiled(function), _compiled(derivative)
    row = types.CPointer(from_dtype(dtype))
    signature = types.int64(row, row, types.int64)

    @cfunc(signature, error_model=FLAGS["error_model"])
    def feed(z, a, n):
        for i in range(n):
            value, is_good = attempt(f, (z[i],))
            if not is_good:
                return i
            a[i] = value
        return n

    @cfunc(signature, error_model=FLAGS["error_model"])
    def delta(z, d, n):
        for i in range(n):
            slope, is_good = attempt(g, (z[i],))
            if not is_good:
                return i
            d[i] = d[i] * slope
        return n

    return feed, delta


@cache
def _row_loss(value: Callable, derivative: Callable, dtype: np.dtype) -> Any:
    """What loss.py calls: the sum of value over n outputs into total, the derivatives written over the targets in d.

    Returns how many outputs it has done.
    """
    f, g = _compiled(value), _compiled(derivative)
    row = types.CPointer(from_dtype(dtype))

    signature = types.int64(row, row, types.int64, types.CPointer(types.float64))

    @cfunc(signature, error_model=FLAGS["error_model"])
    def sum_row(yhat, d, n, total):
        found = 0.0
        for j in range(n):
            value, is_good = attempt(f, (yhat[j], d[j]))
            slope, is_good_too = attempt(g, (yhat[j], d[j]))
            if not (is_good and is_good_too):
                return j
            found += value
            d[j] = slope
        total[0] = found
        return n

    return sum_row
