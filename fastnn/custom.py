"""Activations that users write: two functions of one number, compiled apart; the trainer calls them by address."""

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
from fastnn_kernels import activation as kernels
from fastnn_kernels.jit import FLAGS

POINTS = np.linspace(-4.0, 4.0, 41) + 0.0173  # where derivatives are compared: off the round numbers, where kinks are
STEP, TOLERANCE = 1e-5, 1e-3


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
        for what in ("function", "derivative"):
            given = getattr(self, what)
            if not inspect.isfunction(given) and not isinstance(given, Dispatcher):
                raise InputError(f"{what} of CustomActivation must be a Python or njit function, got {given!r}")
        if not isinstance(self.name, str):
            raise InputError(f"name of CustomActivation must be a string, got {self.name!r}")
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "custom"))
        checks.flag("check", self.check)
        slopes = _values("derivative", self.derivative, POINTS)
        above, below = (_values("function", self.function, POINTS + step) for step in (STEP, -STEP))
        if self.check:
            self._compare(slopes, (above - below) / (2 * STEP))

    def _compare(self, slopes: np.ndarray, measured: np.ndarray) -> None:
        wrong = np.flatnonzero(abs(slopes - measured) > TOLERANCE * (1 + abs(measured)))
        if len(wrong):
            i = wrong[0]
            raise InputError(
                f"the derivative of {self.name!r} is {slopes[i]:.6g} at z = {POINTS[i]:.4f}, but finite differences "
                f"give {measured[i]:.6g}; check=False takes a derivative that is meant to differ"
            )

    @property
    def code(self) -> int:
        return kernels.CUSTOM

    @property
    def label(self) -> str:
        return self.name

    def addresses(self, dtype: np.dtype) -> tuple[int, int]:
        feed, delta = _loops(self.function, self.derivative, dtype)
        return feed.address, delta.address

    def describe(self) -> dict[str, Any]:
        return {"name": "custom", "function": self.name}


@cache
def _compiled(function: Callable) -> Dispatcher:
    return function if isinstance(function, Dispatcher) else njit(function, **FLAGS)


def _values(what: str, function: Callable, points: np.ndarray) -> np.ndarray:
    """The function at some points. Raises InputError where it does not compile or gives no finite number."""
    try:
        values = [_compiled(function)(z) for z in points.tolist()]
    except NumbaError as error:
        raise InputError(f"Numba cannot compile the {what} of a CustomActivation: {error}") from error
    for z, value in zip(points, values, strict=True):
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise InputError(f"the {what} of a CustomActivation must give finite numbers, got {value!r} at z = {z:.4f}")
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
