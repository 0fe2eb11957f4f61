"""MLP: a multilayer perceptron to build, fit, evaluate, save and load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastnn import activations, checks, explain, initializers, inputs, losses, optimizers, schedules, session, targets
from fastnn import callbacks as callbacks_module
from fastnn import progress as progress_module
from fastnn.activations import Softmax, Threshold
from fastnn.data import normalize as normalization_module
from fastnn.data.normalize import Normalization
from fastnn.data.split import split
from fastnn.errors import InputError
from fastnn.layers import Dense
from fastnn.losses import Loss
from fastnn.optimizers import Optimizer
from fastnn.penalties import Penalty, rates
from fastnn.training import History, OptimizerState, Part, Run, Settings, default_loss
from fastnn_kernels import layout
from fastnn_kernels.optimizer import states

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class MLP:
    """A multilayer perceptron.

    sizes: [n_in, hidden..., n_out], or n_in with `layers` given. layers: Dense objects, each with its activation.
    activation, output: of the hidden layers and of the last one; names or objects. Without `output` the last layer
    is linear. init: a name or an object of fastnn.initializers. dtype: "float32" or "float64". seed: of weights,
    shuffles and splits.

    Raises InputError for sizes below 1, unknown names, softmax before the last layer, or softmax over one output.
    """

    def __init__(
        self,
        sizes: int | Sequence[int],
        layers: Sequence[Dense] | None = None,
        *,
        activation: Any = "relu",
        output: Any = "linear",
        init: Any = "auto",
        dtype: Any = "float32",
        seed: int = 0,
    ) -> None:
        self.n_in, self.layers = _read_layers(sizes, layers, activation, output)
        self.dtype = _read_dtype(dtype)
        self.seed = checks.whole("seed", seed, least=0)
        self.init = initializers.family.get(init)
        _check_architecture(self.layers)
        codes = [layer.function.code for layer in self.layers]
        self.layout = layout.parameters([self.n_in, *(layer.units for layer in self.layers)], codes, self.dtype)
        self.params = layout.zeros(self.layout.count, self.dtype)
        self._start_over()

    def _start_over(self) -> None:
        """Initial weights, and nothing remembered of any fit."""
        random = np.random.Generator(np.random.Philox(self.seed))
        sizes = self.layout.sizes
        for number, layer in enumerate(self.layers, start=1):
            weight = self.init.draw(random, sizes[number - 1], sizes[number], layer.function)
            layout.set_layer(self.layout, number, self.params, weight, np.zeros(layer.units))
        self.classes_: np.ndarray | None = None
        self.normalization: Normalization | None = None
        self.loss_used: Loss | None = None
        self.optimizer_state = OptimizerState(optimizers.Adam, layout.zeros(0, self.dtype))
        self.last_run: explain.LastRun | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of the input and of every layer."""
        return self.layout.sizes

    @property
    def n_out(self) -> int:
        """Neurons of the last layer."""
        return self.layers[-1].units

    # Weights

    @property
    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """[(W (n_in, n_out), b (n_out,)), ...], a pair a layer, copies."""
        return [layout.get_layer(self.layout, number, self.params) for number in range(1, len(self.layers) + 1)]

    def set_weights(self, weights: Iterable[tuple[Any, Any]]) -> None:
        """Replace all weights. weights: as `weights` gives them. Raises InputError for other shapes, NaN, infinity."""
        given = list(weights)
        if len(given) != len(self.layers):
            raise InputError(f"weights must be {len(self.layers)} pairs (W, b), one for each layer, got {len(given)}")
        checked = []
        for number, pair in enumerate(given):
            if len(pair) != 2:
                raise InputError(f"weights[{number}] must be a pair (W, b), got {len(pair)} things")
            shapes = ((self.layout.sizes[number], self.layers[number].units), (self.layers[number].units,))
            checked.append([_parameter(f"weights[{number}][{i}]", pair[i], shapes[i], self.dtype) for i in (0, 1)])
        for number, (weight, bias) in enumerate(checked, start=1):
            layout.set_layer(self.layout, number, self.params, weight, bias)

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
        schedule: Any = None,
        normalize: str | None = None,
        callbacks: Any = (),
        threads: int | None = None,
        device: str = "cpu",
        progress: bool = True,
        reset: bool = False,
    ) -> History:
        """Train. A second fit goes on where the first one stopped, unless reset=True.

        X: (samples, n_in), any real dtype. y: labels (samples,), integers or strings, or numbers (samples,) or
        (samples, n_out). loss: a name or object of fastnn.losses, by default the one that goes with the output.
        optimizer: a name or object of fastnn.optimizers. batch_size: samples a step; "full" = all, 1 = stochastic.
        validation: the share of the samples held out (random, stratified for classes), or (Xv, yv). penalty: L1 or
        L2. schedule: a name or object of fastnn.schedules for the learning rate, by default constant. normalize:
        "standard", "minmax" or "robust": statistics of the training samples, stored and applied from then on.
        threads: None chooses by the work. progress: whether to show any.

        Returns the History of these epochs. Raises InputError before anything is computed, and DivergenceError where
        the loss becomes NaN or infinite; the network then has the last good weights. Ctrl-C stops after a whole step.
        """
        _check_device(device)
        if checks.flag("reset", reset):
            self._start_over()
        loss_object = losses.family.get(loss) if loss is not None else default_loss(self)
        self._check_trainable(loss_object)
        optimizer_object = optimizers.family.get(optimizer)
        whole = self._read_part(X, y, loss_object)
        training, held = self._divide(whole, validation, loss_object)
        settings = Settings(
            loss_object,
            optimizer_object,
            checks.whole("epochs", epochs),
            _read_batch(batch_size, len(training.index)),
            checks.flag("shuffle", shuffle),
            penalty,
            schedules.family.get("constant" if schedule is None else schedule),
            callbacks_module.check(callbacks),
            self._read_threads(threads, batch_size, len(training.index)),
        )
        rates(penalty, len(training.index))
        show = progress_module.create(checks.flag("progress", progress))
        normalization = self._read_normalization(normalize, training)
        self._remember(whole, loss_object, normalization, optimizer_object)
        run = Run(self, training, held, settings, show)
        history = run.train()
        self.last_run = explain.LastRun(settings.batch, settings.threads, history.samples_per_second)
        return history

    def _check_trainable(self, loss: Loss) -> None:
        loss.check_output(self.layers[-1].function)
        for number, layer in enumerate(self.layers, start=1):
            if isinstance(layer.function, Threshold) and layer.function.surrogate is None:
                raise InputError(
                    f"layer {number} has the activation threshold, whose derivative is 0: nothing before it would "
                    'learn. Choose fastnn.Threshold(surrogate="straight_through") to train through it'
                )

    def _read_part(self, X: Any, y: Any, loss: Loss) -> Part:
        array = inputs.matrix("X", X, self.n_in, self.dtype)
        return Part(array, self._read_targets(y, len(array), loss), np.arange(len(array)))

    def _read_targets(self, y: Any, samples: int, loss: Loss, known: np.ndarray | None = None) -> targets.Targets:
        known = self.classes_ if known is None else known
        return targets.read(y, samples, self.n_out, self.layers[-1].function, loss, self.dtype, known)

    def _divide(self, whole: Part, validation: Any, loss: Loss) -> tuple[Part, Part | None]:
        """Training and validation samples; those held out of X stay where they are, an index names them."""
        if validation is None:
            return whole, None
        if isinstance(validation, tuple):
            if len(validation) != 2:
                raise InputError(f"validation must be a share or a pair (X, y), got {len(validation)} things")
            X = inputs.matrix("validation X", validation[0], self.n_in, self.dtype)
            y = self._read_targets(validation[1], len(X), loss, whole.targets.classes)
            return whole, Part(X, y, np.arange(len(X)))
        by_class = whole.targets.stratification()
        kept, held = split(len(whole.index) if by_class is None else by_class, validation, self.seed)
        return Part(whole.X, whole.targets, kept), Part(whole.X, whole.targets, held)

    def _read_threads(self, threads: int | None, batch_size: Any, samples: int) -> int:
        batch = _read_batch(batch_size, samples)
        asked = None if threads is None else checks.whole("threads", threads)
        return session.choose_threads(self, batch, asked)

    def _read_normalization(self, normalize: str | None, training: Part) -> Normalization | None:
        if normalize is None or normalize == "none":
            return self.normalization
        if self.normalization is not None:
            if self.normalization.method == normalize:
                return self.normalization
            raise InputError(
                f'the network was fitted with normalize="{self.normalization.method}", got "{normalize}"; '
                "reset=True starts over"
            )
        if self.optimizer_state.epochs:
            raise InputError("the network was fitted without normalization; reset=True starts over with it")
        return normalization_module.fit(normalize, training.X, training.index)

    def _remember(self, whole: Part, loss: Loss, normalization: Normalization | None, chosen: Optimizer) -> None:
        """All input is good: take over what a fit leaves behind."""
        if whole.targets.classes is not None:
            self.classes_ = whole.targets.classes
        self.loss_used, self.normalization = loss, normalization
        count = states(chosen.code) * self.layout.count
        if self.optimizer_state.kind is not type(chosen) or len(self.optimizer_state.values) != count:
            epochs = self.optimizer_state.epochs
            self.optimizer_state = OptimizerState(type(chosen), layout.zeros(count, self.dtype), epochs=epochs)

    # Use

    def predict(self, X: Any) -> np.ndarray:
        """(samples, n_out), outputs of the last activation. Raises InputError as fit does."""
        array = inputs.matrix("X", X, self.n_in, self.dtype)
        return session.predict(self, array, default_loss(self), self._idle_threads(len(array)))

    def predict_class(self, X: Any) -> np.ndarray:
        """(samples,), class labels as given to fit. Raises InputError for a network that tells no classes apart."""
        if self.classes_ is None:
            raise InputError("predict_class needs a network that was fitted on class labels")
        outputs = self.predict(X)
        index = outputs.argmax(axis=1) if self.n_out > 1 else (outputs[:, 0] > 0.5).astype(np.int64)
        return self.classes_[index]

    def evaluate(self, X: Any, y: Any, *, loss: Any = None) -> dict[str, float]:
        """{"loss": ..., "accuracy": ...}: the mean loss without penalty; accuracy where y holds classes."""
        part, loss_object = self._read_for(X, y, loss)
        threads = self._idle_threads(len(part.index))
        check = session.Evaluation(self, part.X, part.targets, loss_object, part.index, threads)
        value, accuracy = check.measure()
        return {"loss": value} if accuracy is None else {"loss": value, "accuracy": accuracy}

    def loss(self, X: Any, y: Any, *, loss: Any = None) -> float:
        """The mean loss, without penalty."""
        return self.evaluate(X, y, loss=loss)["loss"]

    def gradient(self, X: Any, y: Any, *, loss: Any = None) -> list[tuple[np.ndarray, np.ndarray]]:
        """[(dW (n_in, n_out), db (n_out,)), ...]: of the mean loss, without penalty."""
        part, loss_object = self._read_for(X, y, loss)
        self._check_trainable(loss_object)
        threads = self._idle_threads(len(part.index))
        flat = session.gradient(self, part.X, part.targets, loss_object, threads)
        return [layout.get_layer(self.layout, number, flat) for number in range(1, len(self.layers) + 1)]

    def _read_for(self, X: Any, y: Any, loss: Any) -> tuple[Part, Loss]:
        loss_object = losses.family.get(loss) if loss is not None else default_loss(self)
        loss_object.check_output(self.layers[-1].function)
        return self._read_part(X, y, loss_object), loss_object

    def _idle_threads(self, samples: int) -> int:
        return session.choose_threads(self, min(samples, session.PASS_ROWS), None)

    # Files and words

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture, weights, classes and normalization as safetensors; the old file or the new one stays."""
        from fastnn.files import checkpoint

        checkpoint.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """A network as it was saved. Raises FileError for what is no such file."""
        from fastnn.files import checkpoint

        return checkpoint.load(path)

    def summary(self) -> str:
        """A table of the layers with their parameters."""
        return explain.summary(self)

    def explain(self, batch_size: int = 128) -> str:
        """How a step on batches of this size would run, and why so; and how fast the last fit was."""
        return explain.explain(self, checks.whole("batch_size", batch_size))

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.layout.sizes)
        names = ", ".join(activations.family.name(layer.function) for layer in self.layers)
        return f"MLP({sizes}; {names}; {self.dtype})"


def _read_layers(sizes: Any, layers: Any, activation: Any, output: Any) -> tuple[int, tuple[Dense, ...]]:
    if layers is not None:
        n_in = checks.whole("the number of inputs", sizes)
        found = tuple(layers)
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
    hidden = tuple(Dense(units, activation) for units in given[1:-1])
    return given[0], (*hidden, Dense(given[-1], output))


def _read_dtype(dtype: Any) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in DTYPES:
        raise InputError(f'dtype must be "float32" or "float64", got {dtype!r}')
    return found


def _check_architecture(layers: tuple[Dense, ...]) -> None:
    for number, layer in enumerate(layers[:-1], start=1):
        if isinstance(layer.function, Softmax):
            raise InputError(f"softmax is for the last layer, but layer {number} of {len(layers)} has it")
    if isinstance(layers[-1].function, Softmax) and layers[-1].units == 1:
        raise InputError('softmax over one output is always 1; for two classes choose 2 outputs, or output="sigmoid"')


def _read_batch(batch_size: Any, samples: int) -> int:
    if isinstance(batch_size, str):
        if batch_size != "full":
            raise InputError(f'batch_size must be a whole number or "full", got {batch_size!r}')
        return samples
    return min(checks.whole("batch_size", batch_size), samples)


def _check_device(device: Any) -> None:
    if device != "cpu":
        raise InputError(f'device must be "cpu", got {device!r}; other devices are not supported yet')


def _parameter(what: str, given: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = inputs.numeric(what, given)
    if array.shape != shape:
        raise InputError(f"{what} must have the shape {shape}, got {array.shape}")
    return inputs.converted(what, array, dtype)
