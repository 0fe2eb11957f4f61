"""The code that kernels become: what would be slow and still right."""

import re

import numpy as np
import pytest
from numba import njit, typeof

from fastnn import session
from fastnn_kernels import dense, epoch, jit, machine
from fastnn_kernels.native import address


@njit(**jit.FLAGS)
def product(a, b, c, depth, rows, width):
    p = address(a, 0)
    dense.product_rows(p, depth, 1, address(b, 0), width, address(c, 0), width, depth, rows, width, dense.FROM_ZERO, p)


def inner_loops(assembly):
    """The lines of every loop that has no loop inside: from a label to the jump back to it."""
    lines = assembly.splitlines()
    labels = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    jumps = ((re.match(r"\s+j\w+\s+(\.L\w+)", line), i) for i, line in enumerate(lines))
    loops = [(labels[jump[1]], i) for jump, i in jumps if jump and labels.get(jump[1], i) < i]
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[first : last + 1] for first, last in inner]


@pytest.mark.skipif(not machine.IS_X86, reason="reads the instructions of x86-64 processors")
def test_tiles_stay_in_registers_in_the_inner_loop():
    product.compile("void(f4[::1], f4[::1], f4[::1], i8, i8, i8)")
    (assembly,) = product.inspect_asm().values()
    products = [
        loop for loop in inner_loops(assembly) if any(re.search(r"\sv?(fmadd\w+|mul)ps\s", line) for line in loop)
    ]
    most = max(sum(bool(re.search(r"\sv?(fmadd\w+|mul)ps\s", line)) for line in loop) for loop in products)
    assert most >= 2 * 3 * machine.UNIT, "the tall tile's loop was not found"
    for loop in products:
        assert not [line for line in loop if "(%rsp" in line and re.search(r"%[xyz]mm", line)]


def test_training_in_float32_has_no_vector_of_float64():
    args = session.entries(np.dtype(np.float32))[epoch.train]
    whole = jit.kernel(epoch.train.py_func).lowered(tuple(typeof(arg) for arg in args))
    modules, waiting = {}, [whole]
    while waiting:
        one = waiting.pop()
        if one not in modules:
            modules[one] = str(one.library._final_module)
            waiting.extend(one.calls)
    assert any(re.search(r"fmul <\d+ x float>", code) for code in modules.values())
    names = [one.library.name for one, code in modules.items() if re.search(r"<\d+ x double>", code)]
    assert not names
