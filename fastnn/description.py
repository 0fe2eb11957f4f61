"""A network, its data and its loss as the kernels of every device want them: numbers, and vectors by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn import noise, norms
from fastnn.augment import Augmentation
from fastnn.job import Part
from fastnn.losses import Loss
from fastnn_kernels import activation, work

if TYPE_CHECKING:
    from fastnn.network import MLP


def numbers(net: MLP, part: Part, loss: Loss) -> np.ndarray:
    """int64, as fastnn_kernels.work numbers them; those of a device, a workspace and an optimizer still 0."""
    values = np.zeros(work.NUMBERS, np.int64)
    values[work.LAYERS] = len(net.layers)
    values[work.LOSS], values[work.CUSTOM_LOSS] = loss.code, loss.address(net.dtype)
    values[work.TARGET], values[work.ACCURACY] = part.targets.kind, part.targets.accuracy
    values[work.COLUMNS_IN] = net.n_in
    values[work.NORMALIZED] = net.normalization is not None
    values[work.SEED] = net.seed
    values[work.SAMPLES] = len(part)
    values[work.WEIGHTED] = part.weights is not None
    return values


def fields(net: MLP, part: Part, loss: Loss) -> dict[str, np.ndarray]:
    """What has the same name in fastnn_kernels.work and fastnn_kernels.cuda.work."""
    empty, normalization, targets = np.zeros(0, net.dtype), net.normalization, part.targets
    return {
        "betas": np.array([0.0, *(layer.function.constant for layer in net.layers)]),
        "X": part.X,
        "shift": empty if normalization is None else normalization.shift.astype(net.dtype),
        "scale": empty if normalization is None else normalization.scale.astype(net.dtype),
        "labels": np.zeros(0, np.int32) if targets.labels is None else targets.labels,
        "targets": empty if targets.dense is None else targets.dense,
        "weights": empty if part.weights is None else part.weights,
        "loss_constants": loss.constants(),
        "norms": norms.table(net),
    }


def extras(net: MLP, augment: Augmentation | None = None) -> bool | None:
    """Whether the kernels need to know what few networks have, see fastnn_kernels.jit.extra: True, or None for no.

    augment: what is done to the samples.
    """
    functions = [layer.function for layer in net.layers]
    own = any(function.is_noisy or function.code == activation.CUSTOM for function in functions)
    return True if augment is not None or own or net.has_noise or norms.has_norm(net) else None


def noises(net: MLP, is_on: bool) -> tuple[list[int], np.ndarray]:
    """The layers' noises while it is on or off: codes, and float64 (layers + 1, fastnn_kernels.noise.CONSTANTS)."""
    return noise.table([layer.any_noise if is_on else None for layer in net.layers])
