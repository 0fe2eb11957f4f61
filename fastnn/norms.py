"""Normalization between product and activation: what users choose, its state, and how it folds into the weights.

    xhat = (z - mean) / sqrt(variance + eps);  a = f(gamma xhat + beta)

Formulas and the way back are in fastnn_kernels.norm; docs/normalization.md says when to use which.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, inputs
from fastnn.errors import InputError
from fastnn.named import Family
from fastnn_kernels import layout
from fastnn_kernels.norm import CONSTANTS

if TYPE_CHECKING:
    from fastnn.network import MLP

LEAST_EPS = 1e-12  # its root has an inverse in float32


@dataclass(frozen=True)
class Norm:
    """Base of the normalizations of a layer. eps: at least 1e-12, is added to variances."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", checks.real(f"eps of {type(self).__name__}", self.eps, least=LEAST_EPS))

    @property
    def code(self) -> int:
        return layout.NO_NORM

    @property
    def constants(self) -> tuple[float, float]:
        """eps and momentum, as the kernels want them."""
        return self.eps, 0.0


@dataclass(frozen=True)
class BatchNorm(Norm):
    """Every unit over the samples of the batch; in prediction by running averages r += momentum (statistic - r).

    momentum: above 0, at most 1. Batches need two samples or more. The batch's biased variance normalizes, the unbiased
    one goes into the running average. Use it for deep networks on batches from some 32 samples on. Source: Ioffe and
    Szegedy, Batch Normalization, 2015.
    """

    momentum: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        momentum = checks.real("momentum of BatchNorm", self.momentum, above=0.0)
        if momentum > 1.0:
            raise InputError(f"momentum of BatchNorm must be at most 1, got {self.momentum!r}")
        object.__setattr__(self, "momentum", momentum)

    @property
    def code(self) -> int:
        return layout.BATCH_NORM

    @property
    def constants(self) -> tuple[float, float]:
        return self.eps, self.momentum


@dataclass(frozen=True)
class LayerNorm(Norm):
    """Every sample over the units of the layer, in training and prediction alike.

    Use it where batches are small, or where samples must not depend on each other. Source: Ba, Kiros and Hinton,
    Layer Normalization, 2016.
    """

    @property
    def code(self) -> int:
        return layout.LAYER_NORM


family: Family[Norm] = Family("norm", Norm, {"batch": BatchNorm, "layer": LayerNorm})


@dataclass(frozen=True, eq=False)
class NormState:
    """Gain gamma and shift beta of a layer, (units,); with batch normalization also running mean and variance."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None


def read(given: Any) -> Norm | None:
    """None, or the normalization that a name or an object stands for."""
    return None if given is None else family.get(given)


def code(norm: Norm | None) -> int:
    """What the layout calls it."""
    return layout.NO_NORM if norm is None else norm.code


def table(net: MLP) -> np.ndarray:
    """float64 (layers + 1, CONSTANTS): what the kernels want, row 0 for the input."""
    rows = [(0.0,) * CONSTANTS] + [(0.0,) * CONSTANTS if norm is None else norm.constants for norm in _norms(net)]
    return np.array(rows)


def has_batch_norm(net: MLP) -> bool:
    return any(isinstance(norm, BatchNorm) for norm in _norms(net))


def has_norm(net: MLP) -> bool:
    return any(norm is not None for norm in _norms(net))


def _norms(net: MLP) -> list[Norm | None]:
    return [layer.norm for layer in net.layers]


def check_batches(net: MLP, samples: int, batch: int) -> None:
    """Raises InputError where a step would have one sample and batch normalization no statistics of it."""
    if has_batch_norm(net) and (batch == 1 or samples % batch == 1):
        left = "a batch has one" if batch == 1 else f"{samples} samples % batch_size {batch} == 1"
        raise InputError(f'batch norm cannot normalize one sample: {left}. Choose another batch_size, or norm="layer"')


def start_over(net: MLP) -> None:
    """gamma = 1, beta = 0, running mean 0 and variance 1."""
    for number, norm in enumerate(_norms(net), start=1):
        if norm is not None:
            gamma, beta = layout.get_norm(net.layout, number, net.params)
            gamma[:], beta[:] = 1.0, 0.0
        if isinstance(norm, BatchNorm):
            mean, variance = layout.get_running(net.layout, number, net.running)
            mean[:], variance[:] = 0.0, 1.0


def get(net: MLP) -> list[NormState | None]:
    """The state of every layer, as copies; None for layers without normalization."""
    return [None if norm is None else _state(net, number, norm) for number, norm in enumerate(_norms(net), start=1)]


def _state(net: MLP, number: int, norm: Norm) -> NormState:
    arrays = list(layout.get_norm(net.layout, number, net.params))
    if isinstance(norm, BatchNorm):
        arrays += layout.get_running(net.layout, number, net.running)
    return NormState(*(array.copy() for array in arrays))


def put(net: MLP, given: Iterable[Any]) -> None:
    """Replace the state of every layer; all is checked before anything changes."""
    states, known = _as_list(given), get(net)
    if len(states) != len(known):
        raise InputError(f"norms must be {len(known)} states, one for each layer or None, got {len(states)}")
    checked = [_checked(f"norms[{i}]", *pair, net.dtype) for i, pair in enumerate(zip(states, known, strict=True))]
    for number, arrays in enumerate(checked, start=1):
        if arrays:
            gamma, beta = layout.get_norm(net.layout, number, net.params)
            gamma[:], beta[:] = arrays[:2]
        if len(arrays) > 2:
            mean, variance = layout.get_running(net.layout, number, net.running)
            mean[:], variance[:] = arrays[2:]


def _as_list(given: Any) -> list:
    try:
        return list(given)
    except TypeError:
        raise InputError(f"norms must be a list as net.norms gives it, got {given!r}") from None


def _checked(what: str, given: Any, known: NormState | None, dtype: np.dtype) -> list[np.ndarray]:
    """The arrays of one layer's new state, [] for a layer without normalization."""
    if known is None or not isinstance(given, NormState):
        if given is None and known is None:
            return []
        wanted = "None, since the layer has no norm" if known is None else "a fastnn.NormState"
        raise InputError(f"{what} must be {wanted}, got {given!r}")
    arrays = []
    for name, old in vars(known).items():
        new = getattr(given, name)
        if (old is None) != (new is None):
            raise InputError(f"{what}.{name} must be {'None' if old is None else f'of shape {old.shape}'}, got {new!r}")
        if old is not None:
            arrays.append(inputs.parameter(f"{what}.{name}", new, old.shape, dtype))
    if len(arrays) > 2 and (arrays[3] < 0).any():
        raise InputError(f"{what}.variance must be 0 or more, got {arrays[3].min()}")
    return arrays


def fold(net: MLP, out: np.ndarray) -> None:
    """Write the parameters into `out` with batch normalization folded into weights and biases, by running averages.

    W' = W s and b' = (b - mean) s + beta, with s = gamma / sqrt(variance + eps).
    """
    out[:] = net.params
    for number, norm in enumerate(_norms(net), start=1):
        if isinstance(norm, BatchNorm):
            gamma, beta = (array.astype(np.float64) for array in layout.get_norm(net.layout, number, net.params))
            mean, variance = (array.astype(np.float64) for array in layout.get_running(net.layout, number, net.running))
            layout.scale_layer(net.layout, number, out, gamma / np.sqrt(variance + norm.eps), mean, beta)
