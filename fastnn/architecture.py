"""What users say about the layers of a network, read and checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.activations import Softmax
from fastnn.errors import InputError
from fastnn.layers import Dense

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def read_layers(
    sizes: Any, layers: Any, activation: Any, output: Any, norm: Any, dropout: Any
) -> tuple[int, tuple[Dense, ...]]:
    """The number of inputs, and the layers: as given, or built from a list of sizes and what all hidden ones share."""
    if layers is not None:
        if any(option is not None for option in (activation, output, norm, dropout)):
            raise InputError(
                "activation, output, norm and dropout go with a list of sizes; Dense objects have their own"
            )
        n_in = checks.whole("the number of inputs", sizes)
        found = tuple(layers) if isinstance(layers, Iterable) else ()
        if not found or not all(isinstance(layer, Dense) for layer in found):
            raise InputError(f"layers must be one or more fastnn.Dense objects, got {layers!r}")
        return n_in, found
    try:
        given = list(sizes)
    except TypeError:
        raise InputError(f"sizes must be [n_in, hidden..., n_out], got {sizes!r}") from None
    if len(given) < 2:
        raise InputError(f"sizes must be [n_in, hidden..., n_out], at least two numbers, got {given!r}")
    given = [checks.whole("every size", size) for size in given]
    function = "relu" if activation is None else activation
    hidden = tuple(Dense(units, function, dropout, norm=norm) for units in given[1:-1])
    return given[0], (*hidden, Dense(given[-1], "linear" if output is None else output))


def read_dtype(dtype: Any) -> np.dtype:
    """One of DTYPES."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in DTYPES:
        raise InputError(f'dtype must be "float32" or "float64", got {dtype!r}')
    return found


def check(layers: tuple[Dense, ...]) -> None:
    """Raises InputError for layers that do not go together."""
    for number, layer in enumerate(layers[:-1], start=1):
        if isinstance(layer.function, Softmax):
            raise InputError(f"softmax is for the last layer, but layer {number} of {len(layers)} has it")
    if layers[-1].norm is not None:
        raise InputError(
            f"norm is for hidden layers, but the last layer has {layers[-1].norm}: it would fix mean and spread of the "
            "outputs, which the targets decide"
        )
    if layers[-1].dropout is not None:
        raise InputError(f"dropout is for hidden layers, but the last layer has {layers[-1].dropout}")
    if any(layer.leaves_units_out for layer in layers) and any(layer.norm is not None for layer in layers):
        raise InputError('norm goes with dropout per="sample"; per "batch" and "epoch" leave units out of the network')
    if isinstance(layers[-1].function, Softmax) and layers[-1].units == 1:
        raise InputError('softmax over one output is always 1; for two classes choose 2 outputs, or output="sigmoid"')
