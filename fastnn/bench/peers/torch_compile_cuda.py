"""PyTorch on the GPU, network and loss compiled by its inductor; the rest as in torch_cuda."""

from __future__ import annotations

from fastnn.bench.peers import torch_compile, torch_cuda


def available() -> str | None:
    return torch_compile.available() or torch_cuda.available()


class Trainer(torch_cuda.Trainer, torch_compile.Trainer):
    pass
