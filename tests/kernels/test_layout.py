"""Where parameters and workspace lie: aligned, apart from each other, and read as they were written."""

import numpy as np
import pytest
from helpers import DTYPES, ODD_SIZES, random_weights

from fastnn_kernels import layout, machine
from fastnn_kernels.activation import CODES
from fastnn_kernels.layout import (
    BETA,
    DEPTH,
    DRAWS,
    GAMMA,
    RUNNING,
    STATS,
    STRIDE,
    WIDTH,
    XHAT,
    A,
    B,
    D,
    T,
    W,
    Z,
)
from fastnn_kernels.rng import GROUP

NETWORKS = [(1, 1), (1, 1, 1), ODD_SIZES, ODD_SIZES[::-1], (784, 512, 512, 10), (1000, 1024, 511, 513, 3)]


@pytest.fixture(params=DTYPES)
def dtype(request):
    return np.dtype(request.param)


def planned(sizes, dtype, activation=0):
    return layout.parameters(sizes, [activation] * (len(sizes) - 1), dtype)


def assert_apart(pieces, count):
    """Pieces (first, size) lie behind each other, within 0 to count."""
    pieces = sorted(pieces)
    assert pieces[0][0] >= 0
    for (first, size), (following, _) in zip(pieces, [*pieces[1:], (count, 0)], strict=True):
        assert first + size <= following


@pytest.mark.parametrize("sizes", NETWORKS)
def test_parameters_are_aligned_and_apart(sizes, dtype):
    plan = planned(sizes, dtype)
    pieces = []
    for n_in, n_out, row in zip(sizes[:-1], sizes[1:], plan.table[1:], strict=True):
        assert row[DEPTH] >= n_in
        assert row[WIDTH] >= n_out
        assert row[WIDTH] % machine.lanes(dtype) == 0
        assert row[W] * dtype.itemsize % layout.ALIGNMENT == 0
        assert row[B] * dtype.itemsize % machine.VECTOR_BYTES == 0
        pieces += [(row[W], row[DEPTH] * row[WIDTH]), (row[B], row[WIDTH])]
    assert_apart(pieces, plan.count)


@pytest.mark.parametrize("rows", [1, 13, 128])
@pytest.mark.parametrize("norm", [layout.BATCH_NORM, layout.LAYER_NORM])
@pytest.mark.parametrize("sizes", NETWORKS)
def test_normalized_layers_are_aligned_and_apart(sizes, norm, rows, dtype):
    codes = [norm] * (len(sizes) - 2) + [layout.NO_NORM]
    plan = layout.parameters(sizes, [0] * len(codes), dtype, codes)
    space = layout.workspace(plan, rows, 2)
    parameters, pieces, running = [], [(space.losses, rows)], []
    for layer, row in enumerate(space.table[1:], start=1):
        parameters += [(row[W], row[DEPTH] * row[WIDTH]), (row[B], row[WIDTH])]
        pieces += [(row[column], space.rows * row[STRIDE]) for column in (A, D)]
        if codes[layer - 1]:
            parameters += [(row[GAMMA], row[WIDTH]), (row[BETA], row[WIDTH])]
            stats = layout.BATCH_STATS * row[WIDTH] if norm == layout.BATCH_NORM else layout.LAYER_STATS * space.rows
            pieces += [(row[XHAT], space.rows * row[STRIDE]), (row[STATS], stats)]
            running += [(row[RUNNING], 2 * row[WIDTH])] * (norm == layout.BATCH_NORM)
    assert_apart(parameters, plan.count)
    assert_apart(pieces, space.count)
    assert all(first * dtype.itemsize % machine.VECTOR_BYTES == 0 for first, _ in parameters + pieces)
    if running:
        assert_apart(running, plan.running)


@pytest.mark.parametrize("activation", ["relu", "gelu", "noisy_relu"])
@pytest.mark.parametrize(("rows", "stochastic"), [(1, False), (13, False), (128, False), (1, True)])
@pytest.mark.parametrize("sizes", NETWORKS)
def test_workspace_is_aligned_and_apart(sizes, rows, stochastic, activation, dtype):
    space = layout.workspace(planned(sizes, dtype, CODES[activation]), rows, 3, stochastic)
    assert space.rows >= rows
    pieces = [(space.losses, rows)]
    panel = 2 * machine.lanes(dtype)
    needed = max([panel * panel, *(panel * row[WIDTH] for row in space.table[2:])])  # a gradient, transposed panels
    pieces += [(space.scratch + rank * space.scratch_size, needed) for rank in range(3)]
    for layer, row in enumerate(space.table):
        assert row[STRIDE] >= row[WIDTH]
        assert row[STRIDE] * dtype.itemsize % 512 != 0
        pieces += [(row[column], space.rows * row[STRIDE]) for column in ((A, D) if layer else (A,))]
        if layer > 1 and stochastic:
            pieces.append((row[T], row[WIDTH] * row[DEPTH]))
        if layer and activation == "gelu":
            pieces.append((row[Z], space.rows * row[STRIDE]))
        else:
            assert row[Z] == row[A]
        if layer and activation == "noisy_relu":
            pieces.append((row[DRAWS], space.rows // machine.UNIT * layout.round_up(row[WIDTH], GROUP)))
    assert all(first * dtype.itemsize % layout.ALIGNMENT == 0 for first, _ in pieces)
    assert_apart(pieces, space.count)


@pytest.mark.parametrize("sizes", NETWORKS)
def test_passes_that_only_go_forwards_have_deltas_of_the_last_layer(sizes, dtype):
    plan = planned(sizes, dtype)
    space, whole = (layout.workspace(plan, 13, 2, backwards=backwards) for backwards in (False, True))
    pieces = [(space.losses, 13), (space.scratch, 2 * space.scratch_size)]
    pieces += [(row[A], space.rows * row[STRIDE]) for row in space.table]
    pieces.append((space.table[-1, D], space.rows * space.table[-1, STRIDE]))
    assert_apart(pieces, space.count)
    hidden = space.rows * int(space.table[1:-1, STRIDE].sum())
    assert whole.count - space.count >= hidden


@pytest.mark.parametrize("sizes", NETWORKS[:4])
def test_layers_are_read_as_written(sizes, dtype, rng):
    plan = planned(sizes, dtype)
    memory = layout.zeros(plan.count, dtype)
    weights = random_weights(rng, sizes)
    for layer, (weight, bias) in enumerate(weights, start=1):
        layout.set_layer(plan, layer, memory, weight, bias)
    for layer, (weight, bias) in enumerate(weights, start=1):
        read_weight, read_bias = layout.get_layer(plan, layer, memory)
        assert np.array_equal(read_weight, weight)
        assert np.array_equal(read_bias, bias)
        assert not np.shares_memory(read_weight, memory)
        assert not np.shares_memory(read_bias, memory)
    assert np.count_nonzero(memory) == sum(np.count_nonzero(a) for pair in weights for a in pair)  # padding is zero


def test_an_element_lies_where_the_layout_says(dtype):
    """Weight (i, j) lies in panel j // NR of NR columns, in row i of it."""
    n_in, n_out, panel = 5, 3 * machine.lanes(dtype), 2 * machine.lanes(dtype)
    plan = planned((n_in, n_out), dtype)
    memory = layout.zeros(plan.count, dtype)
    weight = np.arange(1.0, n_in * n_out + 1).reshape(n_in, n_out)
    layout.set_layer(plan, 1, memory, weight, np.zeros(n_out))
    depth, width = plan.table[1, [DEPTH, WIDTH]]
    for i, j in np.ndindex(weight.shape):
        column = j // panel * panel
        columns = min(panel, width - column)
        assert memory[column * depth + i * columns + j % panel] == weight[i, j]


def test_zeros_start_on_a_cache_line(dtype):
    for count in (1, 17, 1000):
        array = layout.zeros(count, dtype)
        assert array.dtype == dtype
        assert array.shape == (count,)
        assert array.ctypes.data % layout.ALIGNMENT == 0
