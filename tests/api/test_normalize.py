"""Normalization against NumPy's statistics in float64, over chunks, rows and awkward columns."""

import numpy as np
import pytest

from fastnn.data import normalize
from fastnn.errors import InputError


@pytest.fixture
def X():
    random = np.random.Generator(np.random.Philox(7))
    return random.normal(1e4, [[1.0, 10.0, 1e-1, 5.0, 2.0]], (301, 5))


def oracle(method, X):
    X = X.astype(np.float64)
    if method == "standard":
        return X.mean(axis=0), X.std(axis=0)
    if method == "minmax":
        return X.min(axis=0), np.ptp(X, axis=0)
    low, middle, high = np.percentile(X, (25, 50, 75), axis=0)
    return middle, high - low


@pytest.mark.parametrize("method", normalize.METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("chunk", [1, 64, 1 << 19])
@pytest.mark.parametrize("index", [None, np.arange(300, 0, -3)])
def test_matches_numpy(X, method, dtype, order, chunk, index, monkeypatch):
    monkeypatch.setattr(normalize, "CHUNK_ELEMENTS", chunk)
    X = np.asarray(X, dtype, order=order)
    fitted = normalize.fit(method, X, index)
    shift, spread = oracle(method, X if index is None else X[index])
    assert fitted.shift.dtype == fitted.scale.dtype == np.float64
    # A sum of 301 values of 1e4 is off by up to 301 eps 1e4; the spread inherits that relative to its own size.
    np.testing.assert_allclose(fitted.shift, shift, rtol=301 * 2.3e-16)
    np.testing.assert_allclose(fitted.scale, 1 / spread, rtol=1e-9)


def test_variance_survives_a_large_mean():
    """E[x^2] - E[x]^2 has no correct digit here."""
    X = 1e9 + np.array([[0.0], [1.0], [2.0], [3.0]])
    assert normalize.fit("standard", X).scale[0] == pytest.approx(1 / np.sqrt(1.25), rel=1e-12)


@pytest.mark.parametrize("method", normalize.METHODS)
def test_constant_columns_become_zero(method):
    X = np.full((1001, 2), 0.1)
    X[:, 1] = np.arange(1001)
    fitted = normalize.fit(method, X)
    assert fitted.scale[0] == 1
    assert (fitted.apply(X)[:, 0] == 0).all()


@pytest.mark.parametrize("method", normalize.METHODS)
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e-40), ("float64", 1e-310)])
def test_columns_of_denormal_spread_keep_a_finite_scale(method, dtype, size):
    X = (np.arange(5)[:, None] * size).astype(dtype)
    found = normalize.fit(method, X)
    assert found.scale.tolist() == [1.0]
    assert np.isfinite(found.apply(X)).all()


def test_robust_ignores_outliers_and_falls_back_to_the_deviation():
    X = np.zeros((101, 2))
    X[:, 0] = np.arange(101)
    X[-1] = (1e9, 4.0)  # the second column is 0 but for one value
    fitted = normalize.fit("robust", X)
    assert (fitted.shift[0], fitted.scale[0]) == (50, 1 / 50)
    assert fitted.scale[1] == pytest.approx(1 / X[:, 1].std(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_apply(X, dtype):
    X = X.astype(dtype)
    result = normalize.fit("minmax", X).apply(X)
    assert (result.dtype, result.min(), result.max()) == (dtype, 0, 1)


@pytest.mark.parametrize(
    ("method", "X", "message"),
    [
        ("standart", np.ones((3, 2)), "unknown normalization 'standart'; did you mean 'standard'"),
        ("minmax", np.ones(3), r"must be 2-D floats, got shape \(3,\) of float64"),
        ("minmax", np.ones((3, 2), int), "must be 2-D floats, got shape"),
        ("minmax", np.ones((0, 2)), "no rows"),
        ("standard", np.array([[1.0, 1e200], [2.0, -1e200]]), "column 1 of X spreads over more than float64 can hold"),
        ("minmax", np.array([[1e308], [-1e308]]), "column 0 of X spreads over"),
    ],
)
def test_errors(method, X, message):
    with pytest.raises(InputError, match=message):
        normalize.fit(method, X)


def test_apply_checks_the_columns(X):
    with pytest.raises(InputError, match=r"X must be \(samples, 5\), as in training; got shape \(2, 4\)"):
        normalize.fit("minmax", X).apply(X[:2, :4])
