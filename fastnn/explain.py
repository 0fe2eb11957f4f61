"""What a network is and how it runs, in words."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from fastnn import description, devices, division, norms, prediction
from fastnn.devices import Cuda
from fastnn.optimizers import SGD, Optimizer
from fastnn_kernels import layout, machine
from fastnn_kernels.optimizer import states
from fastnn_kernels.work import DENSE_BLOCKS

if TYPE_CHECKING:
    from fastnn.network import MLP


def summary(net: MLP) -> str:
    """A line per layer: neurons, normalization and activation, parameters."""
    rows = [("layer", "neurons", "activation", "parameters"), ("input", str(net.n_in), "", "")]
    total = 0
    for number, layer in enumerate(net.layers, start=1):
        norm = "" if layer.norm is None else f"{norms.family.name(layer.norm)} norm, "
        count = (net.layout.sizes[number - 1] + (3 if norm else 1)) * layer.units
        total += count
        what = norm + layer.function.label
        rows.append((f"dense {number}", f"{layer.units:,}", what, f"{count:,}"))
    wide = max(12, *(len(c) + 1 for _, _, c, _ in rows))
    lines = [f"{a:<10}{b:>9}  {c:<{wide}}{d:>14}".rstrip() for a, b, c, d in rows]
    return "\n".join([*lines, f"{total:,} parameters, {net.dtype}"])


def explain(net: MLP, batch: int, optimizer: Optimizer, device: str | Cuda) -> str:
    """Device, path, memory and what else decides on a training step, with the reasons; predicted and measured speed."""
    work = division.flops_per_sample(net) * batch
    reason = devices.why_not_cuda(work) if device == "auto" else None
    lines = [] if reason is None else [f"device      cpu: {reason}"]
    if devices.check(device) == "cpu" or reason is not None:
        lines += _on_the_processor(net, batch, optimizer)
    else:
        from fastnn import cuda

        asked = device if isinstance(device, Cuda) else Cuda()
        lines += [f"{name:<12}{fact}" for name, fact in cuda.explain(net, batch, optimizer, asked).items()]
    last = net.fitted.last_run
    if last is not None and last.samples_per_second:
        measured = statistics.median(last.samples_per_second)
        lines.append(f"last fit    {_speed(measured, work / batch)} (batch {last.batch:,}, {last.label})")
    return "\n".join(lines)


def _on_the_processor(net: MLP, batch: int, optimizer: Optimizer) -> list[str]:
    facts = machine.describe()
    flops = division.flops_per_sample(net)
    stochastic = batch == 1 and isinstance(optimizer, SGD) and division.suits_single_samples(net)
    numbers = division.numbers_of_threads(net, batch, None, DENSE_BLOCKS if stochastic else 0)
    threads = numbers[0]
    parts, rows = division.parts_and_rows(net, batch)
    floats = _workspace(net, batch, optimizer, threads, DENSE_BLOCKS if stochastic else 0)
    speed = batch / prediction.seconds_of_step(net, batch, optimizer, threads, stochastic)
    share = speed * flops / (prediction.limit(str(net.dtype)) * threads)
    divided = [] if parts or stochastic else _divided(net, rows, max(numbers))
    return [
        f"processor   {facts['processor']}, {facts['vector']}",
        f"tile        {facts['tile']}{_matrix(net, rows, parts, stochastic)}",
        f"step        {batch:,} samples, {flops * batch / 1e6:,.1f} MFLOP, {type(optimizer).__name__}",
        f"path        {_path(batch, parts, rows, layout.block_rows(net.layout), stochastic)}{_owners(divided)}",
        f"threads     {_numbers(numbers)} of {machine.processors()}: {_why()}",
        f"memory      parameters {_bytes(net.layout.count * net.dtype.itemsize)}, "
        f"workspace {_bytes(floats * net.dtype.itemsize)}, and up to {division.LITTLE:.0%} of the data",
        f"predicted   {_speed(speed, flops)}, {share:.0%} of what the multiply-adds allow",
    ]


def _workspace(net: MLP, batch: int, optimizer: Optimizer, threads: int, single: int) -> int:
    """Elements beside parameters, state and data, of which few copies are made."""
    parts, rows = division.parts_and_rows(net, batch)
    codes, _ = description.noises(net, True)
    little = division.little(0, net.layout.count, states(optimizer.code) * net.layout.count)
    space = division.workspace(net, codes, rows, 1 if parts else threads, single, little, int(little / threads), parts)
    return space.count * (threads if parts else 1) + net.layout.count * division.gradients(batch, parts, rows, False)


def _path(batch: int, parts: int, rows: int, block: int, stochastic: bool) -> str:
    if stochastic:
        return (
            f"stochastic: the first layer takes {block} samples side by side, exactly; where more than three fifths of "
            "the inputs are 0, their rows of weights are skipped instead"
        )
    if parts:
        return (
            f"{parts} parts, {rows} rows at a time, each with a gradient of its own: threads take whole parts and meet "
            "once, for the update"
        )
    if batch > rows:
        return f"parts of {rows:,} rows, so that activations stay near; their gradients add up to one update"
    return "minibatch: the update follows each tile of the gradient at once"


def _speed(samples_per_second: float, flops: float) -> str:
    return f"{samples_per_second:,.0f} samples/s, {samples_per_second * flops / 1e9:,.1f} GFLOP/s"


def _numbers(numbers: tuple[int, ...]) -> str:
    first, *others = numbers
    return f"{first}, or {others[0]} while that is faster," if others else str(first)


def _why() -> str:
    return (
        f"one more is worth its meetings from {division.FLOPS_PER_THREAD / 1e6:g} MFLOP a step, and in a network "
        f"of up to {_bytes(division.CACHED_BYTES)} from {division.ROWS_PER_THREAD} samples each; "
        f"there a second is tried from {2 * division.FLOPS_TO_TRY / 1e6:g} MFLOP on"
    )


def _matrix(net: MLP, rows: int, parts: int, stochastic: bool) -> str:
    """Which layers' products are the matrix unit's."""
    codes, _ = description.noises(net, True)
    layers = [] if stochastic else _numbered(division.by_matrix(net, codes, rows, parts))
    return f"; the matrix unit multiplies in {_layers(layers)}" if layers else ""


def _divided(net: MLP, rows: int, threads: int) -> list[int]:
    """The layers whose panels the threads divide."""
    codes, _ = description.noises(net, True)
    matrix = division.by_matrix(net, codes, rows, 0)
    divided, _ = division.panels(net.sizes, codes, rows, threads, 0.0, matrix)
    return _numbered(divided)


def _owners(layers: list[int]) -> str:
    return f"; each thread reads the weights that it updates in {_layers(layers)}" if layers else ""


def _numbered(chosen: list[bool]) -> list[int]:
    """The numbers of the layers that are."""
    return [number for number, is_so in enumerate(chosen, start=1) if is_so]


def _layers(numbers: list[int]) -> str:
    return f"layer{'s' * (len(numbers) > 1)} {', '.join(str(number) for number in numbers)}"


def _bytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
