"""How long a training step should take on a GPU that need not be there: a roofline, kernel by kernel. Nothing of it was
measured.

    products    launch + max(cycles / clock, bytes / bandwidth, panels / (processors CACHE clock))
    the others  launch + max(start + flops / peak, bytes / bandwidth)

Products have the tiles that dense.py chooses on a device with so many processors, and take the cycles that tile.py
estimates; whole waves of blocks are counted. panels: bytes that all blocks get from the second cache.
An operand is brought from memory once, or once for every wave of blocks where the operands exceed the second cache;
what one kernel leaves there for the next is not credited. A grid of fewer blocks than processors has only their share
of the bandwidth. Peaks are those of the data sheets, which large networks do not reach; small ones, which stay in the
second cache, may be faster than the memory's share of the time says.

The model's step is that of step.py for dense layers, ReLU and in the end softmax with cross-entropy, whose labels are
classes: no noise, no normalization, no clipping. Steps of one sample by sgd, which stochastic.py does many of in one
launch, are counted as launches like all others. Passes of a batch that is too large for one are counted as full ones.

Source: Williams, Waterman and Patterson 2009. GPUs: NVIDIA's data sheets of the T4, the A100 80GB, the H100 and the HGX
B200, and its whitepapers on the architectures Turing, Ampere (A100), Hopper, Ada and RTX Blackwell. Clock and second
cache of the B200 are in none of them: the clock is what its 75 TFLOP/s ask for, the cache what is reported of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn_kernels import layout
from fastnn_kernels.activation import RELU, SOFTMAX
from fastnn_kernels.cuda import budget, flat, output, stochastic, tile
from fastnn_kernels.cuda.driver import blocks_for
from fastnn_kernels.cuda.work import DEVICE, SIZE, SPLITS, workspace
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, STRIDE, WIDTH
from fastnn_kernels.optimizer import states

# Seconds. Assumptions, not measurements.
LAUNCH = 4e-6  # of a kernel by itself
REPLAYED = 1.5e-6  # of one in a graph, from the end of the kernel before it

CACHE = 24  # bytes a cycle and processor, from the second cache: an assumption too

# Operations, roughly; an exponential or a root is one.
LOSS = 5  # an output
UPDATED = 2  # a parameter
REMEMBERED = 5  # for each state that its optimizer keeps

INDEX = 4  # bytes of a label, or of a place in the order

# What bounds a kernel. Arithmetic is with the shared memory that feeds it, latency that of a block and its steps.
LAUNCHES, ARITHMETIC, LATENCY, MEMORY, SECOND_CACHE = "launches", "arithmetic", "latency", "memory", "cache"


@dataclass(frozen=True)
class Gpu:
    """processors: multiprocessors; clock: boost, Hz; lanes32, lanes64: multiply-adds of a processor in a cycle;
    bandwidth: of the memory, bytes/s; cache: the second one, bytes; memory: bytes, before the driver takes its own."""

    name: str
    processors: int
    clock: float
    lanes32: int
    lanes64: int
    bandwidth: float
    cache: int
    memory: int

    def lanes(self, itemsize: int) -> int:
        return self.lanes32 if itemsize == 4 else self.lanes64

    def peak(self, itemsize: int) -> float:
        """FLOP/s."""
        return 2.0 * self.processors * self.lanes(itemsize) * self.clock


_MIB, _GIB = 1 << 20, 1 << 30

GPUS = {
    "t4": Gpu("T4", 40, 1.59e9, 64, 2, 320e9, 4 * _MIB, 16 * _GIB),
    "a100": Gpu("A100 SXM 80GB", 108, 1.41e9, 64, 32, 2039e9, 40 * _MIB, 80 * _GIB),
    "h100": Gpu("H100 SXM", 132, 1.98e9, 128, 64, 3350e9, 50 * _MIB, 80 * _GIB),
    "b200": Gpu("B200", 148, 1.98e9, 128, 64, 8000e9, 126 * _MIB, 180 * _GIB),
    "rtx4090": Gpu("RTX 4090", 128, 2.52e9, 128, 2, 1008e9, 72 * _MIB, 24 * _GIB),
    "rtx5090": Gpu("RTX 5090", 170, 2.407e9, 128, 2, 1792e9, 96 * _MIB, 32 * _GIB),
}


@dataclass(frozen=True)
class Kernel:
    """What a kernel does in a step.

    name: as step.py calls it, with its layer; tile: of a product, else ""; launches, flops, bytes, seconds: in a step;
    blocks: of a launch; filled: the share of the waves of a product's blocks that is filled, else 1; bound: what takes
    the most of its time.
    """

    name: str
    tile: str
    launches: int
    blocks: int
    filled: float
    flops: float
    bytes: float
    seconds: float
    bound: str


@dataclass(frozen=True)
class Memory:
    """Bytes on the device. parameters: with their gradient and the copy that is kept; state: the optimizer's; sample:
    one of the data, with its place in the order; samples: so many fit beside the rest."""

    parameters: int
    state: int
    workspace: int
    sample: int
    samples: int

    @property
    def fixed(self) -> int:
        return self.parameters + self.state + self.workspace


@dataclass(frozen=True)
class Prediction:
    """Of a training step of `batch` samples in passes of `rows`."""

    gpu: Gpu
    itemsize: int
    batch: int
    rows: int
    kernels: tuple[Kernel, ...]
    memory: Memory

    @property
    def seconds(self) -> float:
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def launches(self) -> int:
        return sum(kernel.launches for kernel in self.kernels)

    @property
    def flops(self) -> float:
        return sum(kernel.flops for kernel in self.kernels)

    @property
    def bytes(self) -> float:
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def samples_per_second(self) -> float:
        return self.batch / self.seconds

    @property
    def share(self) -> float:
        """Of the device's FLOP/s."""
        return self.flops / self.seconds / self.gpu.peak(self.itemsize)

    @property
    def bound(self) -> str:
        """Where most of the time goes."""
        bounds = dict.fromkeys((kernel.bound for kernel in self.kernels), 0.0)
        for kernel in self.kernels:
            bounds[kernel.bound] += kernel.seconds
        return max(bounds, key=bounds.__getitem__)


def step(
    sizes: Sequence[int], batch: int, optimizer: int, dtype: Any, gpu: Gpu, launch: float = REPLAYED
) -> Prediction:
    """A training step of a network with these sizes, the input's first.

    optimizer: its code; launch: seconds of one, REPLAYED in a graph or LAUNCH by itself. Raises budget.TooLargeError.
    """
    parameters = _parameters(sizes, dtype)
    space = _Space(parameters, gpu)
    needs = _needs(parameters, optimizer, space)
    rows = budget.plan(needs, batch, False, gpu.memory).rows
    count = _Count(gpu, np.dtype(dtype).itemsize, launch, space.table(rows), rows, -(-batch // rows))
    memory = _memory(needs, parameters, optimizer, rows, gpu)
    return Prediction(gpu, count.itemsize, batch, rows, tuple(count.step(states(optimizer))), memory)


def _parameters(sizes: Sequence[int], dtype: Any) -> layout.Parameters:
    codes = [RELU] * (len(sizes) - 2) + [SOFTMAX]
    return layout.parameters(sizes, codes, np.dtype(dtype), None, DEVICE)


class _Space:
    """The workspace of passes of any number of rows on a GPU."""

    def __init__(self, parameters: layout.Parameters, gpu: Gpu) -> None:
        self._parameters, self._processors, self._itemsize = parameters, gpu.processors, parameters.dtype.itemsize

    def _of(self, rows: int) -> Any:
        rows = max(rows, stochastic.ROWS)
        pairs = pairwise(self._parameters.sizes)
        return workspace(
            self._parameters, rows, [tile.splits(rows, *pair, self._processors, self._itemsize) for pair in pairs]
        )

    def table(self, rows: int) -> np.ndarray:
        return self._of(rows).table

    def bytes(self, rows: int) -> int:
        return int(self._of(rows).count) * self._itemsize


def _needs(parameters: layout.Parameters, optimizer: int, space: _Space) -> budget.Needs:
    itemsize = parameters.dtype.itemsize
    fixed = (3 + states(optimizer)) * parameters.count * itemsize
    return budget.Needs(fixed, parameters.sizes[0] * itemsize + 2 * INDEX, 0, 0, space.bytes)


def _memory(needs: budget.Needs, parameters: layout.Parameters, optimizer: int, rows: int, gpu: Gpu) -> Memory:
    state = states(optimizer) * parameters.count * parameters.dtype.itemsize
    space = needs.workspace(rows)
    left = gpu.memory - max(budget.RESERVE[0], int(budget.RESERVE[1] * gpu.memory)) - needs.fixed - space
    return Memory(needs.fixed - state, state, space, needs.sample, max(0, left // needs.sample))


@dataclass(frozen=True)
class _Count:
    """Counts the kernels of a step. launch: seconds; table: int64 (layers + 1, COLUMNS); passes: of `rows` rows."""

    gpu: Gpu
    itemsize: int
    launch: float
    table: np.ndarray
    rows: int
    passes: int

    def at(self, layer: int, column: int) -> int:
        return int(self.table[layer, column])

    def step(self, vectors: int) -> list[Kernel]:
        """All kernels in their order; vectors: of the optimizer's state."""
        layers = range(1, len(self.table))
        kernels = [self._loop("begin", 1, 0, 0), self._gather()]
        kernels += [self._feed(layer) for layer in layers]
        kernels += [self._losses()]
        kernels += [self._delta(layer) for layer in reversed(layers[:-1])]
        kernels += [self._gradient(layer) for layer in layers]
        return [*kernels, *self._update(vectors), self._loop("finish", 1, self.rows, self.rows * self.itemsize)]

    def _gather(self) -> Kernel:
        elements = self.rows * self.at(0, STRIDE)
        moved = (self.rows * self.at(0, N_OUT) + elements) * self.itemsize + self.rows * INDEX
        return self._loop("gather", blocks_for(elements, flat.THREADS), 0, moved)

    def _feed(self, layer: int) -> Kernel:
        return self._product(f"feed {layer}", self.rows, self.at(layer, N_OUT), self.at(layer, N_IN), extra=1)

    def _delta(self, layer: int) -> Kernel:
        """It reads what the derivative is computed from, too."""
        m, n, depth = self.rows, self.at(layer + 1, N_IN), self.at(layer + 1, N_OUT)
        return self._product(f"delta {layer}", m, n, depth, extra=m)

    def _gradient(self, layer: int) -> Kernel:
        parts = self.at(layer, SPLITS)
        return self._product(
            f"gradient {layer}", self.at(layer, DEPTH), self.at(layer, WIDTH), self.rows, parts, rows_of_blocks=1
        )

    def _losses(self) -> Kernel:
        """Logits are read; probabilities, deltas and a loss a row are written."""
        n = self.at(len(self.table) - 1, N_OUT)
        moved = self.rows * ((3 * n + 1) * self.itemsize + 2 * INDEX)
        return self._loop(
            "losses", blocks_for(self.rows * min(n, output.THREADS), output.THREADS), LOSS * self.rows * n, moved
        )

    def _update(self, vectors: int) -> list[Kernel]:
        """Partial gradients, parameters and state are read, the latter two written; batches in several passes add up
        their gradient before that."""
        blocks, layers = flat.grid(self.table)
        sizes, parts = self.table[1:, SIZE], self.table[1:, SPLITS]
        count, partial = int(sizes.sum()), int((sizes * parts).sum())
        flops, moved = (UPDATED + REMEMBERED * vectors) * count, (2 + 2 * vectors) * count
        if self.passes == 1:
            return [self._loop("update", blocks * layers, flops + partial - count, (moved + partial) * self.itemsize)]
        collect = self._loop("collect", blocks * layers, partial, (partial + 2 * count) * self.itemsize)
        return [collect, self._loop("update", blocks * layers, flops, (moved + count) * self.itemsize, 1)]

    def _loop(self, name: str, blocks: int, flops: int, moved: int, launches: int | None = None) -> Kernel:
        """A kernel that is no product; once a pass, unless launches are given."""
        gpu = self.gpu
        share = min(1.0, blocks / gpu.processors)
        times = {
            LAUNCHES: self.launch,
            LATENCY: tile.START / gpu.clock,
            ARITHMETIC: flops / gpu.peak(self.itemsize) / share,
            MEMORY: moved / gpu.bandwidth / share,
            SECOND_CACHE: 0.0,
        }
        return self._kernel(name, "", blocks, 1.0, flops, moved, times, launches)

    def _product(
        self, name: str, m: int, n: int, depth: int, parts: int = 1, rows_of_blocks: int = 0, extra: int = 0
    ) -> Kernel:
        """c (m, n) = a (m, depth) b (depth, n), the depth in parts; extra: rows of n elements that are read besides."""
        gpu, itemsize = self.gpu, self.itemsize
        shape = tile.choose(m, n, depth, parts, gpu.processors, itemsize)
        down, across = tile.tiles(shape, m, n)
        blocks = down * across * parts
        waves = -(-blocks // gpu.processors)
        steps = -(-max(1, -(-depth // parts)) // shape.span)
        lanes = gpu.lanes(itemsize)
        busy = waves * steps * tile.step_cycles(shape, itemsize, lanes)
        cycles = tile.cycles(shape, m, n, depth, parts, gpu.processors, itemsize, lanes)
        moved = (self._operands(shape, m, n, depth, parts) + (parts * m + extra) * n) * itemsize
        times = {
            LAUNCHES: self.launch,
            LATENCY: (cycles - busy) / gpu.clock,
            ARITHMETIC: busy / gpu.clock,
            MEMORY: moved / gpu.bandwidth,
            SECOND_CACHE: waves * steps * shape.span * (shape.rows + shape.columns) * itemsize / CACHE / gpu.clock,
        }
        started = (down + rows_of_blocks) * across * parts
        return self._kernel(
            name, shape.name, started, blocks / (waves * gpu.processors), 2 * m * n * depth, moved, times
        )

    def _operands(self, shape: tile.Shape, m: int, n: int, depth: int, parts: int) -> int:
        """Elements of a and b that come from memory. Blocks below each other start one behind the other."""
        once = (m + n) * depth
        if once * self.itemsize <= self.gpu.cache:
            return once
        down, across = tile.tiles(shape, m, n)
        at_once = self.gpu.processors * shape.resident
        waves = -(-down * across * parts // at_once)
        panels = min(down, at_once) * shape.rows + min(across, -(-at_once // down)) * shape.columns
        return max(once, waves * panels * -(-depth // parts))

    def _kernel(
        self,
        name: str,
        tile_name: str,
        blocks: int,
        filled: float,
        flops: int,
        moved: int,
        times: dict[str, float],
        launches: int | None = None,
    ) -> Kernel:
        """times: of one launch, by what takes it; memory and cache are busy while the rest computes."""
        count = self.passes if launches is None else launches
        computing = times[LATENCY] + times[ARITHMETIC]
        longest = max(computing, times[MEMORY], times[SECOND_CACHE])
        seconds = times[LAUNCHES] + longest
        hidden = {LATENCY, ARITHMETIC} if longest > computing else {MEMORY, SECOND_CACHE}
        bound = max(times.keys() - hidden, key=lambda kind: (times[kind], kind))
        return Kernel(name, tile_name, count, blocks, filled, count * flops, count * moved, count * seconds, bound)
