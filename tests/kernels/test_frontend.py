"""Kernels on their way to LLVM code: what is left out and remembered there changes nothing."""

import numpy as np
import pytest
from helpers import compiled_by
from numba import from_dtype, njit
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target

from fastnn_kernels import epoch, frontend
from fastnn_kernels.jit import kernel


def test_calls_resolve_as_numba_resolves_them():
    compiled_by(epoch.train, None)
    resolved = frontend._typing()._resolved
    assert len(resolved) > 500
    for (function, args), signature in resolved.items():
        assert cpu_target.typing_context.resolve_function_type(function, args, {}) == signature


def test_sizes_of_types_are_numbas():
    for kind in (np.int8, np.float32, np.float64, np.complex128):
        llvm_type = cpu_target.target_context.get_value_type(from_dtype(np.dtype(kind)))
        for _ in range(2):
            assert frontend._target().get_abi_sizeof(llvm_type) == np.dtype(kind).itemsize


@kernel
def same(array):
    return array


@kernel
def copied(array):
    return array.copy()[0]


@kernel
def first(array):
    return array[0]


def test_kernels_take_arrays():
    @njit
    def call(array):
        return first(array)

    assert call(np.array([3.0, 4.0])) == 3.0


@pytest.mark.parametrize(
    ("function", "error", "message"), [(same, TypeError, "a kernel may take arrays"), (copied, NumbaError, "NRT")]
)
def test_kernels_that_own_memory_are_refused(function, error, message):
    @njit
    def call(array):
        return function(array)

    with pytest.raises(error, match=message):
        call(np.zeros(2))
