"""Training throughput: the workloads of the comparison, and every network in every mode."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from fastnn.bench.peers.fastnn_peer import Trainer
from fastnn.bench.workloads import WORKLOADS, Workload, parse
from fastnn_kernels.machine import processors

THREADS = sorted({1, processors()})
MODES = {"stochastic": 1, "minibatch": 128, "batch": "full"}
NETWORKS = {"-".join(map(str, workload.sizes)): workload for workload in WORKLOADS.values()}
SHORTEST_CALL = 0.05
"""Seconds: a timed call trains so many epochs that it lasts so long, and the start of a fit does not count."""


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(benchmark, figures, name, dtype, threads):
    benchmark.group = f"{name}, {dtype}"
    time_training(benchmark, figures, replace(WORKLOADS[name], dtype=dtype), threads)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("network", NETWORKS)
def test_mode(benchmark, figures, network, mode, threads):
    benchmark.group = f"{network}, {mode}"
    time_training(benchmark, figures, parse(network, MODES[mode], NETWORKS[network].optimizer), threads)


def time_training(benchmark, figures, workload: Workload, threads: int) -> None:
    if (reason := workload.missing()) is not None:
        pytest.skip(reason)
    trainer = Trainer(workload, *workload.data(), threads)
    trainer.epoch()  # compiles
    start = time.perf_counter()
    trainer.epoch()
    count = max(1, math.ceil(SHORTEST_CALL / (time.perf_counter() - start)))
    benchmark.pedantic(trainer.epochs, args=(count,), rounds=7, warmup_rounds=1)
    figures(count * workload.samples, count * workload.flops, workload.dtype, threads)
