"""Tests of the kernels for GPUs, on Numba's simulator: for a process of its own, with NUMBA_ENABLE_CUDASIM=1."""

import pytest
from numba.core import config

if not config.ENABLE_CUDASIM:
    collect_ignore_glob = ["*"]
else:
    import small
    import turns

    turns.install()

    @pytest.fixture
    def small_blocks(monkeypatch):
        small.install(monkeypatch)
