"""The smaller network that dropout per batch or per epoch leaves to be trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn import session
from fastnn_kernels import layout, noise, work

if TYPE_CHECKING:
    from fastnn.network import MLP
    from fastnn.session import Session


def attach(net: MLP, outer: Session, rows: int) -> Session:
    """The session with a small network inside, for passes of up to `rows` rows; as it is where all units stay."""
    kept = [layer.units if layer.dropout is None else layer.dropout.kept(layer.units) for layer in net.layers]
    if kept == [layer.units for layer in net.layers]:
        return outer
    arrays, sizes = outer.arrays, [net.n_in, *kept]
    codes, constants = arrays.table[1:, layout.NOISE].copy(), arrays.noise.copy()
    for i, (layer, units) in enumerate(zip(net.layers, kept, strict=True)):
        if units < layer.units:
            codes[i] = noise.DROPOUT
            constants[i + 1] = 0.0, layer.units / units, units / layer.units, layer.dropout.per_code
    small = layout.parameters(sizes, [layer.function.code for layer in net.layers], net.dtype)
    space = layout.workspace(small, rows, outer.threads, disturbed=[code > noise.SAMPLE_CONNECT for code in codes])
    space.table[1:, layout.NOISE] = codes
    space.table[1:, session.FUNCTIONS] = arrays.table[1:, session.FUNCTIONS]
    space.table[:, layout.UNITS] = np.cumsum([0, *sizes[:-1]])
    states = len(arrays.state) // net.layout.count
    arrays.numbers[work.STATES] = states
    arrays.numbers[work.SUBNETWORK] = (
        noise.PER_BATCH if noise.PER_BATCH in constants[1:, noise.PER] else noise.PER_EPOCH
    )
    numbers = arrays.numbers.copy()
    session.set_places(numbers, space, small.count)
    inner = arrays._replace(
        table=np.ascontiguousarray(space.table),
        numbers=numbers,
        params=layout.zeros(small.count, net.dtype),
        state=layout.zeros(states * small.count, net.dtype),
        gradient=layout.zeros(small.count if len(arrays.gradient) else 0, net.dtype),
        space=layout.zeros(space.count, net.dtype),
        noise=constants,
        units=np.concatenate([np.arange(size) for size in sizes]),
    )
    return replace(outer, arrays=arrays._replace(inner=inner.addresses()), inner=inner)
