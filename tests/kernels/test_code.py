"""The code that kernels become: what would be slow and still right."""

import itertools
import re

import pytest
from helpers import DTYPES, compiled_by
from numba import njit

from fastnn_kernels import activation, epoch, jit, machine, product
from fastnn_kernels.native import address


def multiply(a, b, c, depth, rows, width):
    p, q, out, start = address(a, 0), address(b, 0), address(c, 0), product.FROM_ZERO
    product.product_rows(p, depth, q, width, out, width, depth, rows, width, start, p)
    product.product_columns(p, rows, q, width, out, width, depth, rows, width, start, p)


def inner_loops(assembly):
    """The lines of every loop that has no loop inside: from a label to the jump back to it."""
    lines = assembly.splitlines()
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    jumps = ((re.match(r"\s+j\w+\s+(\.L\w+)", line), i) for i, line in enumerate(lines))
    loops = [(labels[jump[1]], i) for jump, i in jumps if jump and labels.get(jump[1], i) < i]
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[first : last + 1] for first, last in inner]


def product_loops(function, signature, dtype):
    """The inner loops of a compiled function that multiply vectors, each with its number of multiplications."""
    function.compile(signature)
    multiplication = re.compile(rf"\sv?(fmadd\w+|mul){'ps' if dtype == 'float32' else 'pd'}\s")
    counted = [(loop, sum(map(bool, map(multiplication.search, loop)))) for loop in inner_loops(assembly_of(function))]
    return [(loop, count) for loop, count in counted if count]


def assembly_of(function):
    (assembly,) = function.inspect_asm().values()
    return assembly


def spills(loop):
    """The lines that move a vector register from or to the stack."""
    return [line for line in loop if "(%rsp" in line and re.search(r"%[xyz]mm", line)]


reads_x86 = pytest.mark.skipif(not machine.IS_X86, reason="reads the instructions of x86-64 processors")


@reads_x86
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_loop_of_the_products_spills(dtype):
    array = {"float32": "f4", "float64": "f8"}[dtype]
    loops = product_loops(
        njit(multiply, **jit.FLAGS), f"void({array}[::1], {array}[::1], {array}[::1], i8, i8, i8)", dtype
    )
    assert max(count for _, count in loops) >= product.STEPS * 2 * 3 * machine.UNIT, (
        "the tall tile's loop was not found"
    )
    assert not [spills(loop) for loop, _ in loops if spills(loop)]


@reads_x86
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("by_columns", "height", "vectors"), [*itertools.product([False, True], [1, 2, 3], [1, 2]), (True, 4, 1)]
)
@pytest.mark.parametrize("asks", [False, True])
def test_every_tile_stays_in_whole_registers(by_columns, asks, height, vectors, dtype):
    tile = product._tile(by_columns, height * machine.UNIT, vectors, asks)

    def one(a, b, c, depth, stride, a_stride):
        p = address(a, 0)
        ahead = product.Ahead(p, stride, 0, p, a_stride, 0)
        tile(p, a_stride, address(b, 0), stride, address(c, 0), stride, depth, product.FROM_ZERO, p, ahead)

    array = {"float32": "f4", "float64": "f8"}[dtype]
    loops = product_loops(njit(one, **jit.FLAGS), f"void({array}[::1], {array}[::1], {array}[::1], i8, i8, i8)", dtype)
    steps = product.STEPS if height < 4 else 1
    assert any(count >= steps * height * machine.UNIT * vectors for _, count in loops), "the tile's loop was not found"
    register = {64: "%zmm", 32: "%ymm", 16: "%xmm"}[machine.VECTOR_BYTES]
    for loop, _ in loops:
        assert not spills(loop)
        assert any(register in line for line in loop)


def activate(codes, z, d):
    p, q = address(z, 0), address(d, 0)
    for code in codes:
        activation.feed(code, 0.5, p, 64, 64, 64)
        activation.delta(code, 0.5, q, p, 64, 64, 64)


@reads_x86
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_changes_a_vector_in_place_writes_all_of_it(dtype):
    """A masked store takes some processors a dozen cycles, and no load is served from it."""
    array, function = {"float32": "f4", "float64": "f8"}[dtype], njit(activate, **jit.FLAGS)
    function.compile(f"void(i8[::1], {array}[::1], {array}[::1])")
    assembly = assembly_of(function)
    assert re.search(r"\sv?maxp[sd]\s", assembly), "the rectifier was not found"
    assert not re.findall(r"\sv?maskmov\w*\s.*\)$|\svmov\w+\s.*\)\s*\{%k.*", assembly, re.MULTILINE)


@pytest.mark.parametrize("extras", [None, True], ids=["plain", "extras"])
@pytest.mark.parametrize("entry", [epoch.train, epoch.train_singly], ids=["batches", "samples"])
def test_training_in_float32_has_no_vector_of_float64(entry, extras):
    code = {one.library.name: str(one.library._final_module) for one in compiled_by(entry, extras)}
    assert any(re.search(r"fmul <\d+ x float>", text) for text in code.values())
    assert not [name for name, text in code.items() if re.search(r"<\d+ x double>", text)]


def test_kernels_of_one_factory_have_names_of_their_own_in_every_process():
    """One name for two functions: of two entries from the cache, the later would take the other's code."""

    def names():
        variants = itertools.product([False, True], [machine.UNIT, 3 * machine.UNIT], [1, 2], [False, True])
        tiles = [product._tile(*variant) for variant in variants]
        return [kernel.__wrapped__.__qualname__ for kernel in (*tiles, product._tiles(True, 2, False))]

    assert len(set(names())) == len(names())
    assert names() == names()
