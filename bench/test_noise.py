"""What noise costs, or saves: the same network and batch without it and with each."""

from __future__ import annotations

import pytest

import fastnn as fn
from fastnn.bench.workloads import LEARNING_RATE, WORKLOADS
from fastnn_kernels.machine import processors

NAMES = ["mnist-b32", "mid-b256"]  # noise that a batch shares costs the more, the smaller the batch
NOISES = {
    "none": None,
    "dropout per sample": fn.Dropout(0.5),
    "dropout per batch": fn.Dropout(0.5, "batch"),
    "dropout per epoch": fn.Dropout(0.5, "epoch"),
    "DropConnect": fn.DropConnect(0.5),
    "Shakeout": fn.Shakeout(0.5, 0.01),
    "Whiteout": fn.Whiteout(0.1),
}


@pytest.mark.parametrize("threads", sorted({1, processors()}))
@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("workload", NAMES)
def test_noise(benchmark, figures, workload, name, threads):
    """Operations are those of the whole network, whatever is left out."""
    work = WORKLOADS[workload]
    benchmark.group = f"noise, {workload}, {threads} threads"
    n_in, *hidden, n_out = work.sizes
    layers = [*(fn.Dense(units, "relu", noise=NOISES[name]) for units in hidden), fn.Dense(n_out, "softmax")]
    net, data = fn.MLP(n_in, layers), work.data()
    options = {"optimizer": fn.Adam(lr=LEARNING_RATE), "batch_size": work.batch, "threads": threads}

    def epoch():
        net.fit(*data, **options, epochs=1, progress=False)

    epoch()  # compiles
    benchmark.pedantic(epoch, rounds=7, warmup_rounds=1)
    figures(work.samples, work.flops, work.dtype, threads)
