"""The workloads of the benchmarks: arithmetic, parsing, data and errors."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.bench import workloads
from fastnn.bench.workloads import WORKLOADS, Workload, find, parse

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("tiny-b1", 6 * (64 * 32 + 32 * 10) - 2 * 64 * 32),
        ("mnist-b1", 409_088),
        ("tab-b32", 6 * (8 * 64 + 64 * 64 + 64 * 1) - 2 * 8 * 64),
        ("full", 6 * (64 * 256 + 256 * 256 + 256 * 10) - 2 * 64 * 256),
    ],
)
def test_flops_per_sample(name, flops):
    assert find(name).flops_per_sample == flops
    assert find(name).flops == flops * find(name).samples


def test_rows_and_steps():
    assert (find("full").rows, find("full").steps) == (8_192, 1)
    assert (find("mnist-b1").rows, find("mnist-b1").steps) == (1, 2_000)
    uneven = parse("3-2-2", batch=31, samples=100)
    assert (uneven.rows, uneven.steps) == (31, 4)
    assert parse("3-2-2", batch=31, samples=10).rows == 10


def test_parse():
    assert parse("783-130-11", "31", "sgd", 310) == Workload("783-130-11 b31", (783, 130, 11), 31, 310, "sgd")
    assert parse("5-4-1", "full", samples=9) == Workload("5-4-1 bfull", (5, 4, 1), "full", 9, "adam", "mse")


@pytest.mark.parametrize(("network", "batch"), [("1-1-1", 1), ("784-128-10", 128), ("64-32-10", "full")])
def test_parse_chooses_whole_batches(network, batch):
    workload = parse(network, batch)
    assert workload.samples % workload.rows == 0
    assert workload.steps >= (1 if batch == "full" else 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("784x128x10",), "not '784x128x10'"),
        (("784--10",), "not '784--10'"),
        (("784",), "at least two sizes"),
        (("784-0-10",), "1 or more"),
        (("3-2", 0), "not 0"),
        (("3-2", -4), "not -4"),
        (("3-2", "all"), "not 'all'"),
        (("3-2", 1.5), r"not 1\.5"),
        (("3-2", 1, "adamw"), "not 'adamw'"),
        (("3-2", 1, "sgd", 0), "samples"),
    ],
)
def test_parse_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse(*arguments)


def test_find_names_what_there_is():
    with pytest.raises(ValueError, match=r"'tiny'; did you mean 'tiny-b1'"):
        find("tiny")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_to_classify(dtype):
    workload = Workload("a", (5, 4, 3), 2, 10, "sgd", dtype=dtype)
    X, y = workload.data(seed=1)
    assert (X.shape, X.dtype) == ((10, 5), np.dtype(dtype))
    assert y.shape == (10,)
    assert np.bincount(y).tolist() == [4, 3, 3]
    assert np.array_equal(X, workload.data(seed=1)[0])
    assert not np.array_equal(X, workload.data(seed=2)[0])


def test_data_of_a_regression():
    X, y = Workload("a", (5, 4, 3), 2, 10, "sgd", loss="mse").data()
    assert (X.shape, y.shape, y.dtype) == ((10, 5), (10, 3), np.float32)


def test_mnist_is_read_from_the_given_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    real = WORKLOADS["mnist-b1-real"]
    assert "FASTNN_DATA" in real.missing()
    with pytest.raises(FileNotFoundError, match="FASTNN_DATA"):
        real.data()
    folder = tmp_path / "mnist"
    folder.mkdir()
    pixels = np.arange(3 * 784) % 256
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels.astype(np.uint8).tobytes()))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([7, 0, 9])))
    assert real.missing() is None
    X, y = workloads.read_mnist(3)
    assert X.dtype == np.float32
    assert np.allclose(X.ravel() * 255, pixels, rtol=1e-6)
    assert y.tolist() == [7, 0, 9]
    with pytest.raises(ValueError, match="fewer"):
        workloads.read_mnist(4)


def test_workloads_import_no_peer():
    code = "import sys, fastnn.bench.workloads; print(*sorted({'torch', 'jax', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
