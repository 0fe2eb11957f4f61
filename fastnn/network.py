"""MLP: a multilayer perceptron to build, fit, evaluate, save and load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from fastnn import architecture, checks, devices, division, explain, initializers, inputs, norms, optimizers, range_test
from fastnn import progress as progress_module
from fastnn.augment import Augmentation
from fastnn.averaging import EMA
from fastnn.clipping import Clip
from fastnn.custom import CustomActivation
from fastnn.data.normalize import Normalization
from fastnn.devices import Cuda
from fastnn.engine import Engine
from fastnn.errors import InputError
from fastnn.fitted import Fitted, LastRun
from fastnn.job import Part
from fastnn.layers import Dense
from fastnn.norms import NormState
from fastnn.penalties import Penalty
from fastnn.range_test import RangeTest
from fastnn.reading import Reader, Request
from fastnn.training import History, Run, alone
from fastnn_kernels import layout


class MLP:
    """A multilayer perceptron.

    sizes: [n_in, hidden..., n_out], or n_in with `layers` given. layers: Dense objects, each with its activation.
    activation, output: of the hidden layers and of the last one; names or objects; by default "relu" and "linear".
    norm, dropout: of all hidden layers: "batch", "layer" or an object; a probability or a Dropout. These four not
    together with `layers`. init: a name or an object of fastnn.initializers. dtype: "float32" or "float64". seed: of
    weights, shuffles, splits and noise.

    Raises InputError for sizes below 1, unknown names, softmax before the last layer, or softmax over one output.
    """

    def __init__(
        self,
        sizes: int | Sequence[int],
        layers: Sequence[Dense] | None = None,
        *,
        activation: Any = None,
        output: Any = None,
        init: Any = "auto",
        dtype: Any = "float32",
        seed: int = 0,
        norm: Any = None,
        dropout: Any = None,
    ) -> None:
        self.n_in, self.layers = architecture.read_layers(sizes, layers, activation, output, norm, dropout)
        self.dtype = architecture.read_dtype(dtype)
        self.seed = checks.whole("seed", seed, least=0)
        self.init = initializers.family.get(init)
        architecture.check(self.layers)
        codes = [layer.function.code for layer in self.layers]
        norm_codes = [norms.code(layer.norm) for layer in self.layers]
        sizes = [self.n_in, *(layer.units for layer in self.layers)]
        self.layout = layout.parameters(sizes, codes, self.dtype, norm_codes)
        self.params = layout.zeros(self.layout.count, self.dtype)
        self.running = layout.zeros(self.layout.running, self.dtype)
        self._start_over()

    def _start_over(self) -> None:
        """Initial weights, and nothing remembered of any fit."""
        self.fitted = Fitted()
        random = np.random.Generator(np.random.Philox(self.seed))
        for number, layer in enumerate(self.layers, start=1):
            self._draw(random, number, layer)
        norms.start_over(self)

    def _draw(self, random: np.random.Generator, number: int, layer: Dense) -> None:
        """Initial weights of one layer; they are drawn in float64, so that one layer's at a time is enough."""
        weight = self.init.draw(random, self.layout.sizes[number - 1], layer.units, layer.function)
        layout.set_layer(self.layout, number, self.params, weight, np.zeros(layer.units))

    @property
    def classes_(self) -> np.ndarray | None:
        """The labels of the classes as given to fit, in the order of the outputs; None without classes.

        (n_out,), or (2,) for one sigmoid output.
        """
        return self.fitted.classes

    @property
    def normalization(self) -> Normalization | None:
        """What is applied to the data before the first layer."""
        return self.fitted.normalization

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of the input and of every layer."""
        return self.layout.sizes

    @property
    def n_out(self) -> int:
        """Neurons of the last layer."""
        return self.layers[-1].units

    @property
    def has_noise(self) -> bool:
        """Whether training has any noise."""
        return any(layer.any_noise is not None for layer in self.layers)

    # Weights

    @property
    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """[(W (n_in, n_out), b (n_out,)), ...], a pair a layer, copies."""
        return [layout.get_layer(self.layout, number, self.params) for number in range(1, len(self.layers) + 1)]

    def set_weights(self, weights: Iterable[tuple[Any, Any]]) -> None:
        """Replace all weights. weights: as `weights` gives them. Raises InputError for other shapes, NaN, infinity."""
        given = _as_list("weights", weights)
        if len(given) != len(self.layers):
            raise InputError(f"weights must be {len(self.layers)} pairs (W, b), one for each layer, got {len(given)}")
        checked = []
        for number, pair in enumerate(given):
            pair = _as_list(f"weights[{number}]", pair)
            if len(pair) != 2:
                raise InputError(f"weights[{number}] must be a pair (W, b), got {len(pair)} things")
            shapes = ((self.layout.sizes[number], self.layers[number].units), (self.layers[number].units,))
            checked.append(
                [inputs.parameter(f"weights[{number}][{i}]", pair[i], shapes[i], self.dtype) for i in (0, 1)]
            )
        for number, (weight, bias) in enumerate(checked, start=1):
            layout.set_layer(self.layout, number, self.params, weight, bias)
        self.fitted.raw = None

    @property
    def norms(self) -> list[NormState | None]:
        """A state (gamma, beta; for batch norm mean, variance) a layer, copies; None for layers without norm."""
        return norms.get(self)

    def set_norms(self, states: Iterable[NormState | None]) -> None:
        """Replace them all. states: as `norms` gives them. Raises InputError as set_weights does."""
        norms.put(self, states)
        self.fitted.raw = None

    # Training

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        loss: Any = None,
        optimizer: Any = "adam",
        epochs: int = 20,
        batch_size: int | str = 128,
        validation: float | tuple[Any, Any] | None = None,
        shuffle: bool = True,
        penalty: Penalty | None = None,
        clip: Clip | None = None,
        schedule: Any = None,
        normalize: str | None = None,
        augment: Augmentation | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        accumulate: int = 1,
        average: EMA | None = None,
        callbacks: Any = (),
        threads: int | None = None,
        device: str | Cuda = "cpu",
        progress: bool = True,
        reset: bool = False,
    ) -> History:
        """Train. A second fit goes on where the first one stopped, unless reset=True.

        X: (samples, n_in), any real dtype. y: labels (samples,), integers or strings, or numbers (samples,) or
        (samples, n_out). loss: a name or object of fastnn.losses, by default the last fit's, at first the one that goes
        with the output. optimizer: a name or object of fastnn.optimizers. epochs: passes over the training samples.
        batch_size: samples a step; "full" = all, 1 = stochastic. shuffle: whether every epoch has another order.
        validation: the share of the samples held out (random, stratified for classes), or (Xv, yv). penalty: L1,
        L2 or L1L2. clip: ClipValue or ClipNorm. schedule: a name or object of fastnn.schedules for the learning rate,
        by default constant. normalize: "standard", "minmax" or "robust": statistics of the training samples, stored and
        applied from then on. augment: an object of fastnn.augment: random changes of the training samples in every
        step.
        sample_weight: (samples,), factors on the samples' losses: a batch's loss is 1/m sum w_i l_i over its m samples.
        class_weight: {label: factor} or "balanced", samples / (classes * samples of the class). Held out samples keep
        their weights.
        accumulate: batches whose gradients make one update, averaged over all their samples. average: EMA, the average
        of the weights that the network holds from then on, while the next fit goes on from the weights themselves.
        callbacks: one Callback or several, asked after every epoch. threads: None chooses by the work, and for small
        networks by what has been faster. device: "cpu", "cuda", or "auto": a GPU where there is one and steps are worth
        it; the weights are the same to rounding, and each can go on where the other stopped; or a Cuda, which says what
        multiplies there. progress: whether to show any.

        Returns the History of these epochs. Raises InputError before anything is computed, DivergenceError where the
        loss becomes NaN or infinite, FunctionError where a function of your own raises an exception; the network then
        has the last good weights, which meanwhile lie in a temporary file where they are more than 256 KiB:
        docs/memory.md. DeviceError: the device cannot be used, or was lost. Ctrl-C stops after a whole step.
        """
        show = progress_module.create(checks.flag("progress", progress))
        checks.flag("reset", reset)
        asked = Request(
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            penalty=penalty,
            clip=clip,
            normalize=normalize,
            shuffle=shuffle,
            schedule=schedule,
            validation=validation,
            augment=augment,
            sample_weight=sample_weight,
            class_weight=class_weight,
            accumulate=accumulate,
            average=average,
            callbacks=callbacks,
        )
        with ExitStack() as stack:
            stack.enter_context(alone(self))
            fitted = Fitted() if reset else self.fitted
            job = Reader(self, fitted).job(X, y, asked)
            engine = devices.choose(device, self._work(job.settings.batch), threads, show.message)
            engine.check(self, job)
            # All input is good: from here on the network changes.
            if reset:
                self._start_over()
            self.fitted = fitted
            with fitted.beginning(job, self.params):
                trainer = stack.enter_context(engine.trainer(self, job, show.message))
            history = Run(self, job, trainer, show).train()
        self.fitted.last_run = LastRun(job.settings.batch, trainer.label, history.samples_per_second)
        return history

    def find_learning_rate(
        self,
        X: Any,
        y: Any,
        *,
        lowest: float = 1e-6,
        highest: float = 1.0,
        steps: int = 100,
        loss: Any = None,
        optimizer: Any = "adam",
        batch_size: int | str = 128,
        penalty: Penalty | None = None,
        clip: Clip | None = None,
        normalize: str | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        threads: int | None = None,
        device: str | Cuda = "cpu",
    ) -> RangeTest:
        """The range test: how the loss moves as a copy of this network trains at a rate that rises from step to step.

        The rate rises exponentially from lowest to highest; the test ends early where the mean loss of the last steps,
        of 64 samples at least, is above 4 times its lowest value, or a loss is not finite. All else as in fit. The
        network stays as it is. Returns a RangeTest, which fastnn.plots.learning_rate_search draws. Raises InputError
        where even the first rates are too high. Source: Smith 2017.
        """
        rates = range_test.rates(lowest, highest, steps)
        weighting = {"sample_weight": sample_weight, "class_weight": class_weight}
        asked = Request(loss, optimizer, 1, batch_size, penalty, clip, normalize, shuffle=False, **weighting)
        job = Reader(self, self.fitted).job(X, y, asked)
        engine = devices.choose(device, self._work(job.settings.batch), threads)
        return range_test.run(self, job, rates, engine)

    def _work(self, batch: int) -> float:
        """Floating point operations of a step."""
        return division.flops_per_sample(self) * batch

    # Use

    def predict(self, X: Any, *, device: str | Cuda = "cpu") -> np.ndarray:
        """(samples, n_out), outputs of the last activation. Raises InputError as fit does; warns of NaN, infinity."""
        part = Part.of(inputs.matrix("X", X, self.n_in, self.dtype))
        out = self._idle(device, part).predict(self, part, Reader(self, self.fitted).loss(None))
        inputs.warn_unless_finite("the outputs", out, self.dtype)
        return out

    def activations(self, X: Any, *, device: str | Cuda = "cpu") -> list[np.ndarray]:
        """[(samples, n), ...]: the outputs of every layer, the last of them what predict gives. On one thread."""
        part = Part.of(inputs.matrix("X", X, self.n_in, self.dtype))
        engine = self._idle(device, part)
        return [engine.observe(self, part, number, activated=True) for number in range(1, len(self.layers) + 1)]

    def predict_class(self, X: Any, *, device: str | Cuda = "cpu") -> np.ndarray:
        """(samples,), class labels as given to fit. Raises InputError for a network that tells no classes apart."""
        if self.classes_ is None:
            raise InputError("predict_class needs a network that was fitted on class labels")
        outputs = self.predict(X, device=device)
        index = outputs.argmax(axis=1) if self.n_out > 1 else (outputs[:, 0] > 0.5).astype(np.int64)
        return self.classes_[index]

    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        loss: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        device: str | Cuda = "cpu",
    ) -> dict[str, float]:
        """{"loss": ..., "accuracy": ...}: the mean loss without penalty; accuracy where y holds classes.

        Weights, as in fit, are for the loss: accuracy counts every sample once. Warns of a loss that is not finite.
        """
        reader = Reader(self, self.fitted)
        loss_object = reader.loss(loss)
        part = reader.part(X, y, loss_object, sample_weight=sample_weight, class_weight=class_weight)
        value, accuracy = self._idle(device, part).evaluate(self, part, loss_object)
        inputs.warn_unless_finite("the loss", value, self.dtype)
        return {"loss": value} if accuracy is None else {"loss": value, "accuracy": accuracy}

    def loss(
        self,
        X: Any,
        y: Any,
        *,
        loss: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        device: str | Cuda = "cpu",
    ) -> float:
        """The mean loss, without penalty; weights as in fit."""
        options = {"sample_weight": sample_weight, "class_weight": class_weight, "device": device}
        return self.evaluate(X, y, loss=loss, **options)["loss"]

    def gradient(
        self,
        X: Any,
        y: Any,
        *,
        loss: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        device: str | Cuda = "cpu",
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """[(dW (n_in, n_out), db (n_out,)), ...]: of the mean loss, without penalty; weights as in fit.

        As a training step on the batch X would take it: batch norm has the statistics of X, which need two samples.
        There is no noise. Warns where numbers left the range of the dtype, so that some are infinite or NaN.
        """
        reader = Reader(self, self.fitted)
        loss_object = reader.trainable_loss(loss)
        part = reader.part(X, y, loss_object, sample_weight=sample_weight, class_weight=class_weight)
        norms.check_batches(self, len(part), len(part))
        flat = self._idle(device, part).gradient(self, part, loss_object)
        inputs.warn_unless_finite("the gradient", flat, self.dtype)
        return [layout.get_layer(self.layout, number, flat) for number in range(1, len(self.layers) + 1)]

    def _idle(self, device: str | Cuda, part: Part) -> Engine:
        """The device for work outside a fit: a feed through the whole part is about a third of a step."""
        return devices.choose(device, self._work(len(part)) / 3)

    # Files and words

    def save(self, path: str | os.PathLike[str], *, state: bool = False) -> None:
        """Write architecture, weights, classes and normalization as safetensors; the old file or the new one stays.

        state: whether the file also holds the optimizer's state, with Adam twice the size of the weights. With it a fit
        of the network that is read goes on exactly as one of this network would. Raises FileError where `path` cannot
        be written.
        """
        from fastnn.files import checkpoint

        checkpoint.save(self, path, checks.flag("state", state))

    @classmethod
    def load(cls, path: str | os.PathLike[str], custom: Mapping[str, CustomActivation] | None = None) -> MLP:
        """A network as it was saved. custom: its own activations by name, since a file holds no functions.

        The next fit goes on with the epoch behind the last one; its optimizer starts afresh, unless the file holds its
        state.

        Raises FileError for what is no such file, or needs activations that are not given, and InputError for names
        that the file does not have.
        """
        from fastnn.files import checkpoint

        return checkpoint.load(path, custom)

    def summary(self) -> str:
        """A table of the layers with their parameters."""
        return explain.summary(self)

    def explain(self, batch_size: int = 128, optimizer: Any = None, *, device: str | Cuda = "cpu") -> str:
        """How a step on batches of this size would run, why so and how fast; and how fast the last fit was.

        optimizer: a name or an object, by default the last fit's kind, before any fit Adam. device: as in fit. The
        predicted speed comes from a simple model of a step (prediction.py) and a short measurement of this machine,
        once in a process.
        """
        last = optimizers.with_code(self.fitted.optimizer.kind)
        chosen = last if optimizer is None else optimizers.family.get(optimizer)
        return explain.explain(self, checks.whole("batch_size", batch_size), chosen, device)

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.layout.sizes)
        names = ", ".join(layer.function.label for layer in self.layers)
        return f"MLP({sizes}; {names}; {self.dtype})"


def _as_list(what: str, given: Any) -> list:
    try:
        return list(given)
    except TypeError:
        raise InputError(f"{what} must be pairs (W, b), or one of them, got {given!r}") from None
