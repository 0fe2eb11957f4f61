"""PyTorch as most people run it, with what makes it faster on a CPU.

Adam is the fused one; SGD is the plain loop, which is faster than the fused and the foreach one for the few arrays of
an MLP. Batches are gathered by `index_select` from tensors in memory: a DataLoader would be many times slower. Denormal
numbers count as 0, as they do in fastnn and JAX: a large network that has learned its samples by heart would train at a
fourth of its speed.
"""

from __future__ import annotations

import itertools

import numpy as np

from fastnn.bench.peers import PeerTrainer, missing_package
from fastnn.bench.workloads import LEARNING_RATE, Workload


def available() -> str | None:
    return missing_package("torch")


class Trainer(PeerTrainer):
    device = "cpu"

    def __init__(self, workload: Workload, X: np.ndarray, y: np.ndarray, threads: int) -> None:
        import torch

        torch.set_flush_denormal(True)  # before there are other threads: they begin as this one is
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        torch.set_default_dtype(getattr(torch, workload.dtype))
        self.X, self.y = torch.from_numpy(X).to(self.device), torch.from_numpy(y).to(self.device)
        self.rows = workload.rows
        self.network = network(workload.sizes).to(self.device)
        measure = torch.nn.functional.cross_entropy if workload.classifies else torch.nn.functional.mse_loss
        self.loss = self.prepare(lambda x, y: measure(self.network(x), y))
        if workload.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.network.parameters(), lr=LEARNING_RATE)
        else:
            self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, fused=True)

    def prepare(self, loss):
        """The function that computes a batch's loss, as the run will call it."""
        return loss

    def epoch(self) -> None:
        import torch

        for rows in torch.randperm(len(self.X), device=self.device).split(self.rows):
            loss = self.loss(self.X.index_select(0, rows), self.y.index_select(0, rows))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()


def network(sizes: tuple[int, ...]):
    """Linear layers with ReLU between them."""
    import torch

    layers = [layer for pair in itertools.pairwise(sizes) for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers[:-1])
