"""cuBLAS on the host: what nvmath.bindings.cublas offers, by NumPy, for arrays of the simulator.

It believes nothing: a handle must be there, the workspace be set again behind the stream, and every matrix lie whole in
one array on the device.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from fastnn_kernels.cuda import cublas, memory


class StandIn:
    """math: modes by handle; streams: that products were enqueued on; arrays: on the device; products: how many."""

    def __init__(self) -> None:
        self.math: dict[int, int] = {}
        self.streams: set[int] = set()
        self.arrays: list[np.ndarray] = []
        self.products, self._stream, self._room = 0, -1, (0, 0)

    def install(self, monkeypatch: Any) -> None:
        """In place of cuBLAS, for arrays made from now on."""
        empty = memory.empty
        monkeypatch.setattr(memory, "empty", lambda *args: self.remember(empty(*args)))
        monkeypatch.setattr(cublas, "find", lambda: self)

    def remember(self, array: Any) -> Any:
        self.arrays.append(array._ary)
        return array

    def create(self) -> int:
        self.math[1 + len(self.math)] = -1
        return len(self.math)

    def destroy(self, handle: int) -> None:
        del self.math[handle]

    def set_math_mode(self, handle: int, mode: int) -> None:
        assert handle in self.math
        self.math[handle] = mode

    def set_stream(self, handle: int, stream_id: int) -> None:
        assert handle in self.math
        self._stream, self._room = stream_id, (0, 0)

    def set_workspace(self, handle: int, workspace: int, workspace_size_in_bytes: int) -> None:
        assert handle in self.math
        self._array(workspace, workspace_size_in_bytes)
        self._room = workspace, workspace_size_in_bytes

    def sgemm(self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
        real = np.float32, ctypes.c_float
        self._gemm(real, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

    def dgemm(self, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
        real = np.float64, ctypes.c_double
        self._gemm(real, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)

    def _gemm(self, real, handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
        """c (m, n) = alpha op(a) op(b) + beta c, column by column; c is not read where beta is 0."""
        dtype, number = real
        assert self.math[handle] >= 0
        assert self._room[1] == cublas.WORKSPACE
        assert all(type(one) is int for one in (handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
        A, B = self._operand(dtype, transa, a, m, k, lda), self._operand(dtype, transb, b, k, n, ldb)
        C = self._matrix(dtype, c, m, n, ldc)
        assert not np.may_share_memory(A, C)
        assert not np.may_share_memory(B, C)
        assert (number.from_address(alpha).value, number.from_address(beta).value) == (1, 0)
        with np.errstate(invalid="ignore", over="ignore"):  # in rows that nobody reads
            C[:] = A @ B
        self.streams.add(self._stream)
        self.products += 1

    def _operand(self, dtype: Any, turn: int, address: int, rows: int, columns: int, ld: int) -> np.ndarray:
        """op of a matrix, (rows, columns)."""
        if turn == 0:
            return self._matrix(dtype, address, rows, columns, ld)
        assert turn == 1
        return self._matrix(dtype, address, columns, rows, ld).T

    def _matrix(self, dtype: Any, address: int, rows: int, columns: int, ld: int) -> np.ndarray:
        """A matrix column by column, ld elements from one to the next."""
        size = np.dtype(dtype).itemsize
        assert rows > 0
        assert columns > 0
        assert ld >= rows
        flat = self._array(address, ((columns - 1) * ld + rows) * size)
        assert flat.dtype == dtype
        first, rest = divmod(address - flat.ctypes.data, size)
        assert rest == 0
        return np.lib.stride_tricks.as_strided(flat[first:], (rows, columns), (size, ld * size))

    def _array(self, address: int, count: int) -> np.ndarray:
        """The array that so many bytes from an address on lie in."""
        for array in self.arrays:
            if array.ctypes.data <= address and address + count <= array.ctypes.data + array.nbytes:
                return array
        raise AssertionError(f"{count} bytes from {address} on are in no array")
