"""The three products of a dense layer by NVIDIA's cuBLAS, in place of the loops of dense.py.

feed      Z (rows, n_out) = X W goes to A; then a kernel does to every element what the loops do to a sum
delta     dX (rows, n_in) = dZ W.T goes to D; then the same
gradient  a kernel writes db, and 0 where the padding of dW lies; then dW (n_in, n_out) = X.T dZ goes to PARTIAL, in
          one part

The library multiplies as many rows as a pass can have: how many it has, only the device knows. What it leaves in rows
beyond COUNT nobody reads; for the gradient, which adds up all rows, they are made 0 before, in X and in dZ.

cuBLAS counts along columns. A matrix that lies here row by row is to it the transposed one, and c = a b is to it
c.T = b.T a.T.

The same bits from run to run: a handle has one stream at a time and memory of its own, and uses no atomics. Source:
cuBLAS, "Results reproducibility".
"""

import weakref
from contextlib import suppress
from typing import Any

import numpy as np

from fastnn_kernels.cuda import memory
from fastnn_kernels.cuda.dense import bias, finish_delta, finish_feed, finish_gradient
from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel, place
from fastnn_kernels.cuda.element import feeding, leading_back
from fastnn_kernels.cuda.native import shared
from fastnn_kernels.cuda.product import Places
from fastnn_kernels.cuda.work import COUNT, PARTIAL, Pass, at
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, D

WORKSPACE = 32 << 20  # bytes: what cuBLAS takes for itself on Hopper, its largest

# cuBLAS' own numbers.
AS_IT_IS, TRANSPOSED = 0, 1  # cublasOperation_t
FULL, TF32 = 0, 3  # cublasMath_t

THREADS = 256
COLUMNS = 8  # of a block that adds up db: as many numbers as memory hands over at once
TEAMS = 64  # of rows that it adds up side by side
BLOCK = COLUMNS * TEAMS

_COLUMNS, _BLOCK, _ZERO, _ONE = np.uint32(COLUMNS), np.uint32(BLOCK), np.uint32(0), np.uint32(1)


def find() -> Any:
    """The binding of cuBLAS, nvmath.bindings.cublas. Raises ImportError, and RuntimeError where it finds no cuBLAS."""
    from nvmath.bindings import cublas

    cublas.get_status_name(0)  # the first call loads the library
    return cublas


class Cublas:
    """What multiplies for the passes of one network at a time, where a Pass has it as its library.

    binding: of `find`; tf32: whether factors of float32 products are rounded to TF32, 10 bits behind the point. The
    device is not touched before `open`.
    """

    def __init__(self, binding: Any, tf32: bool = False) -> None:
        self._binding, self._math = binding, TF32 if tf32 else FULL
        self._room: Any = None
        self._handle = 0
        self._factors = {size: np.array([1, 0], f"f{size}") for size in (4, 8)}  # of a product and of what c has been

    @property
    def needs(self) -> int:
        """Bytes that `open` is going to take."""
        return WORKSPACE if self._room is None else 0

    def open(self) -> None:
        """Take memory and a handle, once: a graph cannot be recorded while they are taken."""
        if self._room is not None:
            return
        room = memory.empty(WORKSPACE, np.uint8)
        with memory.translated():
            self._handle = self._binding.create()
            self._destroy = weakref.finalize(self, _destroy, self._binding, self._handle)
            self._destroy.atexit = False
            self._binding.set_math_mode(self._handle, self._math)
        self._room = room

    def close(self) -> None:
        """Give both back. What waited for the garbage collector might go while another fit records a graph, and cuBLAS
        waits for the device before it goes."""
        if self._room is not None:
            self._destroy()
            self._room = None

    def feed(self, p: Pass, layer: int, b: Any, places: Places) -> None:
        """See dense.feed; b: the weights' array; places: of A below and the weights in it."""
        self._multiply(p, b, places, AS_IT_IS, AS_IT_IS, p.at(layer, A), p.at(layer, STRIDE))
        _launch(_feed_kernel, p, layer)

    def delta(self, p: Pass, layer: int, b: Any, places: Places) -> None:
        """See dense.delta; b: the weights' array; places: of D above and the weights in it."""
        self._multiply(p, b, places, AS_IT_IS, TRANSPOSED, p.at(layer, D), p.at(layer, STRIDE))
        _launch(_delta_kernel, p, layer)

    def gradient(self, p: Pass, layer: int, places: Places) -> None:
        """See dense.gradient; places: of A below and D, the padding among their columns."""
        blocks = blocks_for(p.at(layer, WIDTH), COLUMNS)
        _around_kernel[blocks, BLOCK, p.stream](p.work, np.uint32(layer), np.uint32(p.rows))
        places = places._replace(m=p.at(layer, N_IN), n=p.at(layer, N_OUT))
        self._multiply(p, p.work.space, places, TRANSPOSED, AS_IT_IS, p.at(layer, PARTIAL), p.at(layer, WIDTH))

    def _multiply(self, p: Pass, b: Any, places: Places, a_is: int, b_is: int, c: int, c_stride: int) -> None:
        """c (m, n) = a b, row by row in the workspace; a_is, b_is: whether a lies as (m, depth) or transposed, and b as
        (depth, n) or transposed."""
        binding, handle, size, space = self._binding, self._handle, p.dtype.itemsize, memory.address(p.work.space)
        a_start, a_stride, b_start, b_stride, m, n, depth = (int(number) for number in places)
        first, second = space + a_start * size, memory.address(b) + b_start * size
        one, result = self._factors[size].ctypes.data, space + c * size
        gemm = binding.sgemm if size == 4 else binding.dgemm
        with memory.translated():
            binding.set_stream(handle, memory.handle(p.stream))
            binding.set_workspace(handle, memory.address(self._room), WORKSPACE)  # set_stream takes it away
            gemm(handle, b_is, a_is, n, m, depth, one, second, b_stride, first, a_stride, one + size, result, c_stride)


def _destroy(binding: Any, handle: int) -> None:
    with suppress(Exception):  # the device may be lost
        binding.destroy(handle)


def _launch(finish: Any, p: Pass, layer: int) -> None:
    finish[blocks_for(p.rows * p.at(layer, N_OUT), THREADS), THREADS, p.stream](p.work, np.uint32(layer))


def _finishing(key: str, column: int, ask: Any, finish: Any) -> Any:
    """The kernel that does to the sums in a block of the workspace what product.py's do in the end."""

    def run(work, layer):
        n = at(work, layer, N_OUT)
        row, j = place() // n, place() % n
        if row < np.uint32(work.now[COUNT]):
            total = work.space[at(work, layer, column) + row * at(work, layer, STRIDE) + j]
            finish(work, layer, ask(work, layer), _ZERO, row, j, total)

    return kernel(run, key)


_feed_kernel = _finishing("cublas.feed", A, feeding, finish_feed)
_delta_kernel = _finishing("cublas.delta", D, leading_back, finish_delta)


@device
def _clear(work, start, stride, rows):
    """0 in the rows of a block of the workspace from COUNT on."""
    i = np.uint32(work.now[COUNT]) * stride + place()
    while i < rows * stride:
        work.space[start + i] = work.params.dtype.type(0)
        i += np.uint32(cuda.gridDim.x) * _BLOCK


@device
def _pad(work, layer):
    """The gradient of the padding: columns from n_out on, and rows from n_in on."""
    real, width, depth = work.params.dtype.type, at(work, layer, WIDTH), at(work, layer, DEPTH)
    n_out, step = at(work, layer, N_OUT), np.uint32(cuda.gridDim.x) * _BLOCK
    columns, i = width - n_out, place()
    while i < depth * columns:
        finish_gradient(work, layer, layer, _ZERO, i // columns, n_out + i % columns, real(0))
        i += step
    i = at(work, layer, N_IN) * width + place()
    while i < depth * width:
        finish_gradient(work, layer, layer, _ZERO, i // width, i % width, real(0))
        i += step


@kernel
def _around_kernel(work, layer, rows):
    """All of a layer's gradient but the product, and zeros for that in the rows of the pass beyond COUNT."""
    sums, below = shared(BLOCK, work.params.dtype), layer - _ONE
    column, thread = np.uint32(cuda.blockIdx.x) * _COLUMNS, np.uint32(cuda.threadIdx.x)
    _clear(work, at(work, below, A), at(work, below, STRIDE), rows)
    _clear(work, at(work, layer, D), at(work, layer, STRIDE), rows)
    _pad(work, layer)
    bias(work, layer, _ZERO, column, sums, thread, _COLUMNS, _BLOCK)
