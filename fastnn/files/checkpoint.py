"""Networks in safetensors files.

Tensors: layers.N.weight (n_in, n_out) and layers.N.bias (n_out,) for N from 0, normalization.shift and .scale where
there is one; of layers with a norm also layers.N.gamma and .beta, with batch norm .mean and .variance, all (n_out,).
If asked for, what optimizer_state.py adds. Metadata: format "fastnn", version, and architecture as JSON. Nothing in a
file is ever executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastnn import activations, initializers, losses, noise, norms
from fastnn.activations import Activation
from fastnn.custom import CustomActivation, CustomLoss
from fastnn.data.normalize import METHODS, Normalization
from fastnn.errors import FastnnError, FileError, InputError
from fastnn.files import optimizer_state
from fastnn.files.atomic import as_path, replacing
from fastnn.layers import Dense

if TYPE_CHECKING:
    from fastnn.network import MLP

FORMAT, VERSION = "fastnn", 1


def save(net: MLP, path: str | os.PathLike[str], with_state: bool) -> None:
    """Write a network, and the optimizer's state if asked to. Raises FileError where the place cannot be written."""
    tensors = {}
    for number, (weight, bias) in enumerate(net.weights):
        tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"] = weight, bias
    for number, state in enumerate(net.norms):
        if state is not None:
            tensors |= {f"layers.{number}.{k}": array for k, array in vars(state).items() if array is not None}
    if net.normalization is not None:
        tensors["normalization.shift"] = np.ascontiguousarray(net.normalization.shift)
        tensors["normalization.scale"] = np.ascontiguousarray(net.normalization.scale)
    described = _describe(net)
    if with_state:
        tensors |= optimizer_state.tensors(net)
        described["state"] = optimizer_state.describe(net)
    metadata = {"format": FORMAT, "version": str(VERSION), "architecture": json.dumps(described, default=_as_python)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise FileError(f"cannot write {path}: {error}") from error


def _as_python(constant: np.generic) -> int | float | bool:
    """What JSON can hold of a constant that was given as a NumPy number."""
    return constant.item()


def _describe(net: MLP) -> dict[str, Any]:
    return {
        "n_in": net.n_in,
        "layers": [
            {
                "units": layer.units,
                "activation": layer.function.describe(),
                "noise": None if layer.any_noise is None else noise.family.describe(layer.any_noise),
                "norm": None if layer.norm is None else norms.family.describe(layer.norm),
            }
            for layer in net.layers
        ],
        "dtype": net.dtype.name,
        "seed": net.seed,
        "init": initializers.family.describe(net.init),
        "epochs": net.fitted.optimizer.epochs,
        "loss": _describe_loss(net.fitted.loss),
        "classes": None if net.classes_ is None else net.classes_.tolist(),
        "normalization": None if net.normalization is None else net.normalization.method,
    }


def _describe_loss(loss: losses.Loss | None) -> dict[str, Any] | None:
    """None without a loss, and for a custom one: a file holds no code."""
    return None if loss is None or isinstance(loss, CustomLoss) else losses.family.describe(loss)


def load(path: str | os.PathLike[str], custom: Mapping[str, CustomActivation] | None = None) -> MLP:
    """Read a network. Raises FileError for a missing, foreign, truncated or newer file.

    custom: the users' own activations by name; FileError where one is missing, since a file holds no functions, and
    InputError for a name that the file does not have.
    """
    source = as_path(path)
    given = _own_activations(custom)
    if not source.is_file():
        raise FileError(f"there is no file {source}")
    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(source, metadata)
            described = json.loads(metadata["architecture"])
            functions = [_activation(source, row["activation"], given) for row in described["layers"]]
            net = _build(described, functions, file)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, MemoryError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{source} is damaged or no fastnn model: {error}") from error
    except FastnnError as error:
        raise FileError(f"{source} is damaged or no fastnn model: {error}") from error
    _check_names(source, given, {one.name for one in functions if isinstance(one, CustomActivation)})
    return net


def _check_format(source: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise FileError(f"{source} is a safetensors file, but no fastnn model")
    version = int(metadata.get("version", "0"))
    if version > VERSION:
        raise FileError(
            f"{source} has format version {version}, this fastnn reads up to {VERSION}: upgrade fastnn-numba"
        )


def _own_activations(custom: Any) -> dict[str, CustomActivation]:
    given = {} if custom is None else custom
    if not isinstance(given, Mapping) or not all(isinstance(one, CustomActivation) for one in given.values()):
        raise InputError(f"custom must map names to fastnn.CustomActivation objects, got {custom!r}")
    return dict(given)


def _check_names(source: Path, given: dict[str, CustomActivation], needed: set[str]) -> None:
    """Raises InputError for functions that nothing in the file calls."""
    if unknown := sorted(map(repr, given.keys() - needed)):
        wanted = f"needs {', '.join(sorted(map(repr, needed)))}" if needed else "has no custom activations"
        raise InputError(f"custom has {', '.join(unknown)}, but {source} {wanted}")


def _activation(source: Path, described: dict[str, Any], custom: dict[str, CustomActivation]) -> Activation:
    if described["name"] != "custom":
        return activations.family.build(described)
    name = described["function"]
    if name not in custom:
        raise FileError(
            f"{source} has the custom activation {name!r}, whose functions no file holds: give them with "
            f"MLP.load(path, custom={{{name!r}: fastnn.CustomActivation(function, derivative)}})"
        )
    return replace(custom[name], name=name)


def _build(described: dict[str, Any], functions: list[Activation], file: Any) -> MLP:
    from fastnn.network import MLP

    layers = [_layer(row, one) for row, one in zip(described["layers"], functions, strict=True)]
    _check_shapes(described["n_in"], layers, file)
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
    net.set_norms(_norm_state(file, number, state) for number, state in enumerate(net.norms))
    net.fitted.optimizer.epochs = net.fitted.optimizer.begun = int(described.get("epochs", 0))
    if "state" in described:
        optimizer_state.restore(net, described["state"], file)
    if described["loss"] is not None:
        net.fitted.loss = losses.family.build(described["loss"])
        net.fitted.loss.check_output(functions[-1])
    if described["classes"] is not None:
        net.fitted.classes = _classes(described["classes"], net.n_out)
    if described["normalization"] is not None:
        shift, scale = file.get_tensor("normalization.shift"), file.get_tensor("normalization.scale")
        net.fitted.normalization = _normalization(described["normalization"], shift, scale, net.n_in)
    return net


def _check_shapes(n_in: int, layers: list[Dense], file: Any) -> None:
    """Raises ValueError where weights are not as large as is said, before memory is taken for them."""
    for number, units in enumerate(layer.units for layer in layers):
        shape = file.get_slice(f"layers.{number}.weight").get_shape()
        if shape != [n_in, units]:
            raise ValueError(f"the weights of layer {number + 1} have the shape {shape}, expected {[n_in, units]}")
        n_in = units


def _layer(row: dict[str, Any], function: Activation) -> Dense:
    norm, drawn = row.get("norm"), row.get("noise")
    return Dense(
        row["units"],
        function,
        noise=None if drawn is None else noise.family.build(drawn),
        norm=None if norm is None else norms.family.build(norm),
    )


def _norm_state(file: Any, number: int, new: norms.NormState | None) -> norms.NormState | None:
    """The state that a file holds in the place of a new one."""
    if new is None:
        return None
    names = [name for name, array in vars(new).items() if array is not None]
    return norms.NormState(**{name: file.get_tensor(f"layers.{number}.{name}") for name in names})


def _classes(labels: list, n_out: int) -> np.ndarray:
    classes = np.array(labels)
    count = max(n_out, 2)
    if classes.shape != (count,) or not np.array_equal(np.unique(classes), classes):
        raise ValueError(f"the classes must be {count} different ones, sorted, for {n_out} outputs")
    return classes


def _normalization(method: str, shift: np.ndarray, scale: np.ndarray, n_in: int) -> Normalization:
    if method not in METHODS:
        raise ValueError(f"unknown normalization {method!r}")
    if shift.shape != (n_in,) or scale.shape != (n_in,) or not np.isfinite([shift, scale]).all():
        raise ValueError(f"the normalization must be finite numbers for {n_in} inputs")
    return Normalization(method, shift, scale)
