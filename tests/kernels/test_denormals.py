"""Denormal numbers are 0 while a network computes, and what they were for everybody else."""

import numpy as np
import pytest
from helpers import DTYPES
from numba import njit

import fastnn as fn
from fastnn_kernels import jit, machine
from fastnn_kernels.native import denormals, flush_denormals, restore_denormals

flushes = pytest.mark.skipif(
    not (machine.IS_X86 or denormals.IS_ARM), reason="only x86-64 and 64-bit Arm are told to flush denormal numbers"
)


@njit(**jit.FLAGS)
def products(x, y):
    """x times y before, while and after denormal numbers are 0."""
    before = x[0] * y[0]
    state = flush_denormals()
    meanwhile = x[1] * y[1]
    restore_denormals(state)
    return before, meanwhile, x[2] * y[2]


@flushes
@pytest.mark.parametrize("dtype", DTYPES)
def test_only_between_the_two_calls(dtype):
    smallest = np.finfo(dtype).smallest_normal
    before, meanwhile, after = products(np.full(3, smallest, dtype), np.full(3, 0.5, dtype))
    assert before == after == smallest / 2 > 0
    assert meanwhile == 0


@flushes
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_0_and_the_caller_keeps_its_denormals(threads, dtype):
    smallest = np.finfo(dtype).smallest_normal
    net = fn.MLP([1, 1], dtype=dtype)
    net.set_weights([(np.full((1, 1), smallest, dtype), np.zeros(1, dtype))])
    X = np.full((200, 1), 0.5, dtype)
    assert not net.predict(X).any()
    assert not net.activations(X)[0].any()
    net.fit(X, np.zeros((200, 1), dtype), optimizer=fn.SGD(1e-30), epochs=1, threads=threads, progress=False)
    assert (np.full(8, smallest, dtype) * X[:8, 0] > 0).all()
