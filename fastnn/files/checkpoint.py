"""Networks in safetensors files.

Tensors: layers.N.weight (n_in, n_out) and layers.N.bias (n_out,) for N from 0, normalization.shift and .scale where
there is one. Metadata: format "fastnn", version, and architecture as JSON. Nothing in a file is ever executed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastnn import activations, initializers, losses, noise
from fastnn.data.normalize import METHODS, Normalization
from fastnn.errors import FastnnError, FileError
from fastnn.files.atomic import replacing
from fastnn.layers import Dense

if TYPE_CHECKING:
    from fastnn.network import MLP

FORMAT, VERSION = "fastnn", 1


def save(net: MLP, path: str | os.PathLike[str]) -> None:
    """Write a network. Raises FileError where the place cannot be written."""
    tensors = {}
    for number, (weight, bias) in enumerate(net.weights):
        tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"] = weight, bias
    if net.normalization is not None:
        tensors["normalization.shift"] = np.ascontiguousarray(net.normalization.shift)
        tensors["normalization.scale"] = np.ascontiguousarray(net.normalization.scale)
    metadata = {"format": FORMAT, "version": str(VERSION), "architecture": json.dumps(_describe(net))}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def _describe(net: MLP) -> dict[str, Any]:
    return {
        "n_in": net.n_in,
        "layers": [
            {
                "units": layer.units,
                "activation": activations.family.describe(layer.function),
                "noise": None if layer.any_noise is None else noise.family.describe(layer.any_noise),
            }
            for layer in net.layers
        ],
        "dtype": net.dtype.name,
        "seed": net.seed,
        "init": initializers.family.describe(net.init),
        "loss": None if net.fitted.loss is None else losses.family.describe(net.fitted.loss),
        "classes": None if net.classes_ is None else net.classes_.tolist(),
        "normalization": None if net.normalization is None else net.normalization.method,
    }


def load(path: str | os.PathLike[str]) -> MLP:
    """Read a network. Raises FileError for a missing, foreign, truncated or newer file."""
    source = Path(path)
    if not source.is_file():
        raise FileError(f"there is no file {source}")
    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(source, metadata)
            return _build(json.loads(metadata["architecture"]), file)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{source} is damaged or no fastnn model: {error}") from error
    except FastnnError as error:
        raise FileError(f"{source} is damaged or no fastnn model: {error}") from error


def _check_format(source: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise FileError(f"{source} is a safetensors file, but no fastnn model")
    version = int(metadata.get("version", "0"))
    if version > VERSION:
        raise FileError(
            f"{source} has format version {version}, this fastnn reads up to {VERSION}: upgrade fastnn-numba"
        )


def _build(described: dict[str, Any], file: Any) -> MLP:
    from fastnn.network import MLP

    layers = [_layer(row) for row in described["layers"]]
    net = MLP(
        described["n_in"],
        layers,
        init=initializers.family.build(described["init"]),
        dtype=described["dtype"],
        seed=described["seed"],
    )
    net.set_weights(
        (file.get_tensor(f"layers.{number}.weight"), file.get_tensor(f"layers.{number}.bias"))
        for number in range(len(layers))
    )
    if described["loss"] is not None:
        net.fitted.loss = losses.family.build(described["loss"])
    if described["classes"] is not None:
        net.fitted.classes = _classes(described["classes"], net.n_out)
    if described["normalization"] is not None:
        shift, scale = file.get_tensor("normalization.shift"), file.get_tensor("normalization.scale")
        net.fitted.normalization = _normalization(described["normalization"], shift, scale, net.n_in)
    return net


def _layer(row: dict[str, Any]) -> Dense:
    described = row.get("noise")
    found = None if described is None else noise.family.build(described)
    return Dense(row["units"], activations.family.build(row["activation"]), noise=found)


def _classes(labels: list, n_out: int) -> np.ndarray:
    classes = np.array(labels)
    count = max(n_out, 2)
    if classes.shape != (count,) or len(np.unique(classes)) != count:
        raise ValueError(f"{len(labels)} classes for {n_out} outputs")
    return classes


def _normalization(method: str, shift: np.ndarray, scale: np.ndarray, n_in: int) -> Normalization:
    if method not in METHODS:
        raise ValueError(f"unknown normalization {method!r}")
    if shift.shape != (n_in,) or scale.shape != (n_in,) or not np.isfinite([shift, scale]).all():
        raise ValueError(f"the normalization must be finite numbers for {n_in} inputs")
    return Normalization(method, shift, scale)
