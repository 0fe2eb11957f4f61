"""Templates that are asked before Numba's own give what it gives without them."""

import operator

import numpy as np
import pytest
from numba import njit, types

from fastnn_kernels.native import templates

OPERATORS = [getattr(operator, name) for name in ("add", "sub", "mul", "iadd", "eq", "ne", "lt", "le", "gt", "ge")]
WHOLE = {np.int64: types.int64, np.int32: types.int64, np.float32: types.float64}


def test_ours_are_for_the_processor():
    assert templates.FirstTemplate.metadata == {"target": "cpu"}


@pytest.mark.parametrize("other", WHOLE)
@pytest.mark.parametrize("operation", OPERATORS, ids=lambda operation: operation.__name__)
def test_numbers_have_the_types_that_numba_gives_them(operation, other):
    @njit
    def function(a, b):
        return operation(a, b)

    a, b = np.int64(-3), other(5)
    assert function(a, b) == operation(-3, 5)
    (signature,) = function.nopython_signatures
    is_comparison = isinstance(operation(-3, 5), bool)
    assert signature.return_type == (types.boolean if is_comparison else WHOLE[other])


@pytest.mark.parametrize("value", [True, False, 0, 3, 0.0, -0.5, np.nan])
def test_conditions(value):
    @njit
    def function(x):
        return 1 if x else 2

    assert function(value) == (1 if value else 2)
