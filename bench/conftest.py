"""What the suites share: the measured limits, and the figures that go beside a timing."""

from __future__ import annotations

import pytest

from fastnn.bench.case import Case
from fastnn.bench.roofline import limit, limit_seconds


@pytest.fixture
def figures(benchmark):
    """A function (samples, flops, dtype, threads) that writes rates into extra_info, from the median of the timings.

    samples and flops are those of one timed call; threads: so many, or ON_DEVICE.
    """

    def write(samples: int, flops: float, dtype: str, threads: int) -> None:
        if benchmark.stats is None:  # --benchmark-disable
            return
        seconds = benchmark.stats.stats.median
        most = limit(dtype, threads)
        benchmark.extra_info["samples/s"] = round(samples / seconds)
        benchmark.extra_info["GFLOP/s"] = round(flops / seconds / 1e9, 2)
        benchmark.extra_info["limit GFLOP/s"] = round(most / 1e9, 1)
        benchmark.extra_info["share of limit"] = round(flops / seconds / most, 3)

    return write


@pytest.fixture
def time_kernel(benchmark):
    """A function that times a Case in a group, and writes its rates and its share of the limit into extra_info."""

    def run(case: Case, group: str) -> None:
        benchmark.group = group
        case.run(1)  # compiles
        benchmark.pedantic(case.run, args=(case.repeats,), rounds=9, warmup_rounds=1)
        if benchmark.stats is None:
            return
        seconds = benchmark.stats.stats.median / case.repeats
        benchmark.extra_info["repeats"] = case.repeats
        benchmark.extra_info["microseconds a run"] = round(seconds * 1e6, 3)
        benchmark.extra_info["elements/s"] = round(case.elements / seconds)
        benchmark.extra_info["GB/s"] = round(case.moved / seconds / 1e9, 2)
        if case.flops:
            benchmark.extra_info["GFLOP/s"] = round(case.flops / seconds / 1e9, 2)
        benchmark.extra_info["share of limit"] = round(limit_seconds(case) / seconds, 3)

    return run
