"""X and y of every kind that NumPy reads: the same results, and no copy where none is needed."""

import tracemalloc

import numpy as np
import pytest
from helpers import same

import fastnn as fn
from fastnn import session

QUIET = {"progress": False}
ROWS, COLUMNS = 40, 6


class Frame:
    """What a data frame offers of the array protocol."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype)


def on_disk(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def unaligned(X, _):
    memory = np.zeros(X.nbytes + 1, np.uint8)
    array = memory[1:].view(X.dtype).reshape(X.shape)
    array[:] = X
    return array


def read_only(X, _):
    X = X.copy()
    X.flags.writeable = False
    return X


FORMS = {
    "memory-mapped": on_disk,
    "read-only": read_only,
    "unaligned": unaligned,
    "columns first": lambda X, _: np.asfortranarray(X),
    "every second row": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X, _: X[::-1].copy()[::-1],
    "other byte order": lambda X, _: X.astype(X.dtype.newbyteorder()),
    "float64": lambda X, _: X.astype(np.float64),
    "float16": lambda X, _: X.astype(np.float16),
    "integers": lambda X, _: X.astype(np.int8),
    "unsigned": lambda X, _: (X + 8).astype(np.uint16),
    "objects": lambda X, _: X.astype(object),
    "list": lambda X, _: X.tolist(),
    "tuple of arrays": lambda X, _: tuple(X),
    "frame": lambda X, _: Frame(X),
    "matrix of truth values": lambda X, _: X > 0,
}


def plain(form, X):
    """The same numbers as `form` gives, as a float32 array."""
    return {"unsigned": X + 8, "matrix of truth values": (X > 0).astype(np.float32)}.get(form, X)


@pytest.fixture
def X(rng):
    return rng.integers(-8, 9, (ROWS, COLUMNS)).astype(np.float32)


def used(X, y):
    """Everything that a network does with X and y, in bits."""
    net = fn.MLP([COLUMNS, 5, 3], output="softmax")
    history = net.fit(X, y, epochs=2, batch_size=7, validation=0.25, normalize="standard", **QUIET)
    told = net.evaluate(X, y)
    return net.weights, [history.loss, history.validation_loss, told, net.predict(X).tolist()]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_x_gives_the_same(form, X, tmp_path):
    y = np.arange(ROWS) % 3
    (weights, results), (expected, wanted) = used(FORMS[form](X, tmp_path), y), used(plain(form, X), y)
    assert same(weights, expected)
    assert results == wanted


def strided(y):
    return np.repeat(y, 2)[::2]


@pytest.mark.parametrize(
    "form", [list, Frame, strided, "u1", "f8", "i8", ">i4"], ids=lambda form: getattr(form, "__name__", form)
)
def test_every_form_of_y_gives_the_same(form, X):
    y = np.arange(ROWS) % 3
    given = form(y) if callable(form) else y.astype(form)
    (weights, results), (expected, wanted) = used(X, given), used(X, y)
    assert same(weights, expected)
    assert results == wanted


def test_pandas_frames(X):
    pandas = pytest.importorskip("pandas")
    y = np.arange(ROWS) % 3
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    mixed = frame.astype({"a": "int64", "b": "float64"})
    (expected, wanted) = used(X, y)
    for given in (frame, mixed):
        weights, results = used(given, pandas.Series(y))
        assert same(weights, expected)
        assert results == wanted


@pytest.fixture
def opened(monkeypatch):
    """The X of every session that is opened."""
    found, open_session = [], session.open_session
    monkeypatch.setattr(
        session, "open_session", lambda *args, **kwargs: found.append(open_session(*args, **kwargs)) or found[-1]
    )
    return found


@pytest.mark.parametrize("form", ["plain", "memory-mapped", "read-only"])
def test_float32_rows_are_not_copied(form, X, tmp_path, opened):
    given = FORMS[form](X, tmp_path) if form in FORMS else X
    y = np.arange(ROWS) % 3
    net = fn.MLP([COLUMNS, 5, 3], output="softmax")
    net.fit(given, y, epochs=1, validation=0.25, normalize="standard", **QUIET)
    net.predict(given)
    net.evaluate(given, y)
    net.gradient(given, y)
    assert len(opened) >= 5
    for one in opened:
        assert one.arrays.X.ctypes.data == given.ctypes.data


def test_memory_beside_the_data(rng):
    """Parameters, state, a batch's activations; a few bytes a sample for order and labels."""
    X, y = rng.random((50_000, 64), np.float32), np.arange(50_000) % 3
    net = fn.MLP([64, 16, 3], output="softmax")
    options = {"epochs": 1, "batch_size": 128, "validation": 0.1, "optimizer": "adam", **QUIET}
    net.fit(X[:1000], y[:1000], **options)  # compiled from here on
    tracemalloc.start()
    try:
        net.fit(X, y, **options)
        net.evaluate(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.3 * (X.nbytes + y.nbytes)


def test_x_and_y_are_not_changed(X):
    y = np.arange(ROWS) % 3
    before = X.copy(), y.copy()
    used(X, y)
    assert np.array_equal(X, before[0])
    assert np.array_equal(y, before[1])
