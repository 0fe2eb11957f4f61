"""Pictures of diagnoses and of augmented samples show what there is."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.errors import InputError


@pytest.fixture(scope="module")
def looked():
    X, y = fn.data.digits()
    net, looks = fn.MLP([64, 16, 8, 10], activation="sigmoid", output="softmax"), fn.Diagnostics()
    history = net.fit(X, y, epochs=2, validation=0.2, callbacks=looks, progress=False)
    return net, looks, history


def test_diagnostics_draw_a_line_a_layer(looked, tmp_path):
    figure = fn.plots.diagnostics(looked[1], tmp_path / "a.png")
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 3]
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1, 2]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_weights_are_counted_layer_by_layer(looked):
    figure = fn.plots.weight_histogram(looked[0])
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    assert counts == [64 * 16, 16 * 8, 8 * 10]


def test_the_gap_is_drawn(looked):
    figure = fn.plots.overfitting_gap(looked[2])
    assert list(figure.axes[0].lines[0].get_ydata()) == fn.overfitting_gap(looked[2])


def test_augmented_samples_lie_beside_their_originals():
    X, _ = fn.data.digits()
    augment = fn.augment.Image(8, 8, rotate=10)
    figure = fn.plots.augmented(X, augment, samples=3, versions=2)
    shown = [np.asarray(axes.images[0].get_array()).ravel() for axes in figure.axes]
    assert len(shown) == 9
    np.testing.assert_array_equal(shown[3], X[1])
    np.testing.assert_array_equal(shown[5], augment.apply(X[:3], 1)[1])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: fn.plots.diagnostics(fn.Diagnostics()), "no epochs to draw"),
        (lambda: fn.plots.overfitting_gap(fn.History()), "no gap to draw"),
        (lambda: fn.plots.augmented(np.zeros((2, 4)), fn.augment.Noise()), "pictures of fastnn.augment.Image only"),
    ],
)
def test_errors(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
