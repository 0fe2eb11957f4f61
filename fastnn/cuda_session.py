"""Between the objects of the API and the device's kernels: lays everything out, and brings it there and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import description, division, norms, subnetwork
from fastnn.augment import Plan
from fastnn.fitted import OptimizerState
from fastnn.job import Job, Part, Settings
from fastnn.losses import Loss
from fastnn.subnetwork import Shrunk
from fastnn_kernels import layout, optimizer, work
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import budget, data, dense, flat, memory, stochastic
from fastnn_kernels.cuda import work as device
from fastnn_kernels.cuda.cublas import Cublas
from fastnn_kernels.cuda.data import Resident, Source, Streamed
from fastnn_kernels.cuda.work import Pass, Work, Workspace, dtype_of
from fastnn_kernels.noise import SAMPLE_CONNECT

if TYPE_CHECKING:
    from fastnn.network import MLP

MOST_OF_A_BLOCK = 1 << 18  # parameters that one multiprocessor moves faster than all can be told to; an estimate
MOST_INDEX = 1 << 32  # elements of an array that kernels index in 32 bits


def parameters(net: MLP) -> layout.Parameters:
    """Where the parameters of a network lie on the device."""
    codes = [layer.function.code for layer in net.layers]
    kinds = [norms.code(layer.norm) for layer in net.layers]
    return layout.parameters(net.sizes, codes, net.dtype, kinds, device.DEVICE)


def takes_single_samples(net: MLP) -> bool:
    """Whether plain steps of one sample suit the kernel that does many of them in one block."""
    return net.layout.count <= MOST_OF_A_BLOCK and division.suits_single_samples(net)


@dataclass(frozen=True)
class Learning:
    """What training needs beside a network and its data. constants: the optimizer's; vectors: of its state."""

    settings: Settings
    constants: np.ndarray
    vectors: int

    @classmethod
    def of(cls, job: Job, state: OptimizerState) -> Learning:
        """A fit that begins with an optimizer in this state."""
        settings = job.settings
        vectors = optimizer.states(settings.optimizer.code) + (settings.average is not None)
        return cls(settings, settings.constants(len(job.training), state.steps, state.own_epochs), vectors)

    @property
    def keeps_gradient(self) -> bool:
        """Whether the whole gradient must be in memory before the update, however many rows go through at once."""
        return self.constants[optimizer.CLIP_NORM] > 0.0


@dataclass(frozen=True)
class DeviceSession:
    """Everything that a call needs on the device. passes, smalls: see fastnn_kernels.cuda.epoch.Fit."""

    passes: list[Pass]
    smalls: list[Pass]
    source: Source
    parameters: layout.Parameters

    @property
    def main(self) -> Pass:
        return self.passes[0]

    def write(self, name: str, array: np.ndarray) -> None:
        """Replace a field of the whole network, of the same size."""
        field = getattr(self.main.work, name)
        memory.put(np.ascontiguousarray(array, field.dtype), field, self.main.stream)

    def bare(self, layer: int) -> None:
        """Leave a layer without its activation."""
        self.main.table[layer, layout.ACTIVATION] = LINEAR
        self.write("table", self.main.table.reshape(-1))

    def set_number(self, index: int, number: int) -> None:
        """Change one of `numbers`, everywhere."""
        for one in (self.passes[0], *self.smalls[:1]):
            one.numbers[index] = number
            memory.put(one.numbers, one.work.numbers, one.stream)


def open_session(
    net: MLP,
    part: Part,
    loss: Loss,
    batch: int,
    *,
    learning: Learning | None = None,
    takes_gradient: bool = False,
    reserve: int = 0,
    source: Source | None = None,
    stream: Any = None,
    library: Cublas | None = None,
) -> DeviceSession:
    """Lay out passes through a part of X, `batch` rows an update or at once; with parameters yet to be written.

    takes_gradient: whether the gradient is all that is asked for; reserve: bytes that must be left over; source: of the
    same data, where the device has it already; library: what multiplies, None for fastnn's own loops. Without learning
    and gradient, layers with batch normalization are to be folded into their weights. Raises budget.TooLargeError.
    """
    plan = _Plan(net, part, loss, learning, takes_gradient, library)
    room = plan.room(batch, source is None, reserve)
    stream = memory.new_stream() if stream is None else stream
    if source is None:
        source = _source(plan.samples, net.dtype, room.piece, stream)
    return plan.build(room.rows, batch, source, stream)


def check_room(net: MLP, job: Job, reserve: int, library: Cublas | None) -> None:
    """Raises budget.TooLargeError where a fit would not fit, `reserve` bytes being left over."""
    plan = _Plan(net, job.training, job.settings.loss, Learning.of(job, net.fitted.optimizer), False, library)
    plan.room(job.settings.batch, True, reserve)


def _source(samples: dict[str, np.ndarray], real: np.dtype, piece: int | None, stream: Any) -> Source:
    if piece is not None:
        return Streamed(samples, min(piece, len(samples["X"])), stream)
    return Resident({name: memory.upload(array, dtype_of(name, real), stream) for name, array in samples.items()})


class _Plan:
    """A session that is not on the device yet."""

    def __init__(
        self,
        net: MLP,
        part: Part,
        loss: Loss,
        learning: Learning | None,
        takes_gradient: bool,
        library: Cublas | None,
    ) -> None:
        self.net, self.part, self.loss, self.learning, self.library = net, part, loss, learning, library
        self.fields = description.fields(net, part, loss)
        self.samples = {name: self.fields[name] for name in data.FIELDS}
        self.trains = learning is not None or takes_gradient
        self.parameters = parameters(net)
        self.codes, self.noise = description.noises(net, learning is not None)
        self.small: Shrunk | None = None
        if learning is not None:
            self.small = subnetwork.shrink(net, self.codes, self.noise)
        self.keeps_gradient = takes_gradient or (learning is not None and learning.keeps_gradient)

    @cached_property
    def small_parameters(self) -> layout.Parameters:
        assert self.small is not None
        codes = [layer.function.code for layer in self.net.layers]
        return layout.parameters(self.small.sizes, codes, self.net.dtype, None, device.DEVICE)

    def room(self, batch: int, moves_data: bool, reserve: int) -> budget.Budget:
        """What fits, for batches of so many rows. moves_data: whether samples are not on the device yet."""
        rows = batch if self.learning is None else self.learning.settings.minibatch
        is_whole = self.trains and norms.has_batch_norm(self.net)
        return budget.plan(self._needs(moves_data, reserve), rows, is_whole, memory.free_bytes())

    def _needs(self, moves_data: bool, reserve: int) -> budget.Needs:
        size, count = self.net.dtype.itemsize, len(self.part.X)
        vectors = 2 + (2 + self.learning.vectors if self.learning is not None else 0)  # with room for a gradient
        fixed = vectors * self.parameters.count
        if self.small is not None and self.learning is not None:
            fixed += (2 + self.learning.vectors) * self.small_parameters.count
        sample = sum(array.nbytes for array in self.samples.values()) // count if moves_data else 0
        library = 0 if self.library is None else self.library.needs
        order = 4 * len(self.part)
        return budget.Needs(fixed * size + reserve, sample, count, order, self._workspace_bytes, library)

    def _workspace_bytes(self, rows: int) -> int:
        elements = self.workspace(self.parameters, self.codes, max(rows, stochastic.ROWS)).count
        if self.small is not None:
            elements += self.workspace(self.small_parameters, self.small.codes, rows).count
        if elements >= MOST_INDEX:
            return 1 << 62  # kernels could not find it
        return elements * self.net.dtype.itemsize

    def workspace(self, parameters: layout.Parameters, codes: list[int], rows: int) -> Workspace:
        sizes = parameters.sizes
        splits = [self._splits(rows, *pair) for pair in pairwise(sizes)]
        disturbed = [code > SAMPLE_CONNECT for code in codes]
        space = device.workspace(parameters, rows, splits, disturbed, self.trains)
        space.table[1:, layout.NOISE] = codes
        if not self.trains:
            space.table[space.table[:, layout.NORM] == layout.BATCH_NORM, layout.NORM] = layout.NO_NORM
        return space

    def _splits(self, rows: int, n_in: int, n_out: int) -> int:
        """A library divides the rows of a gradient as it likes, and adds them up."""
        return dense.splits(rows, n_in, n_out, self.net.dtype) if self.library is None else 1

    def build(self, rows: int, batch: int, source: Source, stream: Any) -> DeviceSession:
        space = self.workspace(self.parameters, self.codes, max(rows, stochastic.ROWS))
        numbers = self._numbers(space, rows, batch, isinstance(source, Streamed))
        constants = np.zeros(optimizer.CONSTANTS) if self.learning is None else self.learning.constants
        keeps_gradient = self.keeps_gradient or batch > rows
        values = self._values(space, keeps_gradient)
        whole = _upload(values | {"numbers": numbers, "constants": constants}, self.net.dtype, stream)
        is_augmented = self.learning is not None and self.learning.settings.augment is not None
        if self.library is not None:
            self.library.open()
        facts = numbers, constants, rows, stream, is_augmented, self.library
        passes = [Pass(whole._replace(**one), space.table, *facts) for one in source.sets]
        smalls = [] if self.small is None else self._smalls(self.small, passes, keeps_gradient)
        return DeviceSession(passes, smalls, source, self.parameters)

    def _numbers(self, space: Workspace, rows: int, batch: int, is_streamed: bool) -> np.ndarray:
        numbers = np.zeros(device.NUMBERS, np.int64)
        numbers[: work.NUMBERS] = description.numbers(self.net, self.part, self.loss)
        numbers[work.ROWS], numbers[work.LOSSES], numbers[work.PASS_ROWS] = rows, space.losses, rows
        numbers[work.PARAMETERS], numbers[work.RUNNING_SIZE] = self.parameters.count, self.parameters.running
        numbers[device.BATCH_SIZE], numbers[device.STREAMED] = batch if self.trains else rows, is_streamed
        if self.learning is not None:
            settings = self.learning.settings
            numbers[work.OPTIMIZER], numbers[work.SHUFFLED] = settings.optimizer.code, settings.shuffle
            numbers[work.STATES] = self.learning.vectors
            numbers[work.STOCHASTIC] = settings.is_stochastic and takes_single_samples(self.net)
        if self.small is not None:
            numbers[work.SUBNETWORK] = self.small.per
        return numbers

    def _values(self, space: Workspace, keeps_gradient: bool) -> dict[str, Any]:
        """Fields of Work, but the samples: arrays, or numbers of elements of those that are 0, as padding must be."""
        count, plan = self.parameters.count, Plan.none(self.net.dtype)
        learns = self.learning is not None
        if self.learning is not None and self.learning.settings.augment is not None:
            plan = self.learning.settings.augment.plan(self.net.n_in, self.net.dtype, 0)
        return {name: array for name, array in self.fields.items() if name not in data.FIELDS} | {
            "table": space.table,
            "now": device.NOW,
            "words": device.WORDS,
            "sums": device.SUMS + flat.sums(space.table) if self.trains else device.SUMS,
            "rates": len(optimizer.Rates._fields),
            "params": count,
            "gradient": count if keeps_gradient else 0,
            "kept": 2 * count if learns else 0,
            "state": self.learning.vectors * count if self.learning is not None else 0,
            "space": space.count,
            "order": len(self.part),
            "running": self.parameters.running,
            "kept_running": 2 * self.parameters.running if learns else 0,
            "noise": self.noise,
            "units": 0,
            "augment": plan.constants,
            "basis": plan.basis,
        }

    def _smalls(self, small: Shrunk, passes: list[Pass], keeps_gradient: bool) -> list[Pass]:
        """What is trained in place of each of the passes."""
        whole, lies, real = passes[0], self.small_parameters, self.net.dtype
        assert self.learning is not None
        space = self.workspace(lies, small.codes, whole.rows)
        space.table[:, layout.UNITS] = np.cumsum([0, *small.sizes[:-1]])
        numbers = whole.numbers.copy()
        numbers[work.LOSSES], numbers[work.PARAMETERS] = space.losses, lies.count
        values = {
            "table": space.table,
            "numbers": numbers,
            "params": lies.count,
            "state": self.learning.vectors * lies.count,
            "gradient": lies.count if keeps_gradient else 0,
            "space": space.count,
            "noise": small.constants,
            "units": np.concatenate([np.arange(size) for size in small.sizes]),
        }
        own = {name: _array(name, value, real, whole.stream) for name, value in values.items()}
        return [replace(one, work=one.work._replace(**own), table=space.table, numbers=numbers) for one in passes]


def _array(name: str, value: Any, real: np.dtype, stream: Any) -> Any:
    dtype = dtype_of(name, real)
    return memory.zeros(value, dtype, stream) if isinstance(value, int) else memory.upload(value, dtype, stream)


def _upload(values: dict[str, Any], real: np.dtype, stream: Any) -> Work:
    """Work with these fields; those that are missing are of the samples."""
    return Work(**{name: _array(name, values.get(name, 0), real, stream) for name in Work._fields})


def moved(source: layout.Parameters, target: layout.Parameters, vectors: np.ndarray) -> np.ndarray:
    """Vectors like the parameters, behind each other as `source` says, as `target` says."""
    given = vectors.reshape(-1, source.count)
    out = np.zeros((len(given), target.count), vectors.dtype)
    for one, to in zip(given, out, strict=True):
        layout.convert(source, target, one, to)
    return out.reshape(-1)


def moved_running(source: layout.Parameters, target: layout.Parameters, running: np.ndarray) -> np.ndarray:
    """The same for running averages."""
    out = np.zeros(target.running, running.dtype)
    layout.convert_running(source, target, running, out)
    return out
