"""The command line on the device."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from fastnn import cli

pytestmark = pytest.mark.usefixtures("small_blocks")


def run(*arguments):
    result = CliRunner().invoke(cli.app, [*map(str, arguments), "--device", "cuda"])
    assert result.exit_code == 0, result.output
    return result.output


def test_train_evaluate_and_predict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with open("data.csv", "w", newline="") as stream:
        rows = [[*x, "high" if x.sum() > 0 else "low"] for x in rng.normal(size=(30, 3))]
        csv.writer(stream).writerows([["a", "b", "c", "kind"], *rows])
    trained = run("train", "data.csv", "--layers", "4", "--epochs", "2", "--batch-size", "8", "--validation", "0.2")
    assert "test accuracy" in trained
    assert "accuracy" in run("evaluate", "model.safetensors", "data.csv")
    assert "30 predictions" in run("predict", "model.safetensors", "data.csv", "--output", "there.csv")
    here = CliRunner().invoke(cli.app, ["predict", "model.safetensors", "data.csv", "--output", "here.csv"])
    assert here.exit_code == 0
    tables = [list(csv.reader((tmp_path / name).read_text().splitlines()))[1:] for name in ("here.csv", "there.csv")]
    labels, outputs = zip(*[([row[0] for row in table], [row[1:] for row in table]) for table in tables], strict=True)
    assert labels[0] == labels[1]
    np.testing.assert_allclose(np.array(outputs[0], float), np.array(outputs[1], float), atol=1e-6)
