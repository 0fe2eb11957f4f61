"""What goes on inside a network: units that no longer learn, gradients that vanish, weights that drift.

When to use: the loss stands still, or the network is deep. Training is not touched by looking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks, norms
from fastnn.activations import HardSigmoid, HardTanh, ReLU, Sigmoid, Tanh
from fastnn.callbacks import Callback
from fastnn.processor import Processor
from fastnn_kernels import layout

if TYPE_CHECKING:
    from fastnn.job import Part
    from fastnn.losses import Loss
    from fastnn.network import MLP
    from fastnn.training import History

ENGINE = Processor(threads=1)
MOST_SAMPLES = 1000  # looked at
SATURATING = (Sigmoid, Tanh, HardSigmoid, HardTanh)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer on some samples, as it predicts: without noise, batch norm by its running averages.

    saturated_3, saturated_6: the shares of abs(z) > 3 and > 6, over units and samples, of sigmoid, tanh, hard_sigmoid
    and hard_tanh; z is what goes into the activation. Where tanh is beyond 3 its derivative is below 0.01, where
    sigmoid is beyond 6 below 0.0025. dead: the share of ReLUs that are 0 for every sample. These are None for other
    activations. gradient_norm: sqrt(sum dW^2), of the mean loss without penalty; batch norm there has the statistics
    of these samples. weight_mean, weight_deviation, weight_quantiles: over W, the latter at QUANTILES. zeros: the share
    of exact zeros in W.
    """

    label: str
    saturated_3: float | None
    saturated_6: float | None
    dead: float | None
    gradient_norm: float
    weight_mean: float
    weight_deviation: float
    weight_quantiles: tuple[float, ...]
    zeros: float


@dataclass(frozen=True)
class Diagnosis:
    """A look at all layers. epoch: after which one of the fit, 0 before the first."""

    epoch: int
    layers: tuple[LayerDiagnosis, ...]


def diagnose(
    net: MLP, X: Any, y: Any, *, loss: Any = None, sample_weight: Any = None, class_weight: Any = None
) -> tuple[LayerDiagnosis, ...]:
    """A diagnosis a layer, on up to 1,000 of the samples, evenly spread over X. The arguments are net.gradient's.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    from fastnn.reading import Reader

    reader = Reader(net, net.fitted)
    loss_object = reader.trainable_loss(loss)
    part = reader.part(X, y, loss_object, sample_weight=sample_weight, class_weight=class_weight)
    norms.check_batches(net, len(part), len(part))
    return _diagnose(net, part, loss_object)


def _diagnose(net: MLP, part: Part, loss: Loss) -> tuple[LayerDiagnosis, ...]:
    looked_at = replace(part, index=part.index[_spread(len(part))])
    flat = ENGINE.gradient(net, looked_at, loss)
    with np.errstate(over="ignore"):  # where training is about to diverge, infinity is the right norm
        return tuple(_layer(net, looked_at, number, flat) for number in range(1, len(net.layers) + 1))


def _layer(net: MLP, part: Part, number: int, gradient: np.ndarray) -> LayerDiagnosis:
    function = net.layers[number - 1].function
    W, dW = (layout.get_layer(net.layout, number, flat)[0].astype(np.float64) for flat in (net.params, gradient))
    saturated_3 = saturated_6 = dead = None
    if isinstance(function, SATURATING):
        size = abs(ENGINE.observe(net, part, number, activated=False))
        saturated_3, saturated_6 = float((size > 3).mean()), float((size > 6).mean())
    if isinstance(function, ReLU):
        dead = float((ENGINE.observe(net, part, number, activated=True) == 0).all(axis=0).mean())
    return LayerDiagnosis(
        label=f"{number} {function.label}",
        saturated_3=saturated_3,
        saturated_6=saturated_6,
        dead=dead,
        gradient_norm=float(np.sqrt((dW**2).sum())),
        weight_mean=float(W.mean()),
        weight_deviation=float(W.std()),
        weight_quantiles=tuple(np.quantile(W, QUANTILES).tolist()),
        zeros=float((W == 0).mean()),
    )


def _spread(samples: int) -> np.ndarray:
    count = min(samples, MOST_SAMPLES)
    return np.arange(count) * samples // count


class Diagnostics(Callback):
    """Diagnoses of the training samples in history.diagnostics: before the first and after every `every`-th epoch.

    A look costs about as much as a pass over those samples that it looks at, on one thread.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = checks.whole("every", every)
        self._training: Any = None

    def training_starts(self, net: MLP, training: Part, loss: Loss, history: History) -> None:
        self._training = training, loss
        self._look(net, history)

    def epoch_end(self, net: MLP, history: History) -> None:
        if len(history.loss) % self.every == 0:
            self._look(net, history)

    def fit_end(self, net: MLP, history: History) -> None:
        self._training = None

    def _look(self, net: MLP, history: History) -> None:
        history.diagnostics.append(Diagnosis(len(history.loss), _diagnose(net, *self._training)))
