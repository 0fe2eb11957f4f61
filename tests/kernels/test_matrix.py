"""Products on the matrix unit against float64: what packing keeps of a number, sums, edges, and who takes the unit."""

import numpy as np
import pytest
from helpers import data, python, sum_error
from numba import njit
from test_code import assembly_of, inner_loops

import fastnn as fn
from fastnn import division
from fastnn_kernels import layout, machine, matrix, product
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.machine import PIECE
from fastnn_kernels.matrix import BLOCK
from fastnn_kernels.native import address, matrix_close, matrix_open
from fastnn_kernels.native.matrix import SIDE
from fastnn_kernels.noise import DROPCONNECT, DROPOUT

OTHERS = {"NUMBA_CPU_NAME": "haswell"}  # code for processors without one

has_matrix = pytest.mark.skipif(not machine.HAS_MATRIX, reason="this processor has no matrix unit")


@njit(**FLAGS)
def multiply(x, d, k, rows, columns, a, b, c, start, given):
    """c (rows, columns) = x (rows, k) @ d (k, columns) as a layer's feed does it."""
    steps = matrix.steps_of(k)
    matrix_open()
    matrix.pack_rows(address(x, 0), x.shape[1], rows, k, address(a, 0))
    for step in range(steps):
        for half in range(columns // SIDE):
            place, left = address(d, step * 32 * d.shape[1] + half * SIDE), k - 32 * step
            tile = address(b, (step * columns // SIDE + half) * matrix.PACKED)
            matrix.pack(place, d.shape[1], SIDE * d.shape[1], min(SIDE, left), min(SIDE, max(left - SIDE, 0)), tile)
    for row in range(0, rows, BLOCK):
        packed, count = address(a, row // SIDE * steps * matrix.PACKED), min(BLOCK, rows - row)
        out, r = address(c, row * c.shape[1]), address(given, 0)
        matrix.product_block(packed, address(b, 0), steps, out, c.shape[1], count, columns, start, r)
    matrix_close()


@njit(**FLAGS)
def multiply_unit(x, d, count, rows, columns, a, b, g, adds, asks):
    """g (rows, columns) = x (count, rows).T @ d (count, columns) as a layer's gradient does it."""
    p, q = address(x, 0), address(d, 0)
    ahead = product.Ahead((p, q, p, q), 3, 0, (q, p, q, p), 16, 0)
    matrix_open()
    matrix.pack_inputs(p, x.shape[1], count, layout_columns(rows), address(b, 0))
    matrix.pack_deltas(q, d.shape[1], count, columns, address(a, 0))
    steps = matrix.steps_of(count)
    matrix.product_of_unit(address(a, 0), address(b, 0), steps, address(g, 0), rows, columns, adds, asks, ahead)
    matrix_close()


@njit(**FLAGS)
def layout_columns(rows):
    return (rows + SIDE - 1) // SIDE * SIDE


def floats(*shape):
    return layout.zeros(int(np.prod(shape)), np.dtype(np.float32)).reshape(shape)


def by_unit(x, d, start=product.FROM_ZERO, before=0.0, given=None):
    """x @ d, and what lies around it."""
    (rows, k), columns = x.shape, d.shape[1]
    whole = layout.round_up(max(k, 1), SIDE)
    left, right = np.zeros((rows, whole + SIDE), np.float32), np.zeros((whole + SIDE, columns), np.float32)
    left[:, :k], right[:k] = x, d
    c = np.full((rows + 2, columns + SIDE), before, np.float32)
    a, b = floats(matrix.packed(whole, rows + BLOCK) + 1), floats(matrix.packed(whole, columns) + 1)
    a[:] = b[:] = np.nan
    row = np.zeros(BLOCK, np.float32) if given is None else given
    multiply(left, right, whole, rows, columns, a, b, c, start, row)
    return c[:rows, :columns], c[rows:], c[:, columns:]


@has_matrix
@pytest.mark.parametrize("columns", [SIDE, BLOCK])
@pytest.mark.parametrize(("rows", "k"), [(1, 16), (4, 48), (31, 32), (32, 64), (33, 80), (64, 1000), (77, 128)])
def test_sums_are_those_of_float64_and_nothing_else_is_written(rows, k, columns, rng):
    x, d = data(rng, (rows, k)), data(rng, (k, columns))
    given = data(rng, (BLOCK,)).astype(np.float32)
    for start, begin in ((product.FROM_ZERO, 0.0), (product.FROM_ROW, given[:columns]), (product.FROM_TARGET, 3.0)):
        sums, below, beside = by_unit(x, d, start, 3.0, given)
        x32, d32 = x.astype(np.float32).astype(float), d.astype(np.float32).astype(float)
        expected = begin + x32 @ d32
        bound = sum_error(k, "float32") * (abs(x32) @ abs(d32) + abs(begin))
        assert (abs(sums - expected) <= bound).all()
        assert (below == 3.0).all()
        assert (beside == 3.0).all()


@has_matrix
def test_sums_are_closer_than_those_of_multiply_adds(rng):
    x, d = (data(rng, shape).astype(np.float32) for shape in ((64, 1024), (1024, 32)))
    exact = x.astype(float) @ d.astype(float)
    chain = np.zeros((64, 32), np.float32)
    for k in range(1024):
        chain += np.outer(x[:, k], d[k])
    unit = by_unit(x, d)[0]
    assert np.sqrt(((unit - exact) ** 2).mean()) < np.sqrt(((chain - exact) ** 2).mean())


@has_matrix
def test_every_number_is_the_sum_of_its_parts(rng):
    """Times 1 it comes back, all 24 bits, as far as they are above 2^-126 alone."""
    numbers = rng.standard_normal((32, 32)).astype(np.float32) * np.float32(2.0) ** rng.integers(-100, 120, (32, 32))
    numbers[0, :4] = [0.0, -0.0, 1 + 2**-23, 2**-86 * (1 + 2**-23)]
    assert np.array_equal(by_unit(numbers, np.eye(32, dtype=np.float32))[0], numbers)
    assert np.array_equal(by_unit(np.eye(32, dtype=np.float32), numbers)[0], numbers)


@has_matrix
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.float32(3.4e38)])
def test_what_is_not_finite_never_becomes_finite(bad, rng):
    x, d = data(rng, (32, 48)).astype(np.float32), data(rng, (48, 32)).astype(np.float32)
    x[5, 7] = bad
    sums = by_unit(x, d)[0]
    assert not np.isfinite(sums[5]).any()
    assert np.isfinite(np.delete(sums, 5, axis=0)).all()
    x[5, 7], d[7, 3] = 1.0, bad
    sums = by_unit(x, d)[0]
    assert not np.isfinite(sums[:, 3]).any()
    assert np.isfinite(np.delete(sums, 3, axis=1)).all()


@has_matrix
def test_a_nan_of_any_bits_stays_one(rng):
    x, d = data(rng, (32, 32)).astype(np.float32), data(rng, (32, 32)).astype(np.float32)
    for bits in (0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF80FFFF, 0x7FFF8000):
        x[3, 4] = np.array(bits, np.uint32).view(np.float32)
        assert np.isnan(by_unit(x, d)[0][3]).all()


@has_matrix
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("columns", [SIDE, BLOCK])
@pytest.mark.parametrize(("count", "rows"), [(0, 48), (1, 48), (16, 1), (31, 17), (128, 48), (130, 40), (300, 32)])
def test_gradients_are_those_of_float64(count, rows, columns, asks, rng):
    whole = layout.round_up(rows, SIDE)
    x, d = np.zeros((count, whole), np.float32), data(rng, (count, columns)).astype(np.float32)
    x[:, :rows] = data(rng, (count, rows))
    exact, bound = (f(x[:, :rows].astype(float)).T @ f(d.astype(float)) for f in (np.asarray, abs))
    a, b = floats(matrix.packed(count, columns)), floats(matrix.packed(count, PIECE))
    a[:] = b[:] = np.nan
    for adds in (False, True):
        g = floats(PIECE + 1, columns)
        g[:] = 2.0
        multiply_unit(x, d, count, rows, columns, a, b, g, adds, asks)
        error = abs(g[:rows] - exact - (2.0 if adds else 0.0))
        assert (error <= sum_error(count + 8, "float32") * (bound + 2.0)).all()
        assert (g[whole:] == 2.0).all()


@has_matrix
def test_the_loop_keeps_sums_in_tile_registers():
    multiply.compile("void(f4[:, ::1], f4[:, ::1], i8, i8, i8, f4[::1], f4[::1], f4[:, ::1], i8, f4[::1])")
    loops = [loop for loop in inner_loops(assembly_of(multiply)) if any("tdpbf16ps" in line for line in loop)]
    counts = [tuple(sum(name in line for line in loop) for name in ("tdpbf16ps", "tileload")) for loop in loops]
    assert (24, 14) in counts
    assert not [line for loop in loops for line in loop if "tilestore" in line or "(%rsp" in line]


@pytest.mark.parametrize("is_there", [False, True])
def test_which_layers_take_the_unit(is_there, monkeypatch):
    monkeypatch.setattr(machine, "HAS_MATRIX", is_there)
    net = fn.MLP([784, 1024, 1024, 10], activation="relu")

    def of(net, rows, parts=0, codes=(0, 0, 0)):
        return division.by_matrix(net, codes, rows, parts)

    assert of(net, 256) == [is_there, is_there, False]
    assert of(net, 256, codes=(DROPOUT, DROPCONNECT, 0)) == [is_there, False, False]
    narrower = fn.MLP([784, 512, 512, 10], activation="relu")
    assert of(net, 128) == of(net, 140) == of(net, 200) == [is_there, is_there, False]
    assert not any(of(net, 127) + of(net, 139) + of(narrower, 128) + of(narrower, 223))
    assert of(narrower, 224) == of(narrower, 128, parts=16) == [is_there, is_there, False]
    assert not any(of(fn.MLP([784, 1024, 1024, 10], activation="relu", dtype="float64"), 256))
    smaller = fn.MLP([784, 1024, 1024, 10], activation="relu", dropout=fn.Dropout(0.5, "batch"))
    assert not any(of(smaller, 256))
    assert of(fn.MLP([784, 1024, 1024, 10], activation="relu", dropout=0.5), 256) == [is_there, is_there, False]
    assert not any(of(fn.MLP([784, 100, 100, 10], activation="relu"), 256))


@pytest.mark.skipif(machine.VECTOR_BYTES != 64, reason="panels are as wide as blocks with vectors of 512 bits alone")
@pytest.mark.parametrize("packed", [0, 1 << 20])
@pytest.mark.parametrize("rows", [1, 33, 224, 512, 3000])
def test_the_scratch_has_room_for_what_is_packed(rows, packed):
    plan = layout.parameters([300, 300, 300], [0, 0], np.dtype(np.float32))
    size = layout.workspace(plan, rows, 2, by_matrix=[True, True], packed=packed).scratch_size
    assert size >= PIECE * BLOCK + matrix.packed(rows, PIECE) + matrix.packed(rows, BLOCK)
    assert size >= 3 * matrix.packed(layout.MATRIX_DEPTH, BLOCK)


@has_matrix
def test_code_for_the_unit_is_kept_apart(tmp_path):
    """A process that the system refuses its registers must not load it."""
    code = "from fastnn_kernels import cache; print(cache.cache_folder().name)"
    own, others = (python(code, FASTNN_CACHE_DIR=tmp_path, **names).stdout.strip() for names in ({}, OTHERS))
    assert own == others + "-matrix"
