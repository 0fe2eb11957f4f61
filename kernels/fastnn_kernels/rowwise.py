"""Activations that take whole rows of a layer: noisy ReLU, whose numbers are drawn by rows, and the users' own.

A user's function is machine code at an address: f(z, a, n) writes n outputs, g(z, d, n) multiplies n deltas by the
derivative; both return how many they have done, fewer where the user's code raised an exception. Calling it once a row
lets its loop run long. Both are applied before the output's other work, in the last
layer too: noisy ReLU's outputs pass through the second max(0, a) of output.py unchanged, and own functions have none.
"""

from numba import types

from fastnn_kernels.activation import CUSTOM, LINEAR, NOISY_RELU
from fastnn_kernels.elementary import sigmoid
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import DERIVATIVE, DRAWS, FUNCTION, N_OUT, STRIDE, WIDTH, A, D, Z
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import fill, fma, lanes, load, maximum, sqrt, store
from fastnn_kernels.native.call import call
from fastnn_kernels.rng import GROUP, normals
from fastnn_kernels.rng import NOISY_RELU as STREAM
from fastnn_kernels.team import fail
from fastnn_kernels.work import SEED, at, sample_at


@kernel
def applies(act, now):
    """Whether a layer's activation is done here."""
    return act == CUSTOM or (act == NOISY_RELU and now.is_training)


@kernel
def before_output(act):
    """What the last layer's feed applies at once, where other activations wait for the loss."""
    return act if act in (CUSTOM, NOISY_RELU) else LINEAR


@kernel
def keep_z(work, layer, first, rows, column, columns):
    """Copy a block of pre-activations beside A, where the derivative needs them."""
    if at(work, layer, Z) == at(work, layer, A):
        return
    stride = at(work, layer, STRIDE)
    z = work.space + (at(work, layer, A) + first * stride + column)
    kept = work.space + (at(work, layer, Z) + first * stride + column)
    for _ in range(rows):
        for j in range(0, columns, lanes(z)):
            store(kept + j, load(z + j))
        z = z + stride
        kept = kept + stride


@extra(types.none)
def feed(work, layer, first, last, act, now):
    """A of the rows first to last, from their pre-activations in A."""
    if act == CUSTOM:
        feed_custom(work, layer, first, last)
    else:
        _noisy_relu(work, layer, first, last, now)


@kernel
def _noisy_relu(work, layer, first, last, now):
    """a = max(0, z + sqrt(sigmoid(z)) n), n standard normal. first is a multiple of UNIT: no thread shares the room."""
    width, stride, seed = at(work, layer, WIDTH), at(work, layer, STRIDE), work.numbers[SEED]
    room = (width + GROUP - 1) // GROUP * GROUP
    noise = work.space + (at(work, layer, DRAWS) + first // UNIT * room)
    z = work.space + (at(work, layer, A) + first * stride)
    for row in range(first, last):
        normals(noise, at(work, layer, N_OUT), STREAM + layer, sample_at(work, now.start + row), now.t, seed)
        for j in range(0, width, lanes(z)):
            value = load(z + j)
            store(z + j, maximum(fill(z, 0.0), fma(sqrt(sigmoid(value)), load(noise + j), value)))
        z = z + stride


@kernel
def feed_custom(work, layer, first, last):
    """A from Z by the user's function."""
    _call_by_rows(work, layer, at(work, layer, FUNCTION), A, first, last)


@extra(types.none)
def delta(work, layer, first, last):
    """D times the user's derivative."""
    _call_by_rows(work, layer, at(work, layer, DERIVATIVE), D, first, last)


@kernel
def _call_by_rows(work, layer, function, column, first, last):
    """The user's function on rows of Z; column: of the table, for where it writes."""
    n, stride = at(work, layer, N_OUT), at(work, layer, STRIDE)
    for row in range(first, last):
        z = work.space + (at(work, layer, Z) + row * stride)
        done = call(function, z, work.space + (at(work, layer, column) + row * stride), n)
        if done < n:
            fail(work.words, layer, z[done], 0.0)
