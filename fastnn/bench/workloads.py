"""The work that is timed: networks, batches and data, the same for fastnn and every peer.

ReLU hidden layers, softmax with mean cross-entropy or a linear output with mean squared error, standard-normal inputs,
data in random order every epoch. FLOPs per sample = 6 sum(n_in n_out) - 2 n_0 n_1: three products a layer, but the
first layer needs none for its input.
"""

from __future__ import annotations

import gzip
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastnn.errors import InputError, unknown_name

LEARNING_RATE = 1e-3
"""For every workload and optimizer: small enough that no run diverges, whose NaNs would be timed instead."""

OPTIMIZERS = ("sgd", "adam")
LOSSES = ("cross_entropy", "mse")


@dataclass(frozen=True)
class Workload:
    """One thing to train: sizes (n_0, ..., n_last), batch in samples or "full", samples in an epoch.

    source: "normal" for random inputs, or "mnist" for the training images, scaled to [0, 1].
    """

    name: str
    sizes: tuple[int, ...]
    batch: int | str
    samples: int
    optimizer: str
    loss: str = "cross_entropy"
    source: str = "normal"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise InputError(f"a network needs at least two sizes of 1 or more, not {self.sizes}")
        if self.batch != "full" and (not isinstance(self.batch, int) or self.batch < 1):
            raise InputError(f"batch must be 1 or more samples or 'full', not {self.batch!r}")
        if self.samples < 1:
            raise InputError(f"samples must be 1 or more, not {self.samples}")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        if self.loss not in LOSSES:
            raise InputError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"dtype must be float32 or float64, not {self.dtype!r}")

    @property
    def rows(self) -> int:
        """Samples in a batch, as a number."""
        return self.samples if isinstance(self.batch, str) else min(self.batch, self.samples)

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last may be shorter."""
        return -(-self.samples // self.rows)

    @property
    def classifies(self) -> bool:
        return self.loss == "cross_entropy"

    @property
    def flops_per_sample(self) -> int:
        """Floating-point operations to train on one sample once, those of the products alone."""
        return 6 * sum(a * b for a, b in itertools.pairwise(self.sizes)) - 2 * self.sizes[0] * self.sizes[1]

    @property
    def flops(self) -> int:
        """Floating-point operations of one epoch."""
        return self.samples * self.flops_per_sample

    def data(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """X (samples, n_0) and y: labels (samples,) int64, or values (samples, n_last) for mse."""
        if self.source == "mnist":
            X, y = read_mnist(self.samples)
            return X.astype(self.dtype), y
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((self.samples, self.sizes[0])).astype(self.dtype)
        if self.classifies:
            return X, self._labels(rng)
        return X, rng.standard_normal((self.samples, self.sizes[-1])).astype(self.dtype)

    def _labels(self, rng: np.random.Generator) -> np.ndarray:
        """Random labels that hold every class, if there are samples enough: some peers count the classes in y."""
        return rng.permutation(np.arange(self.samples, dtype=np.int64) % self.sizes[-1])

    def missing(self) -> str | None:
        """Why the workload cannot be run here, or None if it can."""
        if self.source == "mnist" and mnist_folder() is None:
            return "no MNIST: set FASTNN_DATA to a folder that holds mnist/train-images-idx3-ubyte.gz"
        return None


WORKLOADS = {
    w.name: w
    for w in (
        Workload("tiny-b1", (64, 32, 10), 1, 1_797, "sgd"),
        Workload("mnist-b1", (784, 128, 10), 1, 2_000, "sgd"),
        Workload("mnist-b1-real", (784, 128, 10), 1, 10_000, "sgd", source="mnist"),
        Workload("tab-b32", (8, 64, 64, 1), 32, 8_192, "adam", loss="mse"),
        Workload("mnist-b32", (784, 128, 10), 32, 8_192, "adam"),
        Workload("mnist-b128", (784, 128, 10), 128, 16_384, "sgd"),
        Workload("mid-b256", (784, 1024, 1024, 10), 256, 4_096, "adam"),
        Workload("large-b512", (2048, 2048, 2048, 2048, 10), 512, 1_024, "adam"),
        Workload("full", (64, 256, 256, 10), "full", 8_192, "sgd"),
        Workload("odd-b31", (783, 130, 11), 31, 8_192, "adam"),
        Workload("odd-b250", (1000, 777, 3), 250, 4_096, "adam"),
    )
}


def find(name: str) -> Workload:
    """A listed workload by its name."""
    if name not in WORKLOADS:
        raise unknown_name("workload", name, WORKLOADS)
    return WORKLOADS[name]


def parse(
    network: str,
    batch: int | str = 128,
    optimizer: str = "adam",
    samples: int | None = None,
    dtype: str = "float32",
) -> Workload:
    """A workload of any shape: network is "783-130-11", batch a number or "full".

    A network with one output learns by mse, any other classifies. By default an epoch has about 2 GFLOP, but 8 steps
    at least.
    """
    try:
        sizes = tuple(int(size) for size in network.split("-"))
    except ValueError:
        raise InputError(f"a network is sizes joined by hyphens, as 784-128-10, not {network!r}") from None
    if isinstance(batch, str) and batch != "full":
        if not batch.isdecimal():
            raise InputError(f"batch must be 1 or more samples or 'full', not {batch!r}")
        batch = int(batch)
    loss = "mse" if sizes[-1] == 1 else "cross_entropy"
    name = f"{network} b{batch}"
    workload = Workload(name, sizes, batch, 1 if samples is None else samples, optimizer, loss, dtype=dtype)
    return workload if samples is not None else replace(workload, samples=_default_samples(workload))


def _default_samples(workload: Workload) -> int:
    wanted = max(1, int(2e9) // workload.flops_per_sample)
    if isinstance(workload.batch, str):
        return min(wanted, 8_192)
    steps = max(8, wanted // workload.batch)
    return workload.batch * min(steps, 4_096)


# MNIST


def mnist_folder() -> Path | None:
    """The folder of MNIST's IDX files: in $FASTNN_DATA, or in shared/data beside the repository."""
    base = Path(os.environ.get("FASTNN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    for folder in (base / "mnist", base):
        if (folder / "train-images-idx3-ubyte.gz").exists():
            return folder
    return None


def read_mnist(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training images (samples, 784) float32 in [0, 1] and their labels (samples,) int64."""
    folder = mnist_folder()
    if folder is None:
        raise FileNotFoundError("no MNIST: set FASTNN_DATA to a folder that holds mnist/train-images-idx3-ubyte.gz")
    images = _idx(folder / "train-images-idx3-ubyte.gz", header=16, count=784 * samples)
    labels = _idx(folder / "train-labels-idx1-ubyte.gz", header=8, count=samples)
    return images.reshape(samples, 784).astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _idx(path: Path, header: int, count: int) -> np.ndarray:
    with gzip.open(path) as file:
        content = file.read(header + count)
    if len(content) < header + count:
        raise InputError(f"{path} holds fewer than {count} values")
    return np.frombuffer(content, np.uint8, count, header)
