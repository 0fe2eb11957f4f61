"""Weights of samples: given one by one, or by class."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import checks, inputs
from fastnn.errors import InputError
from fastnn.targets import Targets


def read(sample_weight: Any, class_weight: Any, targets: Targets, samples: int, dtype: np.dtype) -> np.ndarray | None:
    """The factor on each sample's loss, (samples,), or None without any.

    sample_weight: (samples,), at least 0. class_weight: {label: factor}, 1 for labels that it leaves out, or
    "balanced": samples / (classes * samples of the class). Where both are given, their product.

    Raises InputError for another length, negative or infinite weights, none above 0, labels that are no classes, and
    class weights where y holds no classes.
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = np.ones(samples, dtype)
    if sample_weight is not None:
        weights = _of_samples(sample_weight, samples, dtype)
    if class_weight is not None:
        factors = _of_classes(class_weight, targets)
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is reported below
            weights = weights * factors.astype(dtype)
    if not np.isfinite(weights).all():
        first = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise InputError(f"the weight of sample {first} is too large for {dtype}: choose smaller weights")
    if not weights.any():
        raise InputError("all weights of samples are 0: nothing would be learned")
    return weights


def _of_samples(given: Any, samples: int, dtype: np.dtype) -> np.ndarray:
    array = inputs.numeric("sample_weight", given)
    if array.shape != (samples,):
        raise InputError(f"sample_weight must have the shape ({samples},), one for each sample, got {array.shape}")
    weights = inputs.converted("sample_weight", array, dtype)
    if weights.min() < 0:
        first = int(np.flatnonzero(weights < 0)[0])
        raise InputError(f"sample_weight[{first}] = {array[first]} must be at least 0")
    return weights


def _of_classes(given: Any, targets: Targets) -> np.ndarray:
    numbers = targets.stratification()
    if numbers is None or targets.classes is None:
        raise InputError("class_weight needs class labels in y; for numbers choose sample_weight")
    if isinstance(given, str) and given == "balanced":
        counts = np.bincount(numbers, minlength=len(targets.classes))
        factors = len(numbers) / (len(counts) * np.maximum(counts, 1))
    elif isinstance(given, dict):
        factors = _factors(given, targets.classes)
    else:
        raise InputError(f'class_weight must be {{label: factor}} or "balanced", got {given!r}')
    return factors[numbers]


def _factors(given: dict, classes: np.ndarray) -> np.ndarray:
    known = {label: number for number, label in enumerate(classes.tolist())}
    factors = np.ones(len(classes))
    for label, factor in given.items():
        if label not in known:
            shown = ", ".join(str(one) for one in list(known)[:10])
            raise InputError(f"class_weight has the label {label!r}, which is none of the classes {shown}")
        factors[known[label]] = checks.real(f"class_weight[{label!r}]", factor, least=0.0)
    return factors
