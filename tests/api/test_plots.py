"""The learning curves show what the history holds, and the file is whole or not there."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from fastnn.errors import FileError, InputError
from fastnn.plots import learning_curves


def history(loss, accuracy=(), validation_loss=(), validation_accuracy=()):
    return SimpleNamespace(
        loss=list(loss),
        accuracy=list(accuracy),
        validation_loss=list(validation_loss),
        validation_accuracy=list(validation_accuracy),
    )


def test_panels_hold_the_values():
    figure = learning_curves(history([1.0, 0.5], [0.6, 0.8], [1.1, 0.7], [0.5, 0.7]))
    curves = {axes.get_title(loc="left"): [line.get_ydata() for line in axes.get_lines()] for axes in figure.axes}
    assert {title: [list(y) for y in ys] for title, ys in curves.items()} == {
        "Loss": [[1.0, 0.5], [1.1, 0.7]],
        "Accuracy": [[0.6, 0.8], [0.5, 0.7]],
    }
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [1, 2]


@pytest.mark.parametrize(
    ("loss", "scale"), [([1.0, 0.5], "linear"), ([1.0, 0.01], "log"), ([1.0, 0.0], "linear"), ([-1.0, 50.0], "linear")]
)
def test_regression_has_one_panel_and_log_scale_where_it_helps(loss, scale):
    figure = learning_curves(history(loss))
    assert [axes.get_yscale() for axes in figure.axes] == [scale]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_writes_a_png_and_nothing_else(tmp_path, epochs):
    path = tmp_path / "curves.png"
    path.write_text("old")
    learning_curves(history([1 / (i + 1) for i in range(epochs)], [0.9] * epochs), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "no space left")

    monkeypatch.setattr(Figure, "savefig", fail)
    (tmp_path / "curves.png").write_text("old")
    with pytest.raises(FileError, match=r"cannot write .*curves.png: no space left"):
        learning_curves(history([1.0]), tmp_path / "curves.png")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_errors(tmp_path):
    with pytest.raises(InputError, match="no epochs to draw"):
        learning_curves(history([]))
    with pytest.raises(FileError, match="cannot write"):
        learning_curves(history([1.0]), tmp_path / "nowhere" / "curves.png")


def test_pyplot_stays_out():
    code = (
        "import sys; from types import SimpleNamespace as N; from fastnn.plots import learning_curves\n"
        "assert 'matplotlib' not in sys.modules\n"
        "learning_curves(N(loss=[1.0], accuracy=[], validation_loss=[], validation_accuracy=[]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
