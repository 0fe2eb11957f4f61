"""What a fit takes beside parameters, optimizer state, one batch's activations and the data, by tracemalloc: little."""

import tracemalloc

import numpy as np
import pytest

import fastnn as fn

MOST = 1.3  # times what no training can do without
STATES = {"sgd": 0, "momentum": 1, "adam": 2}
OUTPUTS = {"softmax": 10, "sigmoid": 1, "linear": 1}


def task(rng, samples, columns, output, dtype):
    X = rng.random((samples, columns), np.dtype(dtype))
    if output == "linear":
        return X, rng.random(samples, np.dtype(dtype))
    return X, np.arange(samples) % max(2, OUTPUTS[output])


def ratios(sizes, X, y, optimizer="adam", output="softmax", batch_size=128, fits=({}, {}), **options):
    """For each of some fits of one network: its peak over the sum of what it cannot do without."""
    known = {"optimizer": optimizer, "batch_size": batch_size, "epochs": 1, "threads": 2, "progress": False, **options}
    fn.MLP(sizes, output=output, dtype=X.dtype).fit(X[:100], y[:100], **known)  # compiled from here on
    found = []
    tracemalloc.start()
    try:
        net = fn.MLP(sizes, output=output, dtype=X.dtype)
        needed = net.params.nbytes * (1 + STATES[optimizer]) + X.nbytes + y.nbytes
        needed += min(batch_size, len(X)) * sum(sizes) * X.dtype.itemsize
        for changes in fits:
            tracemalloc.reset_peak()
            net.fit(X, y, **known, **changes)
            found.append((tracemalloc.get_traced_memory()[1] + X.nbytes + y.nbytes) / needed)
    finally:
        tracemalloc.stop()
    return found


@pytest.mark.parametrize(
    ("batch_size", "dtype", "validation"),
    [(128, "float32", None), (256, "float32", None), (128, "float64", None), (128, "float32", 0.1)],
)
@pytest.mark.parametrize("optimizer", STATES)
def test_large_networks(optimizer, batch_size, dtype, validation, rng):
    """A copy of the parameters would be too much. A second fit and one that starts over take no more than the first."""
    sizes = [400, 400, 400, 400, 10]
    X, y = task(rng, 2000, 400, "softmax", dtype)
    fits = ({}, {}, {"reset": True})
    found = ratios(sizes, X, y, optimizer, batch_size=batch_size, validation=validation, fits=fits)
    assert max(found) <= MOST


@pytest.mark.parametrize("validation", [None, 0.1])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("columns", [10, 64])
def test_many_samples(columns, output, validation, rng):
    """Order, labels and the drawing of a split are a few bytes a sample."""
    sizes = [columns, 32, 32, OUTPUTS[output]]
    X, y = task(rng, 200_000, columns, output, "float32")
    assert max(ratios(sizes, X, y, output=output, validation=validation)) <= MOST


def test_another_optimizer_lets_go_of_the_state_of_the_last_one(rng):
    X, y = task(rng, 500, 300, "softmax", "float32")
    options = {"epochs": 1, "threads": 2, "progress": False}
    net = fn.MLP([300, 300, 300, 10], output="softmax")
    tracemalloc.start()
    try:
        net.fit(X, y, optimizer="adam", **options)
        net.fit(X, y, optimizer="sgd", **options)
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert left < 0.2 * net.params.nbytes
