"""Normalization of the features by statistics of the whole data set: x -> (x - shift) * scale, column by column.

    standard   shift = mean      scale = 1 / standard deviation (of the population)
    minmax     shift = minimum   scale = 1 / (maximum - minimum)
    robust     shift = median    scale = 1 / (third quartile - first quartile)

Variances come from the combination of chunks by Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances, 1979: no cancellation, however far the mean is from zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastnn.errors import InputError, unknown_name

METHODS = ("standard", "minmax", "robust")
CHUNK_ELEMENTS = 1 << 19


@dataclass(frozen=True, eq=False)
class Normalization:
    """x -> (x - shift) * scale. method: "standard", "minmax" or "robust"; shift and scale: float64 (features,)."""

    method: str
    shift: np.ndarray
    scale: np.ndarray

    def apply(self, X: np.ndarray) -> np.ndarray:
        """(X - shift) * scale, computed in float64, in a new array of X's dtype. X: float (samples, features)."""
        if X.ndim != 2 or X.shape[1] != len(self.shift):
            raise InputError(f"X must be (samples, {len(self.shift)}), as in training; got shape {X.shape}")
        result = np.empty(X.shape, X.dtype)
        for rows in _chunks(len(X), X.shape[1]):
            result[rows] = (X[rows] - self.shift) * self.scale
        return result


def fit(method: str, X: np.ndarray, index: np.ndarray | None = None) -> Normalization:
    """The normalization that X asks for.

    method: "standard", "minmax" or "robust".
    X: float32 or float64 (samples, features), finite. index: the rows to look at, all without it.

    A column that is constant, or spreads over less than the dtype's smallest normal number, gets scale 1. Where half of
    a column's values are the same, "robust" takes the standard deviation for the quartiles' distance, which is 0.
    Raises InputError for an unknown method, for X that is not 2-D floats or has no rows, or whose spread overflows.
    """
    if method not in METHODS:
        raise unknown_name("normalization", method, METHODS)
    if X.ndim != 2 or X.dtype.kind != "f":
        raise InputError(f"X to normalize must be 2-D floats, got shape {X.shape} of {X.dtype}")
    if len(X if index is None else index) == 0:
        raise InputError("cannot normalize by data of no rows")
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is reported below
        shift, spread = {"standard": _standard, "minmax": _minmax, "robust": _robust}[method](X, index)
    if not np.isfinite(spread).all():
        raise InputError(
            f"column {np.flatnonzero(~np.isfinite(spread))[0]} of X spreads over more than float64 can hold"
        )
    return Normalization(method, shift, 1.0 / np.where(spread > np.finfo(X.dtype).tiny, spread, 1.0))


def _standard(X: np.ndarray, index: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations; exactly the value and 0 for a constant column, whatever the rounding."""
    features = X.shape[1]
    count, mean, squares = 0, np.zeros(features), np.zeros(features)
    for part in _float64_parts(X, index):
        part_mean = part.mean(axis=0)
        part -= part_mean
        squares += np.einsum("ij,ij->j", part, part)
        total = count + len(part)
        difference = part_mean - mean
        mean += difference * (len(part) / total)
        squares += difference**2 * (count * len(part) / total)
        count = total
    low, extent = _minmax(X, index)
    is_constant = extent == 0
    return np.where(is_constant, low, mean), np.where(is_constant, 0.0, np.sqrt(squares / count))


def _minmax(X: np.ndarray, index: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    for rows in _chunks(len(X if index is None else index), X.shape[1]):
        part = X[rows] if index is None else X[index[rows]]
        np.minimum(low, part.min(axis=0), out=low)
        np.maximum(high, part.max(axis=0), out=high)
    return low, high - low


def _robust(X: np.ndarray, index: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Medians and distances of the quartiles; column blocks, since a quantile needs its whole column."""
    features = X.shape[1]
    quartiles = np.empty((3, features))
    for columns in _chunks(features, len(X if index is None else index)):
        block = X[:, columns] if index is None else X[index, columns]
        quartiles[:, columns] = np.percentile(block.T.astype(np.float64, order="C"), (25, 50, 75), axis=1)
    spread = quartiles[2] - quartiles[0]
    if not spread.all():
        spread = np.where(spread == 0, _standard(X, index)[1], spread)
    return quartiles[1], spread


def _float64_parts(X: np.ndarray, index: np.ndarray | None) -> Iterator[np.ndarray]:
    """Copies of the rows, a chunk at a time."""
    for rows in _chunks(len(X if index is None else index), X.shape[1]):
        yield (X[rows] if index is None else X[index[rows]]).astype(np.float64)


def _chunks(n: int, width: int) -> Iterator[slice]:
    size = max(1, CHUNK_ELEMENTS // max(width, 1))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
