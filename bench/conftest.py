"""What the suites share: the measured limit, and the figures that go beside a timing."""

from __future__ import annotations

import functools

import pytest

from fastnn.bench.limit import fma_limit

measured_limit = functools.cache(fma_limit)


@pytest.fixture
def figures(benchmark):
    """A function (samples, flops, dtype, threads) that writes rates into extra_info, from the median of the timings.

    samples and flops are those of one timed call.
    """

    def write(samples: int, flops: float, dtype: str, threads: int) -> None:
        if benchmark.stats is None:  # --benchmark-disable
            return
        seconds = benchmark.stats.stats.median
        limit = measured_limit(dtype, threads)
        benchmark.extra_info["samples/s"] = round(samples / seconds)
        benchmark.extra_info["GFLOP/s"] = round(flops / seconds / 1e9, 2)
        benchmark.extra_info["limit GFLOP/s"] = round(limit / 1e9, 1)
        benchmark.extra_info["share of limit"] = round(flops / seconds / limit, 3)

    return write
