"""The GPU as an engine: data, parameters and optimizer's state lie on the device while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import last_good, losses, norms
from fastnn.cuda_session import (
    DeviceSession,
    Learning,
    check_room,
    moved,
    moved_running,
    open_session,
    parameters,
    takes_single_samples,
)
from fastnn.devices import Cuda
from fastnn.division import flops_per_sample
from fastnn.errors import DeviceError, DeviceLostError, DeviceMemoryError, FunctionError, InputError, MissingExtraError
from fastnn.job import Job, Part
from fastnn.losses import Loss
from fastnn.optimizers import SGD, Optimizer
from fastnn_kernels import activation, layout, loss, team, work
from fastnn_kernels import optimizer as kernels
from fastnn_kernels.cuda import budget, cublas, epoch, memory, norm
from fastnn_kernels.cuda.cublas import Cublas
from fastnn_kernels.cuda.data import Resident
from fastnn_kernels.cuda.memory import Reason
from fastnn_kernels.team import Team

if TYPE_CHECKING:
    from fastnn.network import MLP

EVALUATION_ROWS = 4096  # that go through the network at once to evaluate or predict
PRODUCTS = {"loops": "fastnn's own loops", "cublas": "NVIDIA's cuBLAS"}
ADVICE = {
    Reason.NO_DRIVER: 'Install the driver of your NVIDIA GPU, or take device="cpu"',
    Reason.NO_DEVICE: 'Look whether nvidia-smi and CUDA_VISIBLE_DEVICES show one, or take device="cpu"',
    Reason.OLD_DRIVER: 'Install a newer driver, a numba-cuda for the CUDA that it knows, or take device="cpu"',
    Reason.OLD_DEVICE: 'It needs compute capability 7.5 (Turing, 2018) or higher; take device="cpu"',
}


def find() -> memory.Device:
    """The device. Raises DeviceError, and MissingExtraError without numba-cuda."""
    try:
        return memory.find()
    except memory.UnavailableError as error:
        if error.reason is Reason.NO_PACKAGE:
            raise MissingExtraError("numba-cuda", "cuda", 'device="cuda"') from error
        detail = f" ({' '.join(error.detail.split())})" if error.detail else ""
        advice = ADVICE[error.reason]
        raise DeviceError(f'device="cuda" cannot be used: {error.reason.value}{detail}. {advice}') from error


def library(asked: Cuda) -> Cublas | None:
    """What multiplies, None for fastnn's own loops. Raises MissingExtraError, and DeviceError without a cuBLAS."""
    if asked.products != "cublas":
        return None
    try:
        return Cublas(cublas.find(), asked.tf32)
    except ImportError as error:
        raise MissingExtraError("nvmath-python", "cublas", f"device={asked}") from error
    except RuntimeError as error:
        found = str(error).split("\n")[0]
        raise DeviceError(
            f"device={asked} cannot be used: nvmath-python finds no cuBLAS ({found}). "
            "pip install 'fastnn-numba[cublas]' brings one"
        ) from error


@contextmanager
def reported() -> Iterator[None]:
    """Errors of the device in the user's words."""
    try:
        with memory.translated():
            yield
    except budget.TooLargeError as error:
        raise DeviceMemoryError(_too_large(error)) from error
    except memory.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the device ran out of memory, {_gib(memory.free_bytes())} being free: does something else use it? A "
            'smaller batch_size needs less, device="cpu" nothing'
        ) from error
    except memory.LostError as error:
        raise DeviceLostError(
            f"the device was lost while it worked ({error}). The network has what it had when it last came from there: "
            "at the end of the epoch before where there are callbacks, else before the fit. nvidia-smi and the "
            "system's log say more; a new process may find it again"
        ) from error


def _too_large(error: budget.TooLargeError) -> str:
    needs, rows = error.needs, error.rows
    parts = [
        (needs.fixed, "for parameters, gradient and the optimizer's state"),
        (needs.workspace(rows), f"of workspace for a batch of {rows:,}"),
        (2 * rows * needs.sample + needs.order, "for two batches of the data at a time and its order"),
    ]
    parts += [(needs.library, "for cuBLAS")] if needs.library else []
    listed = ", ".join(f"{_gib(size)} {what}" for size, what in parts)
    hint = f"A batch of {error.fitting:,} would fit" if error.fitting else "Not even one sample at a time would fit"
    return (
        f"the device has too little memory: it needs {listed}; {_gib(error.free)} are free. {hint}. "
        'dtype="float32" takes half of float64\'s; device="cpu" takes none'
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"


def describe() -> str:
    """The device in a line."""
    device = find()
    capability, driver = (".".join(map(str, numbers)) for numbers in (device.capability, device.driver))
    return (
        f"{device.name}, compute capability {capability}, {device.processors} multiprocessors, "
        f"{_gib(memory.free_bytes())} of {_gib(device.memory)} free, driver for CUDA {driver}"
    )


def explain(net: MLP, batch: int, optimizer_: Optimizer, asked: Cuda) -> dict[str, str]:
    """A training step on batches of this size."""
    CudaEngine(asked).check_numbers(net)
    size = net.dtype.itemsize * parameters(net).count
    rows = batch if norms.has_batch_norm(net) else min(batch, budget.MOST_ROWS)
    path = "the launches of a step, recorded once and replayed as a graph"
    if batch > rows:
        path = f"passes of {rows:,} rows, whose gradients add up to one update; each is a graph of launches"
    products = PRODUCTS[asked.products] + (", factors rounded to TF32" if asked.tf32 else "")
    if batch == 1 and isinstance(optimizer_, SGD) and takes_single_samples(net):
        products = PRODUCTS["loops"]
        path = "stochastic: one block does many steps in one launch"
    return {
        "device": describe(),
        "step": f"{batch:,} samples, {flops_per_sample(net) * batch / 1e6:,.1f} MFLOP, {type(optimizer_).__name__}",
        "path": path,
        "products": products,
        "memory": f"parameters and state {size * (1 + kernels.states(optimizer_.code)) / 2**20:,.1f} MiB",
    }


class CudaEngine:
    """The device that `find` finds, and what was asked to multiply there."""

    def __init__(self, asked: Cuda) -> None:
        self._asked, self.device = asked, find()
        self._library = library(asked)

    def check(self, net: MLP, job: Job) -> None:
        self._check_known(net, job.settings.loss)
        with reported():
            check_room(net, job, _reserve(net, job), self._library)

    def _check_known(self, net: MLP, loss_: Loss) -> None:
        """Raises InputError for what the device does not know."""
        self.check_numbers(net)
        own = [layer.function.label for layer in net.layers if layer.function.code == activation.CUSTOM]
        own += [type(loss_).__name__] if loss_.code == loss.CUSTOM else []
        if own:
            raise InputError(
                f'functions of your own ({", ".join(own)}) are compiled for the processor only: take device="cpu", or '
                "one of fastnn's own functions"
            )

    def check_numbers(self, net: MLP) -> None:
        """Raises InputError where float64 is asked for in TF32."""
        if self._asked.tf32 and net.dtype == np.float64:
            raise InputError('tf32=True is for float32, and this network has dtype="float64": leave tf32 out')

    def trainer(self, net: MLP, job: Job, report: Callable[[str], None]) -> Training:
        return Training(net, job, self.device, self._library)

    def evaluate(self, net: MLP, part: Part, loss: Loss) -> tuple[float, float | None]:
        self._check_known(net, loss)
        with reported():
            opened, part = _open_to_look(net, part, loss, self._library)
            return _measured(opened, part, net)

    def predict(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        return self._look(net, part, loss, len(net.layers), True)

    def observe(self, net: MLP, part: Part, layer: int, activated: bool) -> np.ndarray:
        return self._look(net, part, losses.natural(net.layers[-1].function), layer, activated)

    def _look(self, net: MLP, part: Part, loss: Loss, layer: int, activated: bool) -> np.ndarray:
        self._check_known(net, loss)
        out = np.empty((len(part), net.sizes[layer]), net.dtype)
        with reported():
            opened, part = _open_to_look(net, part, loss, self._library)
            if not activated:
                opened.bare(layer)
            is_output = activated and layer == len(net.layers)
            epoch.observe(opened.passes, opened.source, part.index, layer, is_output, out)
        return out

    def gradient(self, net: MLP, part: Part, loss: Loss) -> np.ndarray:
        self._check_known(net, loss)
        part = _compact(part)
        with reported():
            opened = open_session(net, part, loss, len(part), takes_gradient=True, library=self._library)
            _send(opened, net, net.params)
            flat = epoch.gradient(opened.passes, opened.source, part.index)
        out = layout.zeros(net.layout.count, net.dtype)
        layout.convert(opened.parameters, net.layout, flat, out)
        return out


def _compact(part: Part) -> Part:
    """The part with the rows of X that it has, where they are few."""
    if 2 * len(part) > len(part.X):
        return part
    targets, rows = part.targets, part.index
    targets = replace(
        targets,
        labels=None if targets.labels is None else targets.labels[rows],
        dense=None if targets.dense is None else targets.dense[rows],
    )
    weights = None if part.weights is None else part.weights[rows]
    return Part(part.X[rows], targets, np.arange(len(rows)), weights)


def _open_to_look(net: MLP, part: Part, loss: Loss, library: Cublas | None) -> tuple[DeviceSession, Part]:
    """A session without noise and without gradients, batch normalization folded into the weights."""
    part = _compact(part)
    opened = open_session(net, part, loss, min(len(part), EVALUATION_ROWS), library=library)
    _send(opened, net, net.params)
    _fold(opened, net)
    return opened, part


def _send(opened: DeviceSession, net: MLP, params: np.ndarray) -> None:
    """Parameters and running averages to the device."""
    opened.write("params", moved(net.layout, opened.parameters, params))
    if net.layout.running:
        opened.write("running", moved_running(net.layout, opened.parameters, net.running))


def _fold(opened: DeviceSession, net: MLP) -> None:
    for number, layer in enumerate(net.layers, start=1):
        if norms.code(layer.norm) == layout.BATCH_NORM:
            norm.into_weights(opened.main, number)


def _measured(opened: DeviceSession, part: Part, net: MLP) -> tuple[float, float | None]:
    total, hits = epoch.evaluate(opened.passes, opened.source, part.index)
    return total / len(part), part.targets.share_of_hits(hits, len(part), net.n_out)


def _reserve(net: MLP, job: Job) -> int:
    """About the bytes that validation needs beside a fit, its data piece by piece."""
    if job.validation is None:
        return 0
    rows = min(len(job.validation), EVALUATION_ROWS)
    values = rows * (sum(net.sizes) + 2 * net.n_in) + net.layout.count
    return 2 * values * net.dtype.itemsize


class Training:
    """See engine.Trainer."""

    def __init__(self, net: MLP, job: Job, device: memory.Device, library: Cublas | None) -> None:
        settings, state = job.settings, net.fitted.optimizer
        learning, reserve = Learning.of(job, state), _reserve(net, job)
        self._net, self._state = net, state
        self.label, self.words = device.name, team.new_words()
        self._stack, self._is_over = ExitStack(), False
        if library is not None:
            self._stack.callback(library.close)
        with reported():
            self._opened = open_session(
                net, job.training, settings.loss, settings.batch, learning=learning, reserve=reserve, library=library
            )
            self.send()
            if len(state.values):
                self._opened.write("state", moved(net.layout, self._opened.parameters, state.values))
            opened = self._opened
            keep_after = last_good.interval(net.params, settings.batch)
            self._fit = epoch.Fit(
                opened.passes, opened.smalls, opened.source, job.training.index, state.steps, keep_after
            )
            self._validation = None
            if job.validation is not None:
                self._validation = _Validation(net, job.validation, job, opened)

    def __enter__(self) -> Training:
        self._team = self._stack.enter_context(Team(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def span(self, most: int) -> int:
        return most

    def train(self, epochs: int, results: np.ndarray, poll: Callable[[], None]) -> None:
        state = self._state
        with self._watched():
            self._team.run(
                self._fit.train, self.words, self.words, epochs, state.epochs, state.steps, results, poll=poll
            )

    def validate(self) -> tuple[float, float | None]:
        assert self._validation is not None
        with self._watched():
            return self._validation.measure()

    def set_rate(self, rate: float) -> None:
        self._opened.main.constants[kernels.LR] = rate
        with self._watched():
            self._opened.write("constants", self._opened.main.constants)

    def choose(self, samples: np.ndarray) -> None:
        self._fit.samples = samples
        with self._watched():
            self._opened.set_number(work.SAMPLES, len(samples))

    def fetch(self) -> None:
        if self._is_over:
            return
        with self._watched():
            self._bring(self._opened.main.work.params, self._opened.main.work.running)
            state, opened = self._state, self._opened
            if len(state.values):
                values = memory.fetch(opened.main.work.state, opened.main.stream)
                state.values[:] = moved(opened.parameters, self._net.layout, values)

    def send(self) -> None:
        with self._watched():
            _send(self._opened, self._net, self._net.params)

    def restore(self) -> None:
        half, on_device = self._fit.last_good(self._state.steps), self._opened.main.work
        with self._watched():
            self._bring(_half(on_device.kept, half), _half(on_device.kept_running, half))
        self._is_over = True

    def failure(self, where: str) -> FunctionError | None:
        """The device knows no functions of users."""
        return None

    def _bring(self, params: Any, running: Any) -> None:
        """Parameters and running averages from the device into the network."""
        net, opened, stream = self._net, self._opened, self._opened.main.stream
        net.params[:] = moved(opened.parameters, net.layout, memory.fetch(params, stream))
        if net.layout.running:
            net.running[:] = moved_running(opened.parameters, net.layout, memory.fetch(running, stream))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Errors in the user's words; from a device that is lost nothing is fetched any more."""
        try:
            with reported():
                yield
        except DeviceLostError:
            self._is_over = True
            raise


def _half(array: Any, which: int) -> Any:
    """The first or the second half of an array on the device."""
    size = array.size // 2
    return array[which * size : (which + 1) * size]


class _Validation:
    """Loss and accuracy on held out samples, by the parameters as they lie on the device."""

    def __init__(self, net: MLP, part: Part, job: Job, trained: DeviceSession) -> None:
        self._net, self._part, self._trained = net, part, trained
        is_there = part.X is job.training.X and part.targets is job.training.targets
        source = trained.source if is_there and isinstance(trained.source, Resident) else None
        rows, main = min(len(part), EVALUATION_ROWS), trained.main
        self._opened = open_session(
            net, part, job.settings.loss, rows, source=source, stream=main.stream, library=main.library
        )

    def measure(self) -> tuple[float, float | None]:
        """With the average of the weights where there is one."""
        trained, own = self._trained.main, self._opened.main
        params, count = trained.work.params, self._trained.parameters.count
        if self._net.fitted.optimizer.has_average:
            params = trained.work.state[trained.work.state.size - count :]
        memory.put(params, own.work.params, own.stream)
        if self._net.layout.running:
            memory.put(trained.work.running, own.work.running, own.stream)
        _fold(self._opened, self._net)
        return _measured(self._opened, self._part, self._net)
