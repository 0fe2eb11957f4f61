"""What bench/ measures a GPU by."""

import numpy as np
import pytest

from fastnn.bench import device_limit
from fastnn.bench.environment import ON_DEVICE
from fastnn.bench.limit import fma_limit
from fastnn.bench.peers import fastnn_cuda
from fastnn.bench.workloads import parse


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_limit_does_its_multiply_adds(dtype):
    """acc x + y, started at s, is after n steps x^n s + y (1 - x^n) / (1 - x)."""
    steps, threads = 5, np.arange(4.0)
    first = threads[:, None]
    starts = np.concatenate([first, np.tile(np.arange(1.0, device_limit.CHAINS), (4, 1))], axis=1)
    power = 0.75**steps
    expected = (power * starts + 0.5 * (1 - power) / 0.25).sum(axis=1)
    np.testing.assert_allclose(device_limit.chains(dtype, 2, 2, steps), expected, rtol=8 * np.finfo(dtype).eps)


def test_the_limit_counts_all_of_them(monkeypatch):
    monkeypatch.setattr(device_limit, "THREADS", 2)
    monkeypatch.setattr(device_limit, "STEPS", 3)
    monkeypatch.setattr(device_limit, "_seconds", lambda out, blocks, stream: 0.5)
    device_limit.fma_limit.cache_clear()
    multiply_adds = device_limit.CHAINS * 3 * 2 * device_limit.BLOCKS
    assert fma_limit("float32", ON_DEVICE) == 2 * multiply_adds / 0.5
    device_limit.fma_limit.cache_clear()


def test_the_trainer_of_the_suites_trains_on_the_device(small_blocks):
    assert fastnn_cuda.available() is None
    workload = parse("5-4-3", 31, samples=62)
    trainer = fastnn_cuda.Trainer(workload, *workload.data(), ON_DEVICE)
    trainer.epochs(1)
    assert trainer.net.fitted.last_run.label == "simulated device"
