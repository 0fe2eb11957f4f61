"""What a comparison becomes: figures, table, JSON, Markdown, picture. Nothing is timed here."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from fastnn.bench import report
from fastnn.bench.turns import Comparison, Result
from fastnn.bench.workloads import Workload

WORKLOAD = Workload("small", (1000, 500, 2), 4, 100, "sgd")


def comparison(threads=1):
    results = [
        Result("fastnn", 0.5, [0.03, 0.01, 0.02]),
        Result("jax", 2.0, [0.04, 0.04, 0.05]),
        Result("torch", reason="torch cannot be imported"),
    ]
    return Comparison(WORKLOAD, threads, 2e10, results)


def test_medians_ratios_and_shares():
    one = comparison()
    fast, slow, missing = one.results
    assert (fast.median, slow.median) == (0.02, 0.04)
    assert math.isnan(missing.median)
    assert one.samples_per_second(fast) == 5000
    assert one.ratio(fast) == 2
    assert one.ratio(slow) == 0.5
    assert one.share(fast) == pytest.approx(WORKLOAD.flops / 0.02 / 2e10)
    assert math.isnan(Comparison(WORKLOAD, 1, 1e9, [fast]).ratio(fast))


def test_rows_are_sorted_and_leave_out_what_is_missing():
    rows = report.rows(comparison())
    assert [row[1] for row in rows] == ["fastnn", "jax"]
    assert all(len(row) == len(report.COLUMNS) for row in rows)
    assert rows[0][2:4] == ("5,000", "2.00")
    assert report.left_out([comparison()]) == ["torch is left out of small, 1 thread: torch cannot be imported"]


def test_table():
    console = Console(file=io.StringIO(), width=120)
    report.print_tables([comparison(1), comparison(2)], console)
    text = console.file.getvalue()
    for words in ("1 thread; limit 20 GFLOP/s", "2 threads", "fastnn", "5,000", "torch is left out"):
        assert words in text


def test_json(tmp_path):
    report.write_json([comparison()], tmp_path / "a.json")
    written = json.loads((tmp_path / "a.json").read_text())
    assert set(written) == {"time", "machine", "versions", "comparisons"}
    assert {"processor", "processors", "system", "python"} <= set(written["machine"])
    (one,) = written["comparisons"]
    assert one["workload"] == {
        "name": "small",
        "sizes": [1000, 500, 2],
        "batch": 4,
        "samples": 100,
        "optimizer": "sgd",
        "loss": "cross_entropy",
        "dtype": "float32",
        "flops_per_sample": WORKLOAD.flops_per_sample,
    }
    assert (one["threads"], one["limit_gflops"]) == (1, 20.0)
    assert one["peers"]["torch"] == {"left_out": "torch cannot be imported"}
    assert one["peers"]["fastnn"] == {
        "samples_per_second": 5000,
        "ratio": 2,
        "gflops": WORKLOAD.flops / 0.02 / 1e9,
        "share_of_limit": WORKLOAD.flops / 0.02 / 2e10,
        "start_seconds": 0.5,
        "epoch_seconds": [0.03, 0.01, 0.02],
    }


def test_markdown(tmp_path):
    report.write_markdown([comparison()], tmp_path / "a.md")
    lines = (tmp_path / "a.md").read_text().splitlines()
    assert "## 1 thread" in lines
    assert "| small | fastnn | 5,000 | 2.00 | 10.0 | 50% | 0.5 |" in lines
    assert lines[-1].startswith("- torch is left out")


def test_picture(tmp_path):
    report.write_plot([comparison(1), comparison(2)], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
