"""PyTorch on the GPU: data lies there, batches are gathered there, Adam is the fused one; float32 without TF32."""

from __future__ import annotations

from fastnn.bench.peers import missing_package, torch_eager


def available() -> str | None:
    if (reason := missing_package("torch")) is not None:
        return reason
    import torch

    return None if torch.cuda.is_available() else "PyTorch finds no GPU"


class Trainer(torch_eager.Trainer):
    device = "cuda"

    def epochs(self, count: int) -> None:
        import torch

        super().epochs(count)
        torch.cuda.synchronize()

    def epoch(self) -> None:
        import torch

        super().epoch()
        torch.cuda.synchronize()
