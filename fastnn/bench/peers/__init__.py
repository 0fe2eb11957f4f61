"""fastnn and its peers, each behind the same two names, used the way its own experts would for speed.

A module of this package offers

    available() -> str | None                    why it cannot be used here, or None
    Trainer(workload, X, y, threads)             a network, its optimizer, and the data where the library wants them

and is imported only in a process of its own, which `fastnn.bench.environment.confined` started.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod

import numpy as np

from fastnn.bench.workloads import Workload

PEERS = {
    "fastnn": "fastnn.bench.peers.fastnn_peer",
    "torch": "fastnn.bench.peers.torch_eager",
    "torch.compile": "fastnn.bench.peers.torch_compile",
    "jax": "fastnn.bench.peers.jax_scan",
    "sklearn": "fastnn.bench.peers.sklearn_mlp",
}
"""The module of each peer, by the name that people use for it."""

PEERS_ON_DEVICE = {
    "fastnn": "fastnn.bench.peers.fastnn_cuda",
    "torch": "fastnn.bench.peers.torch_cuda",
    "torch.compile": "fastnn.bench.peers.torch_compile_cuda",
}
"""Those that train on a GPU too."""


class PeerTrainer(ABC):
    """What the measurement calls. Work that a library does on its own time must be finished when a call returns."""

    @abstractmethod
    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None: ...

    @abstractmethod
    def epoch(self) -> None:
        """Train exactly one epoch over all samples in a new random order, shuffling included."""

    def epochs(self, count: int) -> None:
        """Train `count` epochs; a library whose users ask for several in one call is asked so here."""
        for _ in range(count):
            self.epoch()


def missing_package(name: str) -> str | None:
    """Why a package cannot be used, found by importing it, so that no measurement includes the import."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return f"{name} cannot be imported: {error}"
    return None
