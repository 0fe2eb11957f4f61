"""The cache of compiled code, each time seen by a process of its own."""

import shutil
from pathlib import Path

import pytest
from helpers import python

import fastnn_kernels

KERNELS = Path(fastnn_kernels.__path__[0])

USE = """
import numpy as np
from fastnn_kernels import cache, finite
assert finite.first_not_finite(np.array([1, np.nan], np.float32)) == (1,)
stats = finite.first_block_not_finite.stats
print(cache.cache_folder())
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
READ, COMPILED = "1 0", "0 1"


def use(folder, **variables):
    """Use a small compiled function; (cache folder, whether it was read or compiled, what went to stderr)."""
    result = python(USE, FASTNN_CACHE_DIR=folder, **variables)
    where, how = result.stdout.splitlines()
    return Path(where), how, result.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that holds one function."""
    base = tmp_path_factory.mktemp("filled")
    folder, how, _ = use(base)
    assert how == COMPILED
    assert folder.parent == base
    return base


@pytest.fixture
def copied(filled, tmp_path):
    """A copy of it, and its files."""
    base = shutil.copytree(filled, tmp_path / "cache")
    return base, sorted(path for path in base.rglob("*") if path.is_file())


def test_a_second_process_reads(filled):
    assert use(filled)[1:] == (READ, "")


def test_reading_does_not_load_what_only_compiling_needs(filled):
    modules = python(USE + "import sys\nprint(*sys.modules)", FASTNN_CACHE_DIR=filled).stdout.splitlines()[-1].split()
    assert "numba.core.dispatcher" in modules
    assert "numba.np.linalg" not in modules


def test_functions_of_the_user_compile_after_reading(filled):
    user = USE + "from numba import njit\nprint(njit(lambda a: np.sort(a)[0] + np.cumsum(a)[1])(np.arange(1.0, 3.0)))"
    assert python(user, FASTNN_CACHE_DIR=filled).stdout.splitlines()[1:] == [READ, "4.0"]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_truncated_file_is_compiled_again_and_replaced(copied, suffix):
    base, files = copied
    (path,) = [path for path in files if path.suffix == suffix]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert use(base)[1:] == (COMPILED, "")
    assert use(base)[1:] == (READ, "")


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_files_of_something_else_are_compiled_again(copied, content):
    base, files = copied
    for path in files:
        path.write_bytes(content)
    assert use(base)[1:] == (COMPILED, "")


def test_another_state_of_the_sources_has_another_folder(filled, tmp_path):
    root = tmp_path / "sources"
    shutil.copytree(KERNELS, root / "fastnn_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    with open(root / "fastnn_kernels" / "native" / "tile.py", "a") as file:
        file.write("# edited\n")
    folder, how, _ = use(filled, PYTHONPATH=root)
    assert how == COMPILED
    assert len([path for path in filled.iterdir() if path.is_dir()]) == 2
    assert folder.parent == filled


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    folder, how, warned = use(blocked / "cache", PYTHONWARNINGS="always", TMPDIR=tmp_path)
    assert how == COMPILED
    assert warned.count("Warning") == 1
    assert f"the compile cache {blocked / 'cache'}" in warned
    assert "FASTNN_CACHE_DIR" in warned
    assert folder.parent == tmp_path
