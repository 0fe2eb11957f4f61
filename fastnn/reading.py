"""What users give to a network, read and checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import (
    augment,
    averaging,
    callbacks,
    checks,
    clipping,
    inputs,
    losses,
    norms,
    optimizers,
    penalties,
    schedules,
    targets,
    weighting,
)
from fastnn.activations import Threshold
from fastnn.data import normalize as normalization_module
from fastnn.data.normalize import Normalization
from fastnn.data.split import draw
from fastnn.errors import InputError
from fastnn.fitted import Fitted
from fastnn.job import Job, Part, Settings
from fastnn.losses import Loss

if TYPE_CHECKING:
    from fastnn.network import MLP


@dataclass(frozen=True)
class Request:
    """What a user asks of a fit, unread; MLP.fit says what each of these may be."""

    loss: Any
    optimizer: Any
    epochs: Any
    batch_size: Any
    penalty: Any
    clip: Any
    normalize: Any
    shuffle: Any = True
    schedule: Any = None
    validation: Any = None
    augment: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    accumulate: Any = 1
    average: Any = None
    callbacks: Any = ()


class Reader:
    """Reads for one network. fitted: what the network remembers, or nothing where it starts over."""

    def __init__(self, net: MLP, fitted: Fitted) -> None:
        self._net, self._fitted = net, fitted
        self._output = net.layers[-1].function

    def job(self, X: Any, y: Any, asked: Request) -> Job:
        """A fit, with all that it needs."""
        loss = self.trainable_loss(asked.loss)
        whole = self.part(X, y, loss, sample_weight=asked.sample_weight, class_weight=asked.class_weight)
        training, held = self.divide(whole, asked.validation, loss)
        return Job(
            training=training,
            validation=held,
            settings=self._settings(asked, loss, len(training)),
            callbacks=callbacks.check(asked.callbacks),
            classes=whole.targets.classes,
            normalization=self.normalization(asked.normalize, training),
        )

    def _settings(self, asked: Request, loss: Loss, samples: int) -> Settings:
        minibatch = self.batch(asked.batch_size, samples)
        settings = Settings(
            loss=loss,
            optimizer=optimizers.family.get(asked.optimizer),
            epochs=checks.whole("epochs", asked.epochs),
            batch=self.batch(minibatch * checks.whole("accumulate", asked.accumulate), samples),
            minibatch=minibatch,
            shuffle=checks.flag("shuffle", asked.shuffle),
            penalty=penalties.check(asked.penalty),
            clip=clipping.check(asked.clip),
            average=averaging.check(asked.average),
            schedule=schedules.family.get("constant" if asked.schedule is None else asked.schedule),
            augment=augment.check(asked.augment, self._net.n_in),
        )
        state = self._fitted.optimizer
        done = state.own_epochs if state.kind == settings.optimizer.code else 0
        settings.schedule.check_epochs(settings.epochs, done)
        norms.check_batches(self._net, samples, minibatch)
        return settings

    def loss(self, given: Any) -> Loss:
        """The loss that is asked for, else that of the last fit, else the one that goes with the output."""
        loss = losses.family.get(given) if given is not None else self._fitted.loss or losses.natural(self._output)
        loss.check_output(self._output)
        return loss

    def trainable_loss(self, given: Any) -> Loss:
        """The loss as above. Raises InputError where a layer lets no gradient of it through."""
        loss = self.loss(given)
        for number, layer in enumerate(self._net.layers, start=1):
            if isinstance(layer.function, Threshold) and layer.function.surrogate is None:
                raise InputError(
                    f"layer {number} has the activation threshold, whose derivative is 0: nothing before it would "
                    'learn. Choose fastnn.Threshold(surrogate="straight_through") to train through it'
                )
        return loss

    def part(
        self,
        X: Any,
        y: Any,
        loss: Loss,
        classes: np.ndarray | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
    ) -> Part:
        """All samples of X and y. classes: those that y must keep to, by default those of the last fit."""
        array = inputs.matrix("X", X, self._net.n_in, self._net.dtype)
        known = self._fitted.classes if classes is None else classes
        read = targets.read(y, len(array), self._net.n_out, self._output, loss, self._net.dtype, known)
        weights = weighting.read(sample_weight, class_weight, read, len(array), self._net.dtype)
        return Part(array, read, inputs.rows(array), weights)

    def divide(self, whole: Part, validation: Any, loss: Loss) -> tuple[Part, Part | None]:
        """Training and validation samples; those held out of X stay where they are, an index names them."""
        if validation is None:
            return whole, None
        try:
            if isinstance(validation, tuple | list):
                if len(validation) != 2:
                    raise InputError(f"it must be a share or a pair (X, y), got {len(validation)} things")
                X, y = validation
                return whole, self.part(X, y, loss, whole.targets.classes)
            is_held = self._draw(whole, validation)
        except InputError as error:
            raise InputError(f"in validation: {error}") from error
        training, held = (replace(whole, index=whole.index[part]) for part in (~is_held, is_held))
        if training.weights is not None and not training.weights[training.index].any():
            raise InputError("all weights of the samples that are not held out are 0: nothing would be learned")
        return training, held

    def _draw(self, whole: Part, share: float) -> np.ndarray:
        """Whether each sample is held out, bool (samples,)."""
        by_class = whole.targets.stratification()
        return draw(len(whole.index) if by_class is None else by_class, share, self._net.seed)

    def batch(self, given: Any, samples: int) -> int:
        """Samples a step."""
        if isinstance(given, str):
            if given != "full":
                raise InputError(f'batch_size must be a whole number or "full", got {given!r}')
            return samples
        return min(checks.whole("batch_size", given), samples)

    def normalization(self, method: str | None, training: Part) -> Normalization | None:
        """The normalization that there is, or a new one by the training samples."""
        known = self._fitted.normalization
        if method is None or method == "none":
            return known
        if known is not None:
            if known.method == method:
                return known
            raise InputError(
                f'the network was fitted with normalize="{known.method}", got "{method}"; reset=True starts over'
            )
        if self._fitted.optimizer.epochs:
            raise InputError("the network was fitted without normalization; reset=True starts over with it")
        return normalization_module.fit(method, training.X, training.index)
