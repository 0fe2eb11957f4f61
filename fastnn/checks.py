"""Checks of single values that users give, each with an error in their words."""

from __future__ import annotations

import math
import numbers
from typing import Any

from fastnn.errors import InputError


def whole(what: str, value: Any, least: int = 1) -> int:
    """The value as int. Raises InputError unless it is a whole number of at least `least` that fits into 64 bits."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{what} must be a whole number, {least} or more, got {value!r}")
    if int(value) >= 2**63:
        raise InputError(f"{what} must be below 2**63, got {value!r}")
    return int(value)


def real(what: str, value: Any, least: float = -math.inf, below: float = math.inf, above: float = -math.inf) -> float:
    """The value as float. Raises InputError unless it is finite, at least `least`, above `above` and under `below`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"{what} must be a finite number, got {value!r}")
    number = float(value)
    if number < least or number <= above or number >= below:
        bounds = [f"at least {least:g}"] if least > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        raise InputError(f"{what} must be {' and '.join(bounds)}, got {value!r}")
    return number


def flag(what: str, value: Any) -> bool:
    """The value as bool. Raises InputError for anything but True and False."""
    if value is not True and value is not False:
        raise InputError(f"{what} must be True or False, got {value!r}")
    return bool(value)
