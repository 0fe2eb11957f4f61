"""Small blocks: the simulator makes a thread of the host of every thread, and most of them have nothing to do."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn_kernels.cuda import (
    augment,
    cublas,
    epoch,
    flat,
    norm,
    output,
    penalty,
    sample_connect,
    step,
    stochastic,
    subnetwork,
    update,
    weight_noise,
)

THREADS = 16
SIZES: dict[Any, dict[str, int]] = {
    module: {"THREADS": THREADS}
    for module in (augment, epoch, flat, output, penalty, sample_connect, step, subnetwork, update, weight_noise)
}
SIZES[weight_noise] |= {"GROUPS": 2, "BLOCK": THREADS}
SIZES[cublas] = {"THREADS": THREADS, "TEAMS": 2, "BLOCK": THREADS}
SIZES[norm] = {"GROUPS": 2, "THREADS": THREADS, "MOST_THREADS": 32}
SIZES[stochastic] = {"LEAST_THREADS": THREADS}


def install(monkeypatch: Any) -> None:
    """Until the end of a test."""
    for module, sizes in SIZES.items():
        for name, size in sizes.items():
            monkeypatch.setattr(module, name, size)
            if hasattr(module, f"_{name}"):
                monkeypatch.setattr(module, f"_{name}", np.uint32(size))
