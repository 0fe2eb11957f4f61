"""The examples: all of them compile and tell their story, the quickest one runs."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("0*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_compiles_and_the_readme_names_it(script):
    code = compile(script.read_text(), str(script), "exec")
    assert len(code.co_consts[0].splitlines()) >= 3
    assert script.name in (FOLDER / "README.md").read_text()


def test_the_quickest_runs(tmp_path):
    script = FOLDER / "04_learning_rate_schedules.py"
    subprocess.run([sys.executable, "-W", "error", script, "--out", tmp_path], check=True, timeout=300)
    assert (tmp_path / "04_learning_rate_schedules.png").read_bytes().startswith(b"\x89PNG")
