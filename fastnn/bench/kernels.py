"""Every kernel by itself: what there is to time, with the operations and the bytes that it cannot avoid.

A Case runs its kernel again and again inside one compiled call, on data of its own, so that no call from Python is
timed with it. Products run through a session as training opens it; activations, losses and optimizers are those that
the families of the API name, so that a new one is timed without a word here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

import fastnn as fn
from fastnn import activations, losses, optimizers, session
from fastnn.bench.case import Case
from fastnn.bench.layer_kernels import LAYER_KERNELS, layer_kernel
from fastnn.errors import InputError
from fastnn.fitted import Fitted
from fastnn.job import Part
from fastnn.reading import Reader
from fastnn_kernels import activation, optimizer, output, rng
from fastnn_kernels.gradient import gradients
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.lines import stretch
from fastnn_kernels.native import address, lanes, load, store
from fastnn_kernels.passes import Now, delta_by_rows, feed_by_rows
from fastnn_kernels.work import OPTIMIZER, open_work

DTYPES = ("float32", "float64")
PRODUCTS = ("feed", "delta", "gradient")
RANDOM = ("philox", "uniforms", "normals", "shuffle")
SHAPES = (
    (32, 8, 64),
    (32, 64, 64),
    (32, 784, 128),
    (128, 784, 128),
    (128, 128, 10),
    (256, 784, 1024),
    (256, 1024, 1024),
    (512, 2048, 2048),
    (1024, 64, 256),
    (1024, 256, 256),
    (512, 1024, 1024),
    (31, 783, 130),
    (31, 130, 11),
    (250, 1000, 777),
    (250, 777, 3),
)
"""Rows, n_in, n_out: the layers of the workloads, a square one that caches hold, and odd ones."""

TILE = (64, 32)  # rows, columns: about what an activation finds where a product has just left it
CLASSES = 10
LOSS_ROWS = 256
UPDATED = 4096  # parameters
DRAWN = 8192

OPERATIONS = {
    "threshold": 2,
    "sigmoid": 26,
    "tanh": 30,
    "relu": 1,
    "leaky_relu": 2,
    "elu": 28,
    "softplus": 50,
    "softmax": 26,
    "gelu": 40,
    "silu": 27,
    "mse": 4,
    "half_mse": 4,
    "mae": 4,
    "binary_cross_entropy": 75,
    "cross_entropy": 30,
    "sgd": 2,
    "momentum": 4,
    "nesterov": 6,
    "adagrad": 9,
    "rmsprop": 10,
    "adam": 16,
    "adamw": 17,
    "nadam": 19,
    "amsgrad": 17,
}
"""Operations an element, about, a multiply-add counted as two: what places a kernel in the roofline, no more."""

OPERATIONS_OF_OTHERS = 10
OPERATIONS_OF_DELTA = 3
WITHOUT_DELTA = ("linear", "threshold", "softmax")  # their deltas pass as they are, or not element by element


def cases(dtype: str = "float32") -> Iterator[Case]:
    """Every kernel in one dtype, the products over all SHAPES."""
    for shape in SHAPES:
        for name in PRODUCTS:
            yield product(name, shape, dtype)
    for name in activations.family.names:
        yield activation_feed(name, dtype)
        if name not in WITHOUT_DELTA:
            yield activation_delta(name, dtype)
    for name in LAYER_KERNELS:
        yield layer_kernel(name, dtype)
    for name in losses.family.names:
        yield loss_of_rows(name, dtype)
    for name in optimizers.family.names:
        yield update(name, dtype)
    for name in RANDOM:
        yield random_numbers(name)


# Products


@njit(**FLAGS)
def _feed(params, addresses, layer, rows, repeats):
    work = open_work(params, addresses, None)
    for _ in range(repeats):
        feed_by_rows(work, layer, 0, rows, activation.LINEAR, Now(1, 0, True, rows, 0, 1))


@njit(**FLAGS)
def _delta(params, addresses, layer, rows, repeats):
    work = open_work(params, addresses, None)
    for _ in range(repeats):
        delta_by_rows(work, layer, 0, rows, Now(1, 0, True, rows, 0, 1))


@njit(**FLAGS)
def _gradient(params, addresses, layer, rows, repeats):
    work = open_work(params, addresses, None)
    rates = optimizer.rates(work.numbers[OPTIMIZER], work.constants, 1)
    for _ in range(repeats):
        gradients(work, 0, 1, rates, rows, True, True, rows, 1)


_COMPILED = {"feed": _feed, "delta": _delta, "gradient": _gradient}


def product(name: str, shape: tuple[int, int, int], dtype: str) -> Case:
    """feed, delta or gradient of a linear layer; shape: rows, n_in, n_out. On one thread.

    The delta needs a layer below to flow to: it goes into a first layer of one input.
    """
    rows, n_in, n_out = shape
    net = fn.MLP([1, n_in, n_out] if name == "delta" else [n_in, n_out], activation="linear", dtype=dtype)
    X = np.zeros((rows, net.n_in), dtype)
    opened = session.open_session(net, Part.of(X), losses.MSE(), rows, threads=1, gradient=np.zeros_like(net.params))
    arrays = opened.arrays
    arrays.space[:] = np.random.default_rng(0).standard_normal(arrays.space.size) * 0.1
    compiled, layer = _COMPILED[name], 1
    moved = net.dtype.itemsize * (rows * n_in + n_in * n_out + rows * n_out)
    addresses = arrays.addresses()

    def run(repeats: int) -> None:
        compiled(arrays.params, addresses, layer, rows, repeats)

    elements = {"feed": rows * n_out, "delta": rows * n_in, "gradient": n_in * n_out}[name]
    text = "x".join(map(str, shape))
    return Case("product", name, text, dtype, elements, 2.0 * rows * n_in * n_out, moved, moved, run)


def blas(name: str, shape: tuple[int, int, int], dtype: str) -> Case:
    """The same product by NumPy, whose BLAS packs its operands at every call."""
    rows, n_in, n_out = shape
    random = np.random.default_rng(0)
    x, w, d = (random.standard_normal(s).astype(dtype) for s in ((rows, n_in), (n_in, n_out), (rows, n_out)))
    a, b = {"feed": (x, w), "delta": (d, w.T), "gradient": (x.T, d)}[name]
    out = np.empty((len(a), b.shape[1]), dtype)
    moved = x.nbytes + w.nbytes + d.nbytes

    def run(repeats: int) -> None:
        for _ in range(repeats):
            np.matmul(a, b, out=out)

    text = "x".join(map(str, shape))
    return Case("product", f"{name} (BLAS)", text, dtype, out.size, 2.0 * rows * n_in * n_out, moved, moved, run)


# Activations


@njit(**FLAGS)
def _activate(code, beta, source, z, repeats):
    rows, width = z.shape
    p, q = address(source, 0), address(z, 0)
    for _ in range(repeats):
        for i in range(0, z.size, lanes(q)):
            store(q + i, load(p + i))
        output.activate(code, beta, q, width, rows, width, width)


@njit(**FLAGS)
def _flow_back(code, beta, source, d, a, repeats):
    rows, width = d.shape
    p, q, r = address(source, 0), address(d, 0), address(a, 0)
    for _ in range(repeats):
        for i in range(0, d.size, lanes(q)):
            store(q + i, load(p + i))
        activation.delta(code, beta, q, r, width, rows, width)


def activation_feed(name: str, dtype: str) -> Case:
    """A tile of z is copied to where the product would have left it, then activated in place; linear: the copy."""
    code, beta = activation.CODES[name], 0.5
    source = _tile(dtype)
    z = np.empty_like(source)
    operations = 0 if name == "linear" else OPERATIONS.get(name, OPERATIONS_OF_OTHERS)
    return _on_a_tile(f"{name} feed", source, operations, 2, lambda n: _activate(code, beta, source, z, n))


def activation_delta(name: str, dtype: str) -> Case:
    """A tile of d is copied, then multiplied by g(a)."""
    code, beta = activation.CODES[name], 0.5
    source = _tile(dtype)
    d, a = np.empty_like(source), np.abs(_tile(dtype)) * source.dtype.type(0.25)
    return _on_a_tile(
        f"{name} delta", source, OPERATIONS_OF_DELTA, 3, lambda n: _flow_back(code, beta, source, d, a, n)
    )


def _on_a_tile(name: str, tile: np.ndarray, operations: int, arrays: int, run: Callable) -> Case:
    text, size = "x".join(map(str, TILE)), arrays * tile.nbytes
    return Case("activation", name, text, str(tile.dtype), tile.size, float(operations * tile.size), size, size, run)


def _tile(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(TILE).astype(dtype)


# Losses


@njit(**FLAGS)
def _losses(params, addresses, rows, repeats):
    work = open_work(params, addresses, None)
    for _ in range(repeats):
        output.losses(work, 0, rows, 0, 1.0 / rows)


def loss_of_rows(name: str, dtype: str) -> Case:
    """Loss and delta of LOSS_ROWS rows of CLASSES outputs, from the logits, one-hot targets and hits included."""
    net, part, loss = _loss_setting(name, dtype)
    opened = session.open_session(net, part, loss, LOSS_ROWS, threads=1)
    arrays = opened.arrays
    arrays.space[:] = np.random.default_rng(0).standard_normal(arrays.space.size)
    addresses = arrays.addresses()

    def run(repeats: int) -> None:
        _losses(arrays.params, addresses, LOSS_ROWS, repeats)

    elements = LOSS_ROWS * CLASSES
    flops = float(elements * OPERATIONS.get(name, OPERATIONS_OF_OTHERS))
    size = elements * net.dtype.itemsize
    return Case("loss", name, f"{LOSS_ROWS}x{CLASSES}", dtype, elements, flops, 4 * size, 3 * size, run)


def _loss_setting(name: str, dtype: str) -> tuple[fn.MLP, Any, losses.Loss]:
    """A network that the loss goes with, and targets that it takes: found by trying."""
    random = np.random.default_rng(0)
    shape = (LOSS_ROWS, CLASSES)
    X = np.zeros((LOSS_ROWS, 1), dtype)
    targets = (random.standard_normal(shape), random.random(shape), np.arange(LOSS_ROWS) % CLASSES)
    refusals = []
    for result in ("linear", "sigmoid", "softmax"):
        net = fn.MLP([1, CLASSES], output=result, dtype=dtype)
        for y in targets:
            reader = Reader(net, Fitted())
            try:
                loss = reader.loss(name)
                return net, reader.part(X, y, loss), loss
            except InputError as error:
                refusals.append(str(error))
    raise InputError(f"no output and targets were found for the loss {name}: {refusals[-1]}")


# Optimizers


@njit(**FLAGS)
def _update(code, constants, w, state, g, repeats):
    rates = optimizer.rates(code, address(constants, 0), 10)
    for _ in range(repeats):
        lines = stretch(address(w, 0), w.size)
        optimizer.update(code, rates, lines, address(w, 0), address(state, 0), w.size, address(g, 0))


def update(name: str, dtype: str) -> Case:
    """The update of UPDATED parameters."""
    chosen = optimizers.family.get(name)
    code, constants, states = chosen.code, chosen.constants(), optimizer.states(chosen.code)
    random = np.random.default_rng(0)
    w, g = (random.standard_normal(UPDATED).astype(dtype) for _ in range(2))
    state = np.full(max(states, 1) * UPDATED, 0.5, dtype)
    flops = float(UPDATED * OPERATIONS.get(name, OPERATIONS_OF_OTHERS))
    moved, working_set = (3 + 2 * states) * w.nbytes, (2 + states) * w.nbytes

    def run(repeats: int) -> None:
        _update(code, constants, w, state, g, repeats)

    return Case("optimizer", name, str(UPDATED), dtype, UPDATED, flops, moved, working_set, run)


# Random numbers


@njit(**FLAGS)
def _philox(out, repeats):
    for r in range(repeats):
        for i in range(0, out.size, 4):
            words = rng.philox(np.uint64(i), np.uint64(r), np.uint64(0), np.uint64(0), np.uint64(1), np.uint64(2))
            out[i], out[i + 1], out[i + 2], out[i + 3] = words


@njit(**FLAGS)
def _uniforms(out, repeats):
    for r in range(repeats):
        rng.uniforms(address(out, 0), out.size, 0, r, 0, 1)


@njit(**FLAGS)
def _normals(out, repeats):
    for r in range(repeats):
        rng.normals(address(out, 0), out.size, 0, r, 0, 1)


@njit(**FLAGS)
def _shuffle(out, repeats):
    for r in range(repeats):
        rng.shuffle(address(out, 0), out.size, 1, r)


_DRAWS = {"philox": _philox, "uniforms": _uniforms, "normals": _normals, "shuffle": _shuffle}
_DRAWN_AS = {"philox": np.uint32, "uniforms": np.float32, "normals": np.float32, "shuffle": np.int64}


def random_numbers(name: str) -> Case:
    """DRAWN words of 32 bits, uniform or normal numbers, or the shuffle of so many indices."""
    draw, out = _DRAWS[name], np.arange(DRAWN).astype(_DRAWN_AS[name])
    moves = 2 if name == "shuffle" else 1
    moved = moves * out.nbytes
    return Case("random", name, str(DRAWN), str(out.dtype), DRAWN, 0.0, moved, out.nbytes, lambda n: draw(out, n))
