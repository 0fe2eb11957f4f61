"""fastnn on the GPU. Every fit brings the data there again, and the weights back."""

from __future__ import annotations

import numpy as np

from fastnn.bench.peers import fastnn_peer
from fastnn.bench.workloads import Workload
from fastnn.errors import DeviceError, MissingExtraError


def available() -> str | None:
    from fastnn import cuda

    try:
        cuda.find()
    except (DeviceError, MissingExtraError) as error:
        return str(error)
    return None


class Trainer(fastnn_peer.Trainer):
    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None:
        super().__init__(workload, X, y, threads)
        self.options |= {"threads": None, "device": "cuda"}
