"""Random division of samples into a part to train on and a part held out, class by class where there are classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import checks, inputs
from fastnn.errors import InputError

BLOCK = 1 << 13  # samples whose classes are looked up at a time


def split(
    n_or_labels: int | np.ndarray, fraction: float, seed: int, stratify: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw which samples are held out: at random, or the same share of every class.

    n_or_labels: the number of samples, or the class of each, (samples,), integers or strings.
    fraction: the share held out, between 0 and 1. round(fraction * samples) are, at least one, and at least one is not.
    seed: the same seed draws the same samples.
    stratify: None means: where classes are given. The shares of the classes are rounded by largest remainder, equal
        remainders in random order, so that their sum is right and no class is preferred. Every class keeps a sample to
        train on as long as there are others to hold out.

    Returns the indices to train on and the indices held out, int64, each sorted.
    Raises InputError for fewer than two samples, a fraction outside (0, 1), or stratify without classes.
    """
    is_held = draw(n_or_labels, fraction, seed, stratify)
    return np.flatnonzero(~is_held).astype(np.int64, copy=False), np.flatnonzero(is_held).astype(np.int64, copy=False)


def draw(n_or_labels: int | np.ndarray, fraction: float, seed: int, stratify: bool | None = None) -> np.ndarray:
    """As split: whether each sample is held out, bool (samples,)."""
    labels = None if isinstance(n_or_labels, int | np.integer) else np.asarray(n_or_labels)
    if labels is not None and labels.ndim != 1:
        raise InputError(f"class labels to split by must be 1-D, got an array of shape {labels.shape}")
    if stratify and labels is None:
        raise InputError("a stratified split needs the class of each sample, got only the number of samples")
    n = int(n_or_labels) if labels is None else len(labels)
    held = held_count(n, fraction)
    random = generator(seed)
    if labels is not None and stratify is not False:
        return _draw_by_class(labels, held, random)
    is_held = np.zeros(n, dtype=bool)
    is_held[_some(n, held, random)] = True
    return is_held


def train_test_split(
    X: Any, y: Any, test: float = 0.2, seed: int = 0, stratify: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X_train, X_test, y_train, y_test: a random share of the samples held out to test on.

    X: (samples, ...), y: (samples,) or (samples, outputs), test: the share held out, between 0 and 1.
    stratify: the same share of every class, where y is 1-D and not floating point.

    Raises InputError for X and y of different lengths and for what `split` refuses.
    """
    checks.flag("stratify", stratify)
    for what, given in (("X", X), ("y", y)):
        inputs.check_mask(what, given)
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise InputError(f"X and y must have as many samples, got X of shape {X.shape} and y of shape {y.shape}")
    by_class = stratify and y.ndim == 1 and y.dtype.kind != "f"
    train_index, test_index = split(y if by_class else len(y), test, seed)
    return X[train_index], X[test_index], y[train_index], y[test_index]


def held_count(n: int, fraction: float) -> int:
    """How many of n samples a fraction holds out: rounded, at least 1 and at most n - 1."""
    if n < 2:
        raise InputError(f"to hold samples out there must be at least 2, got {n}")
    if isinstance(fraction, bool) or not isinstance(fraction, float | int | np.number) or not 0 < fraction < 1:
        raise InputError(f"the share held out must be a number between 0 and 1, got {fraction!r}")
    return min(max(int(n * float(fraction) + 0.5), 1), n - 1)


def generator(seed: int) -> np.random.Generator:
    """The counter-based generator of a seed. Raises InputError for anything but an integer from 0 on."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"the seed must be an integer, 0 or more, got {seed!r}")
    return np.random.Generator(np.random.Philox(int(seed)))


def _draw_by_class(labels: np.ndarray, held: int, random: np.random.Generator) -> np.ndarray:
    try:
        classes, counts = np.unique(labels, return_counts=True)
    except TypeError as error:
        raise InputError(f"class labels to split by must be of one kind: {error}") from error
    shares, remainders = np.divmod(held * counts, len(labels))
    order = random.permutation(len(counts))
    order = order[np.argsort(-remainders[order], kind="stable")]
    most = counts - 1 if held <= len(labels) - len(classes) else counts
    while rest := held - shares.sum():
        shares[order[(shares < most)[order]][:rest]] += 1
    first = np.cumsum(counts) - counts
    is_held = np.zeros(len(labels), dtype=bool)  # class by class
    for start, count, share in zip(first, counts, shares, strict=True):
        is_held[start + _some(count, share, random)] = True
    return np.concatenate(list(_in_order(is_held, labels, classes, first)))


def _some(n: int, count: int, random: np.random.Generator) -> np.ndarray:
    """The first `count` of the numbers 0 to n - 1 in random order."""
    numbers = np.arange(n, dtype=np.uint32 if n <= 1 << 32 else np.int64)
    random.shuffle(numbers)
    return numbers[:count].astype(np.int64)


def _in_order(values: np.ndarray, labels: np.ndarray, classes: np.ndarray, first: np.ndarray) -> Iterator[np.ndarray]:
    """Values that lie class by class, from `first` on, block by block as the labels lie: large sorts take memory."""
    done = first.copy()
    for start in range(0, len(labels), BLOCK):
        number = np.searchsorted(classes, labels[start : start + BLOCK])
        order = np.argsort(number, kind="stable")
        counts = np.bincount(number, minlength=len(classes))
        rank = np.arange(len(number)) - (np.cumsum(counts) - counts)[number[order]]
        block = np.zeros(len(number), values.dtype)
        block[order] = values[done[number[order]] + rank]
        done += counts
        yield block
