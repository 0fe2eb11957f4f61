"""What a network is and how it runs, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn import norms, session
from fastnn_kernels import layout, machine

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


def explain(net: MLP, batch: int) -> str:
    """Vector, tile, threads and memory of a training step, with the reasons."""
    facts = machine.describe()
    flops = session.flops_per_sample(net) * batch
    threads = session.choose_threads(net, batch, None)
    rows = session.pass_rows(net, batch)
    space = layout.workspace(net.layout, rows, threads)
    lines = [
        f"processor   {facts['processor']}, {facts['vector']}",
        f"tile        {facts['tile']}",
        f"step        {batch} samples, {flops / 1e6:,.1f} MFLOP"
        + (f", in parts of {rows} rows" if batch > rows else ""),
        f"threads     {threads} of {machine.processors()}: {_why()}",
        f"memory      parameters {_bytes(net.layout.count * net.dtype.itemsize)}, "
        f"workspace {_bytes(space.count * net.dtype.itemsize)}",
    ]
    last = net.fitted.last_run
    if last is not None and last.samples_per_second:
        speeds = sorted(last.samples_per_second)
        speed = speeds[len(speeds) // 2]
        gflops = speed * session.flops_per_sample(net) / 1e9
        lines.append(
            f"last fit    {speed:,.0f} samples/s, {gflops:,.1f} GFLOP/s (batch {last.batch}, {last.threads} threads)"
        )
    return "\n".join(lines)


def _why() -> str:
    return (
        f"one more is worth its meetings from {session.FLOPS_PER_THREAD / 1e6:g} MFLOP a step, and in a network "
        f"of up to {_bytes(session.CACHED_BYTES)} from {session.ROWS_PER_THREAD} samples each"
    )


def _bytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
