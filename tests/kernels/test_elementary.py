"""exp, log and their relatives, in units in the last place against NumPy in the next wider type."""

import math

import numpy as np
import pytest
from helpers import DTYPES
from numba import njit

from fastnn_kernels import elementary
from fastnn_kernels.jit import FLAGS, kernel
from fastnn_kernels.native import address, lanes, load, store

NAMES = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf"]
ULPS = {"float32": 2, "float64": 3}
STRIDE = 3989  # a prime: a million of the 2^32 bit patterns, none of their digits preferred
WIDER = {"float32": np.float64, "float64": np.longdouble}


def _over(function):
    @kernel
    def loop(x, y, count):
        for i in range(0, count, lanes(x)):
            store(y + i, function(load(x + i)))

    return loop


_exp, _expm1, _log, _log1p, _tanh, _sigmoid, _softplus, _erf = (_over(getattr(elementary, name)) for name in NAMES)


@njit(**FLAGS)
def apply(number, x, y):
    p, q = address(x, 0), address(y, 0)
    if number == 0:
        _exp(p, q, x.size)
    elif number == 1:
        _expm1(p, q, x.size)
    elif number == 2:
        _log(p, q, x.size)
    elif number == 3:
        _log1p(p, q, x.size)
    elif number == 4:
        _tanh(p, q, x.size)
    elif number == 5:
        _sigmoid(p, q, x.size)
    elif number == 6:
        _softplus(p, q, x.size)
    else:
        _erf(p, q, x.size)


@njit(**FLAGS)
def descend(w, a, rate, x, eps_root, eps):
    """In place of w."""
    p, q, o = address(a, 0), address(x, 0), address(w, 0)
    shift = elementary.under_root(o, eps_root)
    for i in range(0, a.size, lanes(p)):
        store(o + i, elementary.descended(load(o + i), load(p + i), rate, load(q + i), shift, eps))


def computed(name, x):
    """The function of every element, by the kernels."""
    padded = np.zeros(-(-x.size // 64) * 64, x.dtype)
    padded[: x.size] = x
    result = np.empty_like(padded)
    apply(NAMES.index(name), padded, result)
    return result[: x.size]


def precise(name, x):
    """The function of every element in the wider type."""
    with np.errstate(all="ignore"):
        x = x.astype(WIDER[str(x.dtype)])
        if name == "sigmoid":
            return np.exp(np.minimum(x, 0)) / (1 + np.exp(-abs(x)))
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))
        if name == "erf":
            return np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64)).astype(x.dtype)  # the C library's, to 1 ulp
        return getattr(np, name)(x)


def ulps(given, expected):
    """Distances in units in the last place of the expected numbers, rounded to the type of the given ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = expected.astype(given.dtype)
        distance = abs(given.astype(expected.dtype) - expected) / np.spacing(abs(rounded)).astype(expected.dtype)
    nan = np.isnan(given) | np.isnan(expected)
    distance[nan] = np.where(np.isnan(given) == np.isnan(expected), 0.0, np.inf)[nan]
    overflow = np.isinf(rounded)
    near = given / np.finfo(given.dtype).max >= 1 - ULPS[str(given.dtype)] * np.finfo(given.dtype).eps
    distance[overflow] = np.where((given == rounded) | near & (rounded > 0) & np.isfinite(expected), 0.0, np.inf)[
        overflow
    ]
    return distance


def sample(dtype):
    """Bit patterns of the whole type, and numbers around 0 where most of the curves are."""
    if dtype == "float32":
        return np.arange(0, 2**32, STRIDE, np.uint64).astype(np.uint32).view(np.float32)
    patterns = (np.arange(300_000, dtype=np.uint64) * np.uint64(2**64 // 300_000 | 1)).view(np.float64)
    around = np.linspace(-760, 760, 200_003)
    return np.concatenate([patterns, around, around / 100, around / 1e6])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_units_in_the_last_place(name, dtype):
    if np.finfo(WIDER[dtype]).eps >= np.finfo(dtype).eps / 100:
        pytest.skip("long double is not wider than double here")
    x = sample(dtype)
    if name == "log1p":
        x = x[~(x < 0)]  # what it is for
    distance = ulps(computed(name, x), precise(name, x))
    worst = distance.argmax()
    assert distance[worst] <= ULPS[dtype], f"{distance[worst]} ulp at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "at", "values"),
    [
        ("exp", [-np.inf, -1e30, 0, np.inf, 1e30], [0, 0, 1, np.inf, np.inf]),
        ("expm1", [-np.inf, -1e30, 0, np.inf, 1e30], [-1, -1, 0, np.inf, np.inf]),
        ("log", [0, 1, np.inf, -1, -np.inf], [-np.inf, 0, np.inf, np.nan, np.nan]),
        ("log1p", [0, np.inf], [0, np.inf]),
        ("tanh", [-np.inf, -1e30, 0, 1e30, np.inf], [-1, -1, 0, 1, 1]),
        ("sigmoid", [-np.inf, -1e30, 0, 1e30, np.inf], [0, 0, 0.5, 1, 1]),
        ("softplus", [-np.inf, -1e30, 1e30, np.inf], [0, 0, 1e30, np.inf]),
        ("erf", [-np.inf, -1e30, 0, 1e30, np.inf], [-1, -1, 0, 1, 1]),
    ],
)
def test_ends_and_zero(name, at, values, dtype):
    x = np.array([*at, np.nan], dtype)
    assert np.array_equal(computed(name, x), np.array([*values, np.nan], dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh"])
def test_tiny_numbers_are_themselves(name, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = tiny * np.array([1, 2, 3, 1000], dtype)
    assert np.array_equal(computed(name, x), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_division_by_a_root(eps, dtype, rng):
    x = np.ldexp(rng.uniform(1, 2, 64_000), rng.integers(-120, 120, 64_000)).astype(dtype)
    x[:100] = 0
    x[100:200] = np.finfo(dtype).smallest_subnormal
    a = (rng.choice([-1, 1], x.shape) * np.sqrt(x)).astype(dtype)
    out = np.zeros_like(a)
    descend(out, -a, 0.375, x, 0.0, eps)
    wide = WIDER[dtype]
    expected = wide(0.375) * a.astype(wide) / (np.sqrt(x.astype(wide)) + wide(eps))
    given = out.astype(wide)
    # root, sum, reciprocal and product round once each, and an estimate's Newton step may lose as much again
    tolerance = 8 * wide(np.finfo(dtype).eps) * abs(expected) + wide(np.finfo(dtype).tiny)
    assert (abs(given - expected) <= tolerance).all()
