"""What a run shows: lines for pipes, a bar for terminals, nothing when asked."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from fastnn import progress


def history(**values):
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy", "seconds", "samples_per_second")
    return SimpleNamespace(**({name: [] for name in names} | {"loss": [0.5], "samples_per_second": [1234.5]} | values))


def run(shown, epochs, clock=None, step=0.0, **values):
    shown.start(epochs, 100)
    for epoch in range(1, epochs + 1):
        shown.advance(epoch, 50)
        if clock:
            clock[0] += step
        shown.epoch_end(epoch, history(**values))
    shown.close()


def lines(epochs, step):
    clock, written = [0.0], []
    run(progress.Lines(written.append, lambda: clock[0]), epochs, clock, step)
    return written


def test_a_line_per_epoch_with_the_time_left():
    assert lines(3, 60.0) == [
        "epoch 1/3  loss 0.5  1,234 samples/s  2:00 left",
        "epoch 2/3  loss 0.5  1,234 samples/s  1:00 left",
        "epoch 3/3  loss 0.5  1,234 samples/s",
    ]


def test_short_epochs_get_a_line_a_second_and_the_last():
    assert [line.split()[1] for line in lines(25, 0.125)] == ["1/25", "9/25", "17/25", "25/25"]


def test_the_last_epoch_is_shown_where_a_run_stops_early():
    clock, written = [0.0], []
    shown = progress.Lines(written.append, lambda: clock[0])
    shown.start(10, 100)
    for epoch in (1, 2):
        shown.epoch_end(epoch, history())
    shown.close()
    shown.close()
    assert [line.split()[1] for line in written] == ["1/10", "2/10"]


def test_metrics_of_what_is_measured():
    assert progress.metrics(history()) == "loss 0.5"
    full = history(accuracy=[0.0, 0.75], validation_loss=[0.123456], validation_accuracy=[1.0])
    assert progress.metrics(full) == "loss 0.5  accuracy 0.7500  validation loss 0.1235  accuracy 1.0000"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (11554, "3:12:34")])
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


def test_bar_fits_a_terminal_and_ends_complete(monkeypatch):
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.0)
    stream = io.StringIO()
    shown = progress.Bar(Console(file=stream, force_terminal=True, width=80, color_system=None))
    shown.message("compiling ...")
    run(shown, 12, accuracy=[0.98])
    text = stream.getvalue()
    assert text.startswith("compiling ...")
    last = [line for line in text.splitlines() if "epoch 12/12" in line][-1]
    assert "samples/s" in last
    assert "left" not in last
    assert "loss 0.5  accuracy 0.9800" in text
    assert max(len(line) for line in re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "\n", text).splitlines()) <= 80


def test_create(capsys):
    run(progress.create(False), 2)
    assert capsys.readouterr() == ("", "")
    run(progress.create(True), 2)  # the captured stderr is no terminal
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[1] for line in err.splitlines()] == ["1/2", "2/2"]
