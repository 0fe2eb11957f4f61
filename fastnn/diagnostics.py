"""What goes on inside a network: units that no longer learn, gradients that vanish, weights that drift.

When to use: the loss stands still, or the network is deep. Training is not touched by looking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import checks
from fastnn.activations import ReLU, Sigmoid, Tanh
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
SATURATED_FROM = {Sigmoid: 6.0, Tanh: 3.0}  # abs(z), beyond which the derivative is below 0.0025 and 0.01


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer on some samples.

    saturated: the share of abs(z) > 6 of sigmoid and > 3 of tanh, over units and samples; None for other activations.
    dead: the share of ReLUs that are 0 for every sample; None for other activations. gradient_norm: sqrt(sum dW^2), of
    the mean loss without penalty. weight_mean, weight_deviation: over W. zeros: the share of exact zeros in W.
    """

    label: str
    saturated: float | None
    dead: float | None
    gradient_norm: float
    weight_mean: float
    weight_deviation: float
    zeros: float


def diagnose(net: MLP, X: Any, y: Any, *, loss: Any = None) -> list[LayerDiagnosis]:
    """A diagnosis a layer, on up to 1,000 of the samples, evenly spread over X. X, y, loss: as in net.evaluate.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    from fastnn.reading import Reader

    reader = Reader(net, net.fitted)
    loss_object = reader.loss(loss)
    return _diagnose(net, reader.part(X, y, loss_object), loss_object)


def _diagnose(net: MLP, part: Part, loss: Loss) -> list[LayerDiagnosis]:
    looked_at = replace(part, index=part.index[_spread(len(part))])
    flat = ENGINE.gradient(net, looked_at, loss)
    found = []
    for number, (layer, (W, _)) in enumerate(zip(net.layers, net.weights, strict=True), start=1):
        W = W.astype(np.float64)
        dW = layout.get_layer(net.layout, number, flat)[0].astype(np.float64)
        saturated, dead = _units(net, looked_at, number)
        found.append(
            LayerDiagnosis(
                f"{number} {layer.function.label}",
                saturated,
                dead,
                float(np.sqrt((dW**2).sum())),
                float(W.mean()),
                float(W.std()),
                float((W == 0).mean()),
            )
        )
    return found


def _units(net: MLP, part: Part, number: int) -> tuple[float | None, float | None]:
    """The shares of saturated and of dead units of a layer, None where its activation has none."""
    kind = type(net.layers[number - 1].function)
    if kind in SATURATED_FROM:
        z = ENGINE.observe(net, part, number, activated=False)
        return float((abs(z) > SATURATED_FROM[kind]).mean()), None
    if kind is ReLU:
        return None, float((ENGINE.observe(net, part, number, activated=True) == 0).all(axis=0).mean())
    return None, None


def _spread(samples: int) -> np.ndarray:
    count = min(samples, MOST_SAMPLES)
    return np.arange(count) * samples // count


class Diagnostics(Callback):
    """Diagnoses on the training samples at the end of every `every`-th epoch, and before the first.

    epochs: after which epoch, 0 before the first; layers: for each of them a LayerDiagnosis a layer.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = checks.whole("every", every)
        self.epochs: list[int] = []
        self.layers: list[list[LayerDiagnosis]] = []
        self._training: Any = None

    def training_starts(self, training: Part, loss: Loss) -> None:
        self._training = training, loss

    def fit_start(self, net: MLP) -> None:
        self.epochs, self.layers = [0], [_diagnose(net, *self._training)]

    def epoch_end(self, net: MLP, history: History) -> None:
        done = len(history.loss)
        if done % self.every == 0:
            self.epochs.append(done)
            self.layers.append(_diagnose(net, *self._training))

    def fit_end(self, net: MLP, history: History) -> None:
        self._training = None


def overfitting_gap(history: History) -> list[float]:
    """Validation loss - training loss, a value per epoch; it grows where the network learns samples by heart.

    The training loss is the mean while training, and includes the penalty.
    """
    return [held - own for own, held in zip(history.loss, history.validation_loss, strict=False)]
