"""Training throughput: the workloads of the comparison, every network in every mode, every option of a layer."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

import fastnn as fn
from fastnn.bench.environment import ON_DEVICE
from fastnn.bench.layers import variants
from fastnn.bench.peers import fastnn_cuda, fastnn_peer
from fastnn.bench.workloads import WORKLOADS, Workload, parse
from fastnn_kernels.machine import processors

THREADS = sorted({1, processors()})
MODES = {"stochastic": 1, "minibatch": 128, "batch": "full"}
NETWORKS = {"-".join(map(str, workload.sizes)): workload for workload in WORKLOADS.values()}
LAYERS = parse("784-256-256-10", 128)
SHORTEST_CALL = 0.05
"""Seconds: a timed call trains so many epochs that it lasts so long, and the start of a fit does not count."""


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(benchmark, figures, name, dtype, threads):
    benchmark.group = f"{name}, {dtype}"
    time_training(benchmark, figures, replace(WORKLOADS[name], dtype=dtype), threads)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_on_a_gpu(benchmark, figures, name, dtype):
    """Data goes there and weights come back with every timed call."""
    if (reason := fastnn_cuda.available()) is not None:
        pytest.skip(reason)
    benchmark.group = f"{name}, {dtype}"
    time_training(benchmark, figures, replace(WORKLOADS[name], dtype=dtype), ON_DEVICE)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("network", NETWORKS)
def test_mode(benchmark, figures, network, mode, dtype, threads):
    """stochastic: plain descent, which has a path of its own."""
    benchmark.group = f"{network}, {mode}, {dtype}"
    optimizer = "sgd" if mode == "stochastic" else NETWORKS[network].optimizer
    time_training(benchmark, figures, parse(network, MODES[mode], optimizer, dtype=dtype), threads)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("options", variants(), ids=lambda options: options.label)
def test_layers(benchmark, figures, options, threads):
    """What an option of a layer costs: norm, masks and whatever else Dense takes, beside the plain layer."""
    benchmark.group = f"layers of {'-'.join(map(str, LAYERS.sizes))} b{LAYERS.batch}, {threads} threads"
    X, y = LAYERS.data()
    *hidden, n_out = LAYERS.sizes[1:]
    layers = [*(fn.Dense(units, "relu", **options.given) for units in hidden), fn.Dense(n_out, "softmax")]
    net = fn.MLP(LAYERS.sizes[0], layers)
    time_epochs(
        benchmark,
        figures,
        LAYERS,
        threads,
        lambda count: net.fit(X, y, epochs=count, batch_size=LAYERS.batch, threads=threads, progress=False),
    )


def time_training(benchmark, figures, workload: Workload, threads: int) -> None:
    if (reason := workload.missing()) is not None:
        pytest.skip(reason)
    peer = fastnn_cuda if threads == ON_DEVICE else fastnn_peer
    trainer = peer.Trainer(workload, *workload.data(), threads)
    time_epochs(benchmark, figures, workload, threads, trainer.epochs)


def time_epochs(benchmark, figures, workload: Workload, threads: int, train) -> None:
    """Time train(count), which trains so many epochs of a workload."""
    train(1)  # compiles
    start = time.perf_counter()
    train(1)
    count = max(1, math.ceil(SHORTEST_CALL / (time.perf_counter() - start)))
    benchmark.pedantic(train, args=(count,), rounds=7, warmup_rounds=1)
    figures(count * workload.samples, count * workload.flops, workload.dtype, threads)
