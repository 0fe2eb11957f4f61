"""The users' own functions, compiled to machine code that the kernels call by its address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastnn.errors import InputError
from fastnn_kernels.jit import FLAGS

POINTS_OF_TWO = [(yhat, y) for yhat in (-1.3, -0.4, 0.3, 0.8, 1.7) for y in (-0.9, 0.1, 0.55, 1.2)]
STEP = 1e-5  # of the differences that a derivative is compared with
TOLERANCE = 1e-3
_alive: list[Any] = []  # machine code lives as long as the object that holds it


def check_pair(what: str, function: Any, derivative: Any, points: Sequence[tuple[float, ...]]) -> None:
    """Raises InputError unless derivative is the slope of function by its first argument.

    Kinks are excused: at most one point in four may differ.
    """
    f, g = _compiled(what, function), _compiled(what, derivative)
    try:
        slopes = [(f(x + STEP, *rest) - f(x - STEP, *rest)) / (2 * STEP) for x, *rest in points]
        given = [g(*point) for point in points]
        differ = [not abs(a - b) <= TOLERANCE * (1 + abs(b)) for a, b in zip(given, slopes, strict=True)]
    except (NumbaError, TypeError) as error:
        raise InputError(f"{what}: the functions must take {len(points[0])} numbers and give one: {error}") from error
    if 4 * sum(differ) > len(points):
        first = differ.index(True)
        raise InputError(
            f"{what}: at {points[first]} the derivative is {given[first]:g}, but the slope of the function is "
            f"{slopes[first]:g}"
        )


def _compiled(what: str, function: Any) -> Callable:
    if isinstance(function, Dispatcher):
        return function
    if not callable(function):
        raise InputError(f"{what} needs two functions, got {function!r}")
    return _njit(function)


@cache
def _njit(function: Callable) -> Callable:
    return njit(function, **FLAGS)


@cache
def loss_address(value: Any, derivative: Any, dtype: np.dtype) -> int:
    """float64 f(yhat, d, n): sums value(yhat, d) over n outputs and writes the derivatives over the targets in d."""
    f, g, number = _compiled("CustomLoss", value), _compiled("CustomLoss", derivative), dtype.type
    floats = types.CPointer(types.float32 if dtype == np.float32 else types.float64)

    def row(outputs, targets, n):
        yhat, d, total = carray(outputs, n), carray(targets, n), 0.0
        for j in range(n):
            y = d[j]
            total += f(yhat[j], y)
            d[j] = number(g(yhat[j], y))
        return total

    compiled = cfunc(types.float64(floats, floats, types.int64))(row)
    _alive.append(compiled)
    return compiled.address
