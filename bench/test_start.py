"""From process start to the first finished training step, each time in a process of its own.

cold: the compile cache is empty; warm: an earlier process has filled it; import: `import fastnn` and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn
import fastnn_kernels

STEP = """
import numpy as np
import fastnn as fn
rng = np.random.default_rng(0)
X, y = rng.standard_normal((128, 784), dtype=np.float32), np.arange(128) % 10
net = fn.MLP([784, 128, 10], activation="relu", output="softmax", seed=0)
net.fit(X, y, loss="cross_entropy", optimizer="adam", batch_size=128, epochs=1, progress=False)
print("done", flush=True)
"""
IMPORT = "import fastnn; print('done', flush=True)"


class Starter:
    """Starts Python processes one after the other, each until it has printed its line."""

    def __init__(self, cache: Path) -> None:
        folders = dict.fromkeys(str(Path(next(iter(module.__path__))).parent) for module in (fastnn, fastnn_kernels))
        self.environment = {**os.environ, "FASTNN_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(folders)}
        self.process: subprocess.Popen | None = None

    def start(self, code: str) -> None:
        command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "done\n"

    def finish(self, *_: str) -> None:
        """Wait for the end of the process, where one is left."""
        if self.process is not None:
            self.process.communicate()
            assert self.process.returncode == 0
            self.process = None


@pytest.fixture
def starter(tmp_path):
    started = Starter(tmp_path / "cache")
    yield started
    started.finish()  # --benchmark-disable runs no teardown


def test_cold(benchmark, starter):
    benchmark.group = "process start to first step"
    benchmark.pedantic(starter.start, args=(STEP,), teardown=starter.finish, rounds=1)


def test_warm(benchmark, starter):
    benchmark.group = "process start to first step"
    starter.start(STEP)
    starter.finish(STEP)
    benchmark.pedantic(starter.start, args=(STEP,), teardown=starter.finish, rounds=7)


def test_import(benchmark, starter):
    benchmark.group = "process start to import fastnn"
    benchmark.pedantic(starter.start, args=(IMPORT,), teardown=starter.finish, rounds=7, warmup_rounds=1)
