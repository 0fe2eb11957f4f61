"""fastnn bench: what it takes, what it refuses, what it writes; fastnn alone, on a few samples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastnn import cli
from fastnn.bench import kernels, report, roofline
from fastnn.bench.environment import ON_DEVICE
from fastnn.cli import bench
from fastnn.errors import FastnnError, MissingExtraError
from fastnn_kernels.cuda import memory

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = ("--network", "5-4-3", "--batch", "31", "--samples", "62", "--peers", "fastnn", "--rounds", "1")


def run(*arguments):
    return CliRunner().invoke(cli.app, ["bench", *map(str, arguments)])


@pytest.mark.parametrize("command", [["fastnn", "bench"], ["bench.peers"]])
def test_a_comparison_of_a_network(command, tmp_path):
    files = [tmp_path / name for name in ("a.json", "a.md", "a.png")]
    options = [*QUICK, "--threads", "1", "--json", files[0], "--markdown", files[1], "--plot", files[2]]
    done = subprocess.run(
        [sys.executable, "-m", *command, *map(str, options)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "5-4-3 b31" in done.stdout
    (one,) = json.loads(files[0].read_text())["comparisons"]
    assert one["peers"]["fastnn"]["samples_per_second"] > 0
    assert len(one["peers"]["fastnn"]["epoch_seconds"]) == 1
    assert all(file.stat().st_size > 0 for file in files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "tiny"], "did you mean 'tiny-b1'"),
        (["--workload", "tiny-b1", "--network", "3-2"], "not both"),
        (["--network", "3x2"], "joined by hyphens"),
        (["--network", "3-2", "--batch", "0"], "1 or more"),
        (["--network", "3-2", "--samples", "0"], "samples must be 1 or more"),
        (["--network", "3-2", "--optimizer", "adamw"], "sgd, adam"),
        (["--network", "3-2", "--dtype", "float16"], "float32"),
        (["--peers", "keras"], "unknown peer 'keras'"),
        (["--threads", "0"], "processors here"),
        (["--threads", "1,many"], "processors here"),
        (["--json", "/nowhere/a.json"], "no folder"),
        (["--kernels", "--threads", "1"], "goes without"),
        (["--kernels", "--device", "cuda"], "goes without"),
        (["--device", "gpu"], "cpu, cuda"),
        (["--workload", "tiny-b1", "--batch", "3"], "go with --network"),
    ],
)
def test_refusals(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, FastnnError)
    assert message in str(result.exception)


def test_lists_have_commas_or_come_option_by_option(monkeypatch):
    monkeypatch.setattr(bench, "processors", lambda: 8)
    assert bench._split(["1,2", "4"]) == ["1", "2", "4"]
    assert bench._threads(["4", "1", "2"]) == [1, 2, 4]
    assert bench._threads([]) == [1, 8]
    assert bench._peers(["jax", "fastnn"], bench._peers_on("cpu")) == ["jax", "fastnn"]
    assert bench._peers([], ["fastnn", "torch"]) == ["fastnn", "torch"]
    chosen = bench._workloads(["odd-b31", "odd-b250"], None, {}, "float64")
    assert [(workload.name, workload.dtype) for workload in chosen] == [("odd-b31", "float64"), ("odd-b250", "float64")]


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(memory, "_has_package", lambda: False)
    result = run("--device", "cuda")
    assert result.exit_code == 1
    assert isinstance(result.exception, MissingExtraError)


def test_peers_on_a_gpu(monkeypatch):
    monkeypatch.setattr(memory, "find", lambda: memory.Device("a GPU", (9, 0), 1, 1, (13, 0)))
    called = []
    monkeypatch.setattr(bench, "_compare", lambda *args: called.append(args))
    run("--workload", "tiny-b1", "--device", "cuda")
    (((workload,), peers, threads, *_),) = called
    assert (workload.name, peers, threads) == ("tiny-b1", ["fastnn", "torch", "torch.compile"], [ON_DEVICE])
    assert report.title(ON_DEVICE) == "GPU"
    assert isinstance(run("--device", "cuda", "--threads", "1").exception, FastnnError)
    assert isinstance(run("--device", "cuda", "--peers", "jax").exception, FastnnError)


def test_kernels(monkeypatch, tmp_path):
    def measure(case, rounds):
        return roofline.Point(case.kind, case.name, case.shape, case.dtype, 1e-6, case.flops, case.moved, 1e-7)

    monkeypatch.setattr(roofline, "measure", measure)
    monkeypatch.setattr(kernels, "SHAPES", ((5, 7, 3),))
    result = run("--kernels", "--json", tmp_path / "a.json", "--plot", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    names = {kernel["name"] for kernel in json.loads((tmp_path / "a.json").read_text())["kernels"]}
    assert {"feed", "delta", "gradient", "relu feed", "adam", "cross_entropy", "shuffle"} <= names
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_command_line_imports_no_bench():
    code = "import sys, fastnn.cli; print(*(name for name in sys.modules if name.startswith('fastnn.bench')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
