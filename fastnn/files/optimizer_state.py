"""The optimizer's state in a network's file, so that training goes on in another process as if it had never stopped.

Tensors: optimizer.I.layers.N.weight and .bias for each of its vectors I, of layers with a norm also .gamma and .beta,
as checkpoint.py has them of the parameters. The last vector may be the average of the weights; raw.layers.N... are then
the weights themselves, while the network's own are their average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.fitted import OptimizerState
from fastnn_kernels import layout
from fastnn_kernels.optimizer import CODES, states

if TYPE_CHECKING:
    from fastnn.network import MLP


def describe(net: MLP) -> dict[str, Any]:
    """What is no tensor. Epochs stand with the architecture."""
    state = net.fitted.optimizer
    return {
        "optimizer": next(name for name, code in CODES.items() if code == state.kind),
        "steps": state.steps,
        "begun": state.begun,
        "vectors": len(_vectors(net)),
        "has_average": state.has_average,
        "has_raw": net.fitted.raw is not None,
    }


def tensors(net: MLP) -> dict[str, np.ndarray]:
    """All vectors, layer by layer."""
    vectors = {f"optimizer.{i}": flat for i, flat in enumerate(_vectors(net))}
    vectors |= {} if net.fitted.raw is None else {"raw": net.fitted.raw}
    found: dict[str, np.ndarray] = {}
    for vector, flat in vectors.items():
        for number in range(1, len(net.layers) + 1):
            found |= {f"{vector}.{name}": array for name, array in _layer(net, number, flat).items()}
    return found


def restore(net: MLP, described: dict[str, Any], file: Any) -> None:
    """Give a network the state that a file holds. Raises ValueError or KeyError where it does not fit."""
    kind, vectors, has_average = CODES[described["optimizer"]], described["vectors"], described["has_average"]
    if vectors not in (0, states(kind) + has_average):
        raise ValueError(f"{described['optimizer']} with {vectors} vectors of state")
    values = layout.zeros(vectors * len(net.params), net.dtype)
    for i, flat in enumerate(values.reshape(-1, len(net.params))):
        _read(net, f"optimizer.{i}", flat, file)
    net.fitted.optimizer = OptimizerState(
        kind, values, int(described["steps"]), net.fitted.optimizer.epochs, int(described["begun"]), bool(has_average)
    )
    if described["has_raw"]:
        net.fitted.raw = layout.zeros(len(net.params), net.dtype)
        _read(net, "raw", net.fitted.raw, file)


def _vectors(net: MLP) -> np.ndarray:
    """(vectors, parameters): what is remembered. After a divergence there is room for an average that is none."""
    state, size = net.fitted.optimizer, len(net.params)
    count = states(state.kind) + state.has_average if len(state.values) else 0
    return state.values[: count * size].reshape(count, size)


def _layer(net: MLP, number: int, flat: np.ndarray) -> dict[str, np.ndarray]:
    """A layer's part of a vector by the names that it has in files."""
    parts = dict(zip(("weight", "bias"), layout.get_layer(net.layout, number, flat), strict=True))
    if net.layers[number - 1].norm is not None:
        gamma, beta = layout.get_norm(net.layout, number, flat)
        parts |= {"gamma": gamma.copy(), "beta": beta.copy()}
    return {f"layers.{number - 1}.{name}": array for name, array in parts.items()}


def _read(net: MLP, vector: str, flat: np.ndarray, file: Any) -> None:
    for number in range(1, len(net.layers) + 1):
        own = _layer(net, number, flat)
        found = [file.get_tensor(f"{vector}.{name}") for name in own]
        for name, array, like in zip(own, found, own.values(), strict=True):
            if array.shape != like.shape or array.dtype != like.dtype or np.isnan(array).any():
                raise ValueError(f"{vector}.{name} must be {like.dtype} of the shape {like.shape} without NaN")
        weight, bias, *norm = found
        layout.set_layer(net.layout, number, flat, weight, bias)
        for to, given in zip(layout.get_norm(net.layout, number, flat) if norm else (), norm, strict=True):
            to[:] = given
