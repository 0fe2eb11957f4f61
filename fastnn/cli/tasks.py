"""Classes or numbers: what a column of targets asks the network to learn, and how well it did."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.errors import InputError, unknown_name
from fastnn.losses import Poisson

TASKS = ("auto", "classify", "regress")
MANY_CLASSES = 100


def task_of(task: str, y: np.ndarray) -> str:
    """ "classify" or "regress". auto: strings and integers are classes, floats are numbers to regress.

    Raises InputError for an unknown task, and where auto finds integers that hardly repeat.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if task != "auto":
        return task
    if y.dtype.kind == "f" or (y.ndim == 2 and not _is_one_hot(y)):
        return "regress"
    if y.ndim == 1 and y.dtype.kind == "i":
        classes = len(np.unique(y))
        if classes > max(MANY_CLASSES, len(y) // 10):
            raise InputError(f"the target holds {classes} different integers in {len(y)} rows: are they classes or "
                             "numbers? Say --task classify or --task regress")  # fmt: skip
    return "classify"


def as_targets(kind: str, y: np.ndarray) -> np.ndarray:
    """y for "classify": int64 or strings (samples,); for "regress": floats. Raises InputError where it cannot be."""
    if kind == "regress":
        if y.dtype.kind not in "fi":
            raise InputError(f"regression needs numbers to predict; the target holds {y.flat[0].item()!r}")
        return y if y.dtype.kind == "f" else y.astype(np.float64)
    if y.ndim == 2:
        if not _is_one_hot(y):
            raise InputError(f"classes must be one column or one-hot, got targets of shape {y.shape}")
        return y.argmax(axis=1)
    if y.dtype.kind == "f":
        is_whole = np.mod(y, 1) == 0
        if not is_whole.all():
            raise InputError(f"classes must be integers or strings; the target holds {y[~is_whole][0].item()}")
        return y.astype(np.int64)
    return y


def r_squared(y: np.ndarray, predicted: np.ndarray) -> float:
    """1 - residual sum of squares / total sum of squares, over all outputs; NaN for a constant y."""
    y = y.reshape(len(y), -1).astype(np.float64)
    total = ((y - y.mean(axis=0)) ** 2).sum()
    residual = ((y - predicted.reshape(y.shape)) ** 2).sum()
    return float(1 - residual / total) if total > 0 else float("nan")


def score(net: Any, kind: str, X: np.ndarray, y: np.ndarray, device: str) -> str:
    """ "accuracy 0.9812 (loss 0.0711)" or "R^2 0.8731 (loss 0.1234)"."""
    values = net.evaluate(X, y, device=device)
    if kind == "classify":
        return f"accuracy {values['accuracy']:.4f} (loss {values['loss']:.4g})"
    return f"R^2 {r_squared(y, answers(net, X, device)):.4f} (loss {values['loss']:.4g})"


def answers(net: Any, X: np.ndarray, device: str) -> np.ndarray:
    """Predictions in the units of the targets: the rates of counts where the network learned their logarithm."""
    outputs = net.predict(X, device=device)
    return np.exp(outputs) if isinstance(net.fitted.loss, Poisson) else outputs


def _is_one_hot(y: np.ndarray) -> bool:
    return y.ndim == 2 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())
