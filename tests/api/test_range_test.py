"""The learning rate range test."""

import numpy as np
import pytest
from helpers import data, network

import fastnn as fn

SIZES = (5, 17, 3)


def problem(rng):
    X = data(rng, (200, 5))
    return X, np.sin(X[:, :3])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 32, "full"])
def test_the_network_stays_as_it_is(optimizer, batch_size, rng):
    X, y = problem(rng)
    net = network(rng, SIZES)
    net.fit(X, y, epochs=1, average=fn.EMA(0.9), progress=False)
    before, fitted = net.params.copy(), net.fitted
    crew = dict(vars(fitted.crew))
    state, steps, raw = fitted.optimizer.values.copy(), fitted.optimizer.steps, fitted.raw.copy()
    result = net.find_learning_rate(X, y, optimizer=optimizer, batch_size=batch_size, normalize=None)
    assert net.params.tobytes() == before.tobytes()
    assert net.fitted is fitted
    assert (fitted.optimizer.values.tobytes(), fitted.optimizer.steps) == (state.tobytes(), steps)
    assert fitted.raw.tobytes() == raw.tobytes()
    assert vars(fitted.crew) == crew
    assert result.rates[0] == pytest.approx(1e-6)
    assert len(result.rates) == len(result.losses) <= 100
    assert result.suggestion in result.rates


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_those_of_steps_at_rising_rates(weighted, rng):
    X, y = problem(rng)
    options = {"batch_size": "full"}
    if weighted:
        y = y.argmax(axis=1)
        options |= {"sample_weight": rng.random(200), "class_weight": "balanced"}
    output = "softmax" if weighted else "linear"
    net, by_hand = (network(np.random.default_rng(1), SIZES, output=output, dtype="float64") for _ in range(2))
    result = net.find_learning_rate(X, y, lowest=1e-3, highest=1e-1, steps=10, optimizer="sgd", **options)
    assert result.rates == pytest.approx(np.geomspace(1e-3, 1e-1, 10))
    losses = [
        by_hand.fit(X, y, optimizer=fn.SGD(rate), epochs=1, progress=False, **options).loss[0] for rate in result.rates
    ]
    assert result.losses == pytest.approx(losses, rel=1e-12)


def test_it_stops_where_the_loss_explodes(rng):
    X, y = problem(rng)
    result = network(rng, SIZES).find_learning_rate(X, y, highest=1e6, optimizer="sgd", batch_size=32)
    assert len(result.losses) < 100
    assert result.rates[-1] < 1e3
    assert np.isfinite(result.losses).all()
    assert 1e-4 < result.suggestion < 1


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_noise_of_single_losses_ends_nothing(batch_size, rng):
    """Rates up to 1e-3 do no harm here, whatever single samples lose."""
    X = rng.normal(size=(500, 8))
    y = X[:, :1] + 0.3 * rng.normal(size=(500, 1))
    for seed in range(5):
        net = fn.MLP([8, 16, 1], seed=seed)
        result = net.find_learning_rate(X, y, highest=1e-3, optimizer="sgd", batch_size=batch_size)
        assert len(result.losses) == 100
        assert result.smoothed.std() < 0.5 * result.losses.std()


def test_a_suggested_rate_trains(rng):
    X, y = problem(rng)
    net = network(rng, SIZES)
    result = net.find_learning_rate(X, y, batch_size=32)
    history = net.fit(X, y, optimizer=fn.Adam(result.suggestion), epochs=20, batch_size=32, progress=False)
    assert history.loss[-1] < 0.5 * history.loss[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lowest": 0.0}, "lowest must be above 0"),
        ({"lowest": 2.0}, "highest must be above lowest"),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have the shape \(200,\)"),
        ({"class_weight": "balanced"}, "class_weight needs class labels"),
        ({"steps": 9}, "steps must be a whole number, 10 or more"),
        ({"lowest": 1e20, "highest": 1e30}, "give a lower rate as lowest"),
        ({"lowest": 1e20, "highest": 1e30, "batch_size": 1}, "give a lower rate as lowest"),
        ({"lowest": 5.0, "highest": 50.0, "batch_size": 4, "optimizer": "sgd"}, "give a lower rate as lowest"),
    ],
)
def test_what_cannot_be_searched(options, said, rng):
    with pytest.raises(fn.InputError, match=said):
        network(rng, SIZES).find_learning_rate(*problem(rng), **options)


def test_the_picture(rng, tmp_path):
    result = network(rng, SIZES).find_learning_rate(*problem(rng))
    figure = fn.plots.learning_rate_search(result, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 1000
    assert "suggestion" in figure.axes[0].get_legend().get_texts()[1].get_text()


def test_running_averages_stay_as_they_are(rng):
    X, y = problem(rng)
    net = fn.MLP(SIZES, norm="batch")
    net.fit(X, y, epochs=1, progress=False)
    before = net.predict(X)
    net.find_learning_rate(X, y, batch_size=32)
    assert np.array_equal(net.predict(X), before)
