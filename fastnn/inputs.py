"""The users' X: checked, and converted at most once."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastnn.errors import InputError
from fastnn_kernels import finite
from fastnn_kernels.work import ROW

MOST_ROWS = int(np.iinfo(ROW).max)


def matrix(what: str, X: Any, columns: int, dtype: np.dtype) -> np.ndarray:
    """X as a C-contiguous array (samples, columns) of the dtype; the very same memory where it is that already.

    Takes whatever NumPy can read as numbers: arrays of any order and stride, memory maps, pandas frames, lists.
    Raises InputError for other shapes or types, for no rows or more than MOST_ROWS, and for the first NaN or infinity.
    """
    array = numeric(what, X)
    if array.ndim != 2 or array.shape[1] != columns:
        raise InputError(f"{what} must have the shape (samples, {columns}), got {_shape(array)}")
    if len(array) == 0:
        raise InputError(f"{what} is empty: it has no rows")
    if len(array) > MOST_ROWS:
        raise InputError(f"{what} has {len(array)} rows, at most {MOST_ROWS} can be used at once")
    return converted(what, array, dtype)


def rows(X: np.ndarray) -> np.ndarray:
    """The numbers of all rows of X, as kernels read them."""
    return np.arange(len(X), dtype=ROW)


def check_mask(what: str, values: Any) -> None:
    """Raises InputError for a masked array that hides anything: NumPy gives what is behind the mask."""
    if type(values).__module__.startswith("numpy.ma") and np.any(values.mask):
        raise InputError(f"{what} is an array with masked values: fill them, or leave their samples out")


def numeric(what: str, values: Any) -> np.ndarray:
    """Any array-like of real numbers as an array. Raises InputError for other types."""
    check_mask(what, values)
    if type(values).__module__.startswith("scipy.sparse"):
        raise InputError(f"{what} is a sparse matrix; give {what}.toarray()")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} cannot be read as an array: {error}") from error
    if array.dtype == object:
        array = _from_objects(what, array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} must hold real numbers, got dtype {array.dtype}")
    return array


def converted(what: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A C-contiguous array of the dtype, all finite; a copy only where it must be."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is reported below
        result = np.ascontiguousarray(array, dtype)
    place = finite.first_not_finite(result)
    if place is not None:
        value, at = array[place], ", ".join(str(i) for i in place)
        reason = f"is too large for {dtype}" if np.isfinite(value) else "is not finite"
        raise InputError(f"{what}[{at}] = {value} {reason}: remove or replace such values first")
    return result


def warn_unless_finite(what: str, values: np.ndarray | float, dtype: np.dtype) -> None:
    """A RuntimeWarning at the caller's caller where a result is NaN or infinite somewhere. values: of the dtype."""
    is_finite = math.isfinite(values) if isinstance(values, float) else finite.first_not_finite(values) is None
    if not is_finite:
        text = f"NaN or infinity in {what}: weights or inputs are too large for {dtype}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def parameter(what: str, given: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Weights or the like as an array of the dtype. Raises InputError for another shape, and as `converted` does."""
    array = numeric(what, given)
    if array.shape != shape:
        raise InputError(f"{what} must have the shape {shape}, got {array.shape}")
    return converted(what, array, dtype)


def _from_objects(what: str, array: np.ndarray) -> np.ndarray:
    try:
        return array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} must hold real numbers, got dtype object: {error}") from error


def _shape(array: np.ndarray) -> str:
    hint = "; one sample is X.reshape(1, -1)" if array.ndim == 1 else ""
    return f"{array.shape}{hint}"
