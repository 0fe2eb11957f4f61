"""The smaller network that dropout per batch or per epoch leaves to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from fastnn import division, session
from fastnn_kernels import layout, machine, noise, work

if TYPE_CHECKING:
    from fastnn.network import MLP
    from fastnn.session import Session


CACHED_BYTES = 6 << 20  # parameters and state up to which asking for them early costs more than it brings


@dataclass(frozen=True)
class Shrunk:
    """The smaller network. sizes: of the input and every layer; codes, constants: of its layers' noises; per: when its
    units change."""

    sizes: list[int]
    codes: list[int]
    constants: np.ndarray
    per: int


def shrink(net: MLP, codes: Sequence[int], constants: np.ndarray) -> Shrunk | None:
    """The network that is left, or None where all units stay. codes, constants: noises of the whole."""
    kept = division.kept(net)
    if kept == [layer.units for layer in net.layers]:
        return None
    codes, constants = list(codes), constants.copy()
    for i, (layer, units) in enumerate(zip(net.layers, kept, strict=True)):
        if units < layer.units:
            codes[i] = noise.DROPOUT
            scale = layer.units / units
            constants[i + 1, [noise.BORDER, noise.SCALE, noise.UNSCALE]] = 0.0, scale, 1.0 / scale
            constants[i + 1, noise.PER] = layer.dropout.per_code
    per = noise.PER_BATCH if noise.PER_BATCH in constants[1:, noise.PER] else noise.PER_EPOCH
    return Shrunk([net.n_in, *kept], codes, constants, per)


def attach(net: MLP, outer: Session, rows: int) -> Session:
    """The session with a small network inside, for passes of up to `rows` rows; as it is where all units stay."""
    arrays = outer.arrays
    shrunk = shrink(net, arrays.table[1:, layout.NOISE].tolist(), arrays.noise)
    if shrunk is None:
        return outer
    sizes, codes = shrunk.sizes, shrunk.codes
    small = layout.parameters(sizes, [layer.function.code for layer in net.layers], net.dtype)
    disturbed = [code > noise.SAMPLE_CONNECT for code in codes]
    divided, copies = division.panels(sizes, codes, rows, outer.threads, inf if arrays.numbers[work.INPUTS] else 0.0)
    packed = int(arrays.numbers[work.SCRATCH_SIZE])
    space = layout.workspace(
        small, rows, outer.threads, False, disturbed, by_panels=divided, copies=copies, packed=packed
    )
    space.table[1:, layout.NOISE] = codes
    for column in (layout.FUNCTION, layout.DERIVATIVE):
        space.table[1:, column] = arrays.table[1:, column]
    units = _units(space.table, net.sizes, net.dtype)
    states = len(arrays.state) // net.layout.count
    arrays.numbers[work.STATES] = states
    arrays.numbers[work.SUBNETWORK] = shrunk.per
    numbers = arrays.numbers.copy()
    is_passing = numbers[work.SUBNETWORK] == noise.PER_BATCH
    numbers[work.PREFETCHES] = is_passing and arrays.params.nbytes + arrays.state.nbytes > CACHED_BYTES
    session.set_places(numbers, space, small.count)
    lanes = machine.lanes(net.dtype)  # vectors are read from any element on
    own_states = 0 if is_passing else states
    inner = arrays._replace(
        table=np.ascontiguousarray(space.table),
        numbers=numbers,
        params=layout.zeros(small.count + lanes, net.dtype),
        state=layout.zeros(own_states * small.count + lanes, net.dtype),
        gradient=layout.zeros(small.count + lanes if len(arrays.gradient) else 0, net.dtype),
        space=layout.zeros(space.count, net.dtype),
        noise=shrunk.constants,
        outer=arrays.addresses(),
        units=units,
    )
    return replace(outer, arrays=arrays._replace(inner=inner.addresses()), inner=inner)


def _units(table: np.ndarray, sizes: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Units and places of a small network while all stay; writes into its table where they lie. sizes: of the whole.

    Behind them is -1, up to whole vectors.
    """
    lanes, count = machine.lanes(dtype), 0
    parts = []
    for row, size in zip(table, sizes, strict=True):
        for column, length in ((layout.UNITS, row[layout.N_OUT]), (layout.PLACES, size)):
            parts.append(np.full(layout.round_up(length + 1, lanes), -1))
            parts[-1][:length] = np.arange(length)
            row[column] = count
            count += len(parts[-1])
    return np.concatenate(parts).astype(np.int32 if dtype.itemsize == 4 else np.int64)
