"""Fixtures of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what is to run in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.Generator(np.random.Philox(20240607))


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder with the four IDX files of MNIST: "mnist" in FASTNN_DATA, else in ../shared/data."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("FASTNN_DATA") or root.parent / "shared" / "data") / "mnist"
    if not folder.is_dir():
        pytest.skip(f"MNIST is not in {folder}; set FASTNN_DATA to the folder that holds mnist/")
    return folder
