"""PyTorch with network and loss, forwards and backwards, compiled by its inductor; the rest as in torch_eager."""

from __future__ import annotations

import shutil

from fastnn.bench.peers import missing_package, torch_eager


def available() -> str | None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        return "torch.compile needs a C++ compiler"
    return missing_package("torch")


class Trainer(torch_eager.Trainer):
    def prepare(self, loss):
        """Shapes are compiled in: one variant for full batches and one for a shorter last batch.

        What other workloads compiled is forgotten: so many variants and PyTorch gives up.
        """
        import torch

        torch.compiler.reset()
        return torch.compile(loss, dynamic=False, fullgraph=True)
