"""Pictures of diagnoses and of augmented samples show what there is."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.errors import InputError


@pytest.fixture(scope="module")
def looked():
    X, y = fn.data.digits()
    net = fn.MLP([64, 16, 8, 10], activation="sigmoid", output="softmax")
    return net, net.fit(X, y, epochs=2, validation=0.2, callbacks=fn.Diagnostics(), progress=False)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_diagnostics_draw_a_line_a_layer(looked, tmp_path):
    figure = fn.plots.diagnostics(looked[1], tmp_path / "a.png")
    assert titles(figure) == [
        "Gradient norm",
        "Units beyond abs(z) = 3",
        "Units beyond abs(z) = 6",
        "Deviation of weights",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 2, 3]
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1, 2]
    norms = [look.layers[0].gradient_norm for look in looked[1].diagnostics]
    assert list(figure.axes[0].lines[0].get_ydata()) == norms
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("callbacks", [(), fn.Diagnostics()], ids=["alone", "looked at"])
def test_zero_weights_under_l1(callbacks, rng):
    net, X = fn.MLP([5, 8, 2], activation="relu"), rng.normal(size=(40, 5))
    options = {"epochs": 3, "optimizer": fn.SGD(0.1), "penalty": fn.L1(8.0, proximal=True), "progress": False}
    history = net.fit(X, X[:, :2], callbacks=callbacks, **options)
    figure = fn.plots.diagnostics(history)
    *layers, whole = figure.axes[-1].lines
    assert (titles(figure)[-1], len(figure.axes), len(layers)) == (
        "Weights that are 0",
        *((4, 2) if callbacks else (1, 0)),
    )
    assert list(whole.get_ydata()) == history.zeros
    assert history.zeros[-1] > 0


def test_the_distribution_of_weights_is_drawn(looked):
    figure = fn.plots.weight_distribution(looked[1])
    assert titles(figure) == ["1 sigmoid", "2 sigmoid", "3 softmax"]
    drawn = {tuple(line.get_ydata()) for line in figure.axes[1].lines}
    quantiles = [look.layers[1].weight_quantiles for look in looked[1].diagnostics]
    assert drawn == {tuple(one[i] for one in quantiles) for i in (0, 3, 6)}
    assert len(figure.axes[1].collections) == 2


def test_weights_are_counted_layer_by_layer(looked):
    figure = fn.plots.weight_histogram(looked[0])
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    assert counts == [64 * 16, 16 * 8, 8 * 10]


def test_the_gap_is_drawn(looked):
    figure = fn.plots.overfitting_gap(looked[1])
    assert [list(axes.lines[0].get_ydata()) for axes in figure.axes] == [looked[1].gap, looked[1].accuracy_gap]


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
        (lambda: fn.plots.diagnostics(fn.History()), "no diagnostics to draw"),
        (lambda: fn.plots.weight_distribution(fn.History()), "no diagnostics to draw"),
        (lambda: fn.plots.overfitting_gap(fn.History()), "no gap to draw"),
        (lambda: fn.plots.augmented(np.zeros((2, 4)), fn.augment.Noise()), "pictures of fastnn.augment.Image only"),
    ],
)
def test_errors(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
