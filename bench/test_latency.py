"""Prediction: latency for one row, throughput for many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastnn as fn
from fastnn.bench.environment import ON_DEVICE
from fastnn.bench.peers import fastnn_cuda
from fastnn_kernels.machine import processors

NETWORKS = {
    "64-32-10": (64, 32, 10),
    "784-128-10": (784, 128, 10),
    "2048-2048-2048-2048-10": (2048, 2048, 2048, 2048, 10),
}
DTYPES = ["float32", "float64"]


def network_and_rows(sizes: tuple[int, ...], rows: int, dtype: str):
    net = fn.MLP(list(sizes), activation="relu", output="softmax", seed=0, dtype=dtype)
    return net, np.random.default_rng(0).standard_normal((rows, sizes[0]), dtype=dtype)


def flops_per_row(sizes: tuple[int, ...]) -> int:
    return 2 * sum(a * b for a, b in itertools.pairwise(sizes))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_one_row(benchmark, figures, name, dtype):
    benchmark.group = f"predict one row, {name}"
    net, X = network_and_rows(NETWORKS[name], 1, dtype)
    net.predict(X)
    benchmark(net.predict, X)
    figures(1, flops_per_row(NETWORKS[name]), dtype, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_many_rows_on_a_gpu(benchmark, figures, name, dtype):
    """Weights and rows go there, and outputs come back, with every call."""
    if (reason := fastnn_cuda.available()) is not None:
        pytest.skip(reason)
    benchmark.group = f"predict many rows, {name}"
    rows = int(min(65_536, 4e9 // flops_per_row(NETWORKS[name])))
    net, X = network_and_rows(NETWORKS[name], rows, dtype)
    benchmark.pedantic(net.predict, args=(X,), kwargs={"device": "cuda"}, rounds=7, warmup_rounds=2)
    figures(rows, rows * flops_per_row(NETWORKS[name]), dtype, ON_DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_many_rows(benchmark, figures, name, dtype):
    benchmark.group = f"predict many rows, {name}"
    rows = int(min(65_536, 4e9 // flops_per_row(NETWORKS[name])))
    net, X = network_and_rows(NETWORKS[name], rows, dtype)
    benchmark.pedantic(net.predict, args=(X,), rounds=7, warmup_rounds=2)
    figures(rows, rows * flops_per_row(NETWORKS[name]), dtype, processors())
