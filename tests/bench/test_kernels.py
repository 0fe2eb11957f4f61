"""Kernels by themselves: every name has a case, cases compute what they say, and the roofline is written."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from fastnn import activations, losses, optimizers
from fastnn.bench import kernels, layers, limit, memory, roofline
from fastnn.bench.case import Case
from fastnn.bench.layer_kernels import LAYER_KERNELS, layer_kernel
from fastnn.bench.roofline import Point

SMALL = (5, 7, 3)


@pytest.fixture
def known_limits(monkeypatch):
    """A machine of 100 GFLOP/s and 50 GB/s from anywhere."""
    monkeypatch.setattr(roofline, "limit", lambda dtype, threads: 1e11)
    monkeypatch.setattr(roofline, "bandwidth", lambda size: 5e10)


def point(kind, name, flops=200.0, seconds=1e-8):
    return Point(kind, name, "5x7x3", "float32", seconds, flops, 100.0, 2e-9)


POINTS = [point("product", "feed"), point("activation", "relu feed"), point("random", "shuffle", 0.0)]


@pytest.mark.parametrize("name", kernels.PRODUCTS)
def test_products_count_what_they_do(name):
    case, beside = kernels.product(name, SMALL, "float32"), kernels.blas(name, SMALL, "float32")
    assert case.flops == beside.flops == 2 * 5 * 7 * 3
    assert case.moved == beside.moved == 4 * (5 * 7 + 7 * 3 + 5 * 3)
    assert case.elements == beside.elements == {"feed": 5 * 3, "delta": 5 * 7, "gradient": 7 * 3}[name]
    assert case.label == f"{name} 5x7x3 float32"


def test_every_name_has_a_case(monkeypatch):
    monkeypatch.setattr(kernels, "SHAPES", (SMALL, (2, 3, 4)))
    made = {(case.kind, case.name) for case in kernels.cases()}
    assert {("activation", f"{name} feed") for name in activations.family.names} <= made
    assert ("activation", "relu delta") in made
    assert {"batch norm feed", "layer norm delta", "dropout feed"} <= {name for _, name in made}
    assert {("loss", name) for name in losses.family.names} <= made
    assert {("optimizer", name) for name in optimizers.family.names} <= made
    assert {("random", name) for name in kernels.RANDOM} <= made
    products = [case for case in kernels.cases("float64") if case.kind == "product"]
    assert len(products) == 3 * 2


@pytest.mark.parametrize(
    "case",
    [
        *(kernels.product(name, SMALL, "float32") for name in kernels.PRODUCTS),
        kernels.blas("gradient", SMALL, "float64"),
        kernels.activation_feed("tanh", "float32"),
        kernels.activation_delta("tanh", "float32"),
        *(layer_kernel(name, "float32") for name in LAYER_KERNELS),
        kernels.loss_of_rows("cross_entropy", "float32"),
        kernels.update("adam", "float32"),
        *(kernels.random_numbers(name) for name in kernels.RANDOM),
    ],
    ids=lambda case: case.label,
)
def test_cases_run(case, known_limits):
    measured = roofline.measure(case, rounds=1)
    assert measured.seconds > 0
    assert measured.share > 0
    assert case.repeats >= 1


def test_a_kernel_is_bounded_by_what_takes_longer(known_limits):
    def bound(flops, moved):
        case = Case("product", "a", "1", "float32", 1, flops, moved, 100, lambda repeats: None)
        return roofline.limit_seconds(case)

    assert bound(1e11, 1.0) == 1
    assert bound(0.0, 5e10) == 1
    assert bound(1e11, 1e11) == 2


def test_table_and_files(known_limits, tmp_path):
    console = Console(file=io.StringIO(), width=100)
    roofline.print_table(POINTS, console)
    assert all(words in console.file.getvalue() for words in ("relu feed", "20.0", "20%"))
    roofline.write_plot(POINTS, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    roofline.write_markdown(POINTS, tmp_path / "a.md")
    assert "| feed | 5x7x3 | float32 | 20.0 | 10.0 | 20% |" in (tmp_path / "a.md").read_text()
    roofline.write_json(POINTS, tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())
    assert set(written) == {"time", "machine", "versions", "limits", "kernels"}
    assert written["limits"]["gflops"] == {"float32": 100.0, "float64": 100.0}
    assert set(written["limits"]["gigabytes_per_second"]) == set(memory.LEVELS)
    assert written["kernels"][0] == {
        "kind": "product",
        "name": "feed",
        "shape": "5x7x3",
        "dtype": "float32",
        "seconds": 1e-8,
        "gflops": pytest.approx(20.0),
        "gigabytes_per_second": pytest.approx(10.0),
        "share_of_limit": pytest.approx(0.2),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_limit_of_the_multiply_adds_is_measured(dtype):
    assert 1e8 < limit.fma_limit(dtype, 2, seconds=0.0002, rounds=3) < 1e13


def test_the_loop_of_the_bandwidth_adds_and_is_measured():
    y, x = memory.aligned(4096), memory.aligned(4096)
    y[:], x[:] = np.arange(1024), np.arange(1024)
    memory.run_sweeps(np.float32(2), y.ctypes.data, x.ctypes.data, 4096, 3)
    assert np.array_equal(y, 7 * np.arange(1024, dtype=np.float32))
    assert 1e8 < memory.bandwidth(10_000, 2, rounds=2, seconds=0.0002) < 1e14


def test_options_of_a_layer_are_found():
    found = layers.variants()
    assert found[0].label == "plain"
    assert len({variant.label for variant in found}) == len(found)
