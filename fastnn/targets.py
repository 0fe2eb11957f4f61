"""The users' y: labels or numbers, checked against network and loss, as the kernels want them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import inputs
from fastnn.activations import Activation, Sigmoid, Softmax
from fastnn.errors import InputError
from fastnn.losses import BinaryCrossEntropy, CrossEntropy, Loss, Poisson
from fastnn_kernels.work import BINARY, CLASSES, DENSE, LABELS, NOTHING

BLOCK = 1 << 13  # labels that are looked up at a time
MOST_LABEL = 2.0**53  # from which on floats leave integers out


@dataclass(frozen=True)
class Targets:
    """y for the kernels.

    labels: int32 (samples,), the number of each sample's class, or None. dense: float (samples, n_out), or None.
    classes: the labels as the user writes them, in the order of the outputs, or None for regression and multi-label.
    accuracy: what counts as a hit, in the kernels' code.
    """

    labels: np.ndarray | None
    dense: np.ndarray | None
    classes: np.ndarray | None
    accuracy: int

    @property
    def kind(self) -> int:
        return DENSE if self.labels is None else LABELS

    def stratification(self) -> np.ndarray | None:
        """The class of every sample, for splits; None where there are no classes."""
        if self.labels is not None:
            return self.labels
        if self.accuracy == CLASSES and self.dense is not None:
            return self.dense.argmax(axis=1)
        if self.accuracy == BINARY and self.dense is not None and self.dense.shape[1] == 1:
            return (self.dense[:, 0] > 0.5).astype(np.int8)
        return None

    def share_of_hits(self, hits: int, samples: int, n_out: int) -> float | None:
        """Hits as a share of the answers that a network gave to so many samples; None where nothing counts as one."""
        if self.accuracy == NOTHING:
            return None
        return hits / (samples * (n_out if self.accuracy == BINARY else 1))


NO_TARGETS = Targets(None, None, None, NOTHING)


def read(
    y: Any, samples: int, n_out: int, output: Activation, loss: Loss, dtype: np.dtype, known: np.ndarray | None
) -> Targets:
    """y as Targets. known: the classes of an earlier fit, which y must keep to.

    Raises InputError for a wrong length, shape or type, labels outside the classes, and targets outside [0, 1] where
    the loss needs probabilities.
    """
    array = _array(y)
    if array.ndim not in (1, 2) or len(array) != samples:
        raise InputError(f"X has {samples} samples, but y has the shape {array.shape}")
    if isinstance(output, Softmax) and array.shape[1:] == (1,):
        array = array.reshape(-1)
    if array.ndim == 2 and array.shape[1] != n_out:
        raise InputError(f"y has {array.shape[1]} columns, but the network has {n_out} outputs")
    if isinstance(output, Softmax) and array.ndim == 1:
        return _class_labels(array, n_out, known)
    if isinstance(output, Sigmoid) and n_out == 1 and (_are_labels(array, known) or _are_bits(array, loss)):
        return _two_classes(array.reshape(-1), dtype, known)
    return _numbers(array, n_out, output, loss, dtype, known)


def _array(y: Any) -> np.ndarray:
    inputs.check_mask("y", y)
    try:
        array = np.asarray(y)
    except (ValueError, TypeError) as error:
        raise InputError(f"y cannot be read as an array: {error}") from error
    return array.astype(str) if array.dtype.kind == "T" else array


def _are_labels(array: np.ndarray, known: np.ndarray | None) -> bool:
    return array.dtype.kind in "iubUSO" or known is not None


def _are_bits(array: np.ndarray, loss: Loss) -> bool:
    """Whether floats are the two classes 0 and 1, both of them there."""
    binary = isinstance(loss, BinaryCrossEntropy) and array.dtype.kind == "f"
    return binary and array.size > 0 and np.array_equal(np.unique(array), [0.0, 1.0])


def _class_labels(array: np.ndarray, n_out: int, known: np.ndarray | None) -> Targets:
    array = _checked_labels(array)
    classes = _classes(array, n_out) if known is None else known
    return Targets(_numbered(array, classes), None, classes, CLASSES)


def _two_classes(array: np.ndarray, dtype: np.dtype, known: np.ndarray | None) -> Targets:
    array = _checked_labels(array)
    classes = _classes(array, 2) if known is None else known
    dense = _numbered(array, classes).astype(dtype).reshape(-1, 1)
    return Targets(None, dense, classes, BINARY)


def _checked_labels(array: np.ndarray) -> np.ndarray:
    """Labels as integers, booleans or strings. Raises InputError for others and for missing ones."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            first = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"y[{first}] = {array[first]} is no class label")
        if (array != np.floor(array)).any():
            first = int(np.flatnonzero(array != np.floor(array))[0])
            raise InputError(
                f"class labels must be integers or strings, got y[{first}] = {array[first]}; "
                'for regression choose output="linear"'
            )
        if (abs(array) >= MOST_LABEL).any():
            first = int(np.flatnonzero(abs(array) >= MOST_LABEL)[0])
            raise InputError(f"y[{first}] = {array[first]} is too large for a class label")
        return array.astype(np.int64)
    if array.dtype == object:
        return _of_objects(array)
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"class labels of bytes must be UTF-8: {error}") from error
    if array.dtype.kind not in "iubU":
        raise InputError(f"class labels must be integers or strings, got dtype {array.dtype}")
    return array


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Labels that came as Python objects."""
    for kind in (str, bool | np.bool_, int | np.integer):
        if all(isinstance(label, kind) for label in array):
            return np.array(array.tolist())
    raise InputError("class labels of dtype object must all be strings, or all integers")


def _classes(array: np.ndarray, n_out: int) -> np.ndarray:
    """The labels in the order of the outputs: 0 to n_out - 1, or the n_out labels that there are, sorted."""
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() < n_out:
        return np.arange(n_out)
    found = np.unique(array)
    if len(found) == n_out:
        return found
    shown = ", ".join(str(label) for label in found[:5]) + (", ..." if len(found) > 5 else "")
    raise InputError(
        f"y has {len(found)} different labels ({shown}), but the network tells {n_out} classes apart: labels must be "
        f"0 to {n_out - 1}, or exactly {n_out} different ones"
    )


def _numbered(array: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The index of every label among the sorted classes, int32."""
    comparable = array.dtype.kind in "US" if classes.dtype.kind in "US" else array.dtype.kind in "iub"
    numbers = np.zeros(len(array), np.int32)
    for start in range(0, len(array), BLOCK):
        part = array[start : start + BLOCK]
        index = np.searchsorted(classes, part) if comparable else np.zeros(len(part), np.int64)
        index = np.minimum(index, len(classes) - 1)
        wrong = np.flatnonzero(classes[index] != part) if comparable else index
        if len(wrong):
            shown = ", ".join(str(label) for label in classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise InputError(f"y[{start + wrong[0]}] = {part[wrong[0]]!s} is none of the classes {shown}")
        numbers[start : start + BLOCK] = index
    return numbers


def _numbers(
    array: np.ndarray, n_out: int, output: Activation, loss: Loss, dtype: np.dtype, known: np.ndarray | None
) -> Targets:
    """Regression, several yes-or-no outputs, or rows of class probabilities."""
    if array.ndim == 1 and n_out != 1:
        raise InputError(
            f"y must have the shape (samples, {n_out}), as many columns as outputs, got {array.shape}; "
            'for class labels choose output="softmax"'
        )
    array = inputs.numeric("y", array).reshape(-1, n_out)
    dense = inputs.converted("y", array, dtype)
    probabilities = isinstance(loss, BinaryCrossEntropy | CrossEntropy)
    if probabilities and (dense.min() < 0 or dense.max() > 1):
        row, column = np.argwhere((dense < 0) | (dense > 1))[0]
        raise InputError(f"y[{row}, {column}] = {array[row, column]} is no probability: it must be between 0 and 1")
    if isinstance(loss, Poisson) and dense.min() < 0:
        row, column = np.argwhere(dense < 0)[0]
        raise InputError(f"y[{row}, {column}] = {array[row, column]} is no count: poisson needs targets of at least 0")
    if isinstance(output, Softmax):
        return _class_rows(dense, loss, known)
    return Targets(None, dense, None, BINARY if probabilities else NOTHING)


def _class_rows(dense: np.ndarray, loss: Loss, known: np.ndarray | None) -> Targets:
    sums = dense.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if isinstance(loss, CrossEntropy) and len(wrong):
        raise InputError(f"the rows of y must sum to 1, but row {wrong[0]} sums to {sums[wrong[0]]:g}")
    return Targets(None, dense, np.arange(dense.shape[1]) if known is None else known, CLASSES)
