"""What explain says of a step, and the model behind its prediction."""

import itertools
import re

import numpy as np
import pytest
from helpers import DTYPES

import fastnn as fn
from fastnn import division, explain, prediction, session

SIZES = (784, 128, 10)


@pytest.fixture(autouse=True)
def known_limit(monkeypatch):
    """A machine of 100 GFLOP/s a core: the tests of the model measure nothing."""
    monkeypatch.setattr(prediction, "limit", lambda dtype: 1e11)


def seconds(net, batch, optimizer="adam", threads=1, stochastic=False):
    return prediction.seconds_of_step(net, batch, fn.optimizers.family.get(optimizer), threads, stochastic)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1), (8, 64, 64, 1), SIZES, (2048, 2048, 2048, 2048, 10)])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_larger_batch_never_takes_less_time(sizes, threads, dtype):
    net = fn.MLP(sizes, dtype=dtype)
    times = [seconds(net, batch, threads=threads) for batch in (1, 2, 5, 31, 32, 33, 500, 512, 513, 1024, 8192)]
    assert times[0] > 0
    assert all(a <= b for a, b in itertools.pairwise(times))


def test_nothing_is_faster_than_the_limit():
    for sizes in ((64, 32, 10), SIZES, (1000, 1000, 1000)):
        net = fn.MLP(sizes)
        flops = division.flops_per_sample(net)
        assert seconds(net, 1, "sgd", stochastic=True) > flops / 1e11
        for batch in (1, 32, 4096):
            assert seconds(net, batch) > batch * flops / 1e11


def test_more_to_do_takes_longer():
    net = fn.MLP(SIZES)
    assert seconds(net, 32, "adam") > seconds(net, 32, "momentum") > seconds(net, 32, "sgd")
    assert seconds(fn.MLP(SIZES, activation="tanh"), 32) > seconds(fn.MLP(SIZES, activation="relu"), 32)
    assert seconds(net, 4096, threads=1) > seconds(net, 4096, threads=2) > seconds(net, 4096, threads=1) / 2


@pytest.mark.parametrize(
    ("batch", "optimizer", "words"),
    [
        (1, "sgd", ["stochastic", "side by side"]),
        (1, "adam", ["minibatch", "Adam"]),
        (128, None, ["minibatch", "Adam"]),
        (2048, "sgd", ["parts of 512 rows", "SGD"]),
        (8192, "sgd", ["16 parts, 128 rows at a time", "SGD"]),
    ],
)
def test_the_path_of_a_step(batch, optimizer, words):
    text = fn.MLP(SIZES).explain(batch, optimizer)
    assert all(word in text for word in [*words, "predicted", "tile", "threads"])
    assert "last fit" not in text


@pytest.mark.parametrize(
    ("sizes", "batch", "words"),
    [
        ((784, 128, 10), 32, "updates in layer 1\n"),
        ((784, 1024, 1024, 10), 256, "updates in layers 1, 2\n"),
        ((784, 128, 10), 1, None),
        ((64, 32, 10), 256, None),
        ((64, 256, 256, 10), 8192, None),
    ],
)
def test_layers_whose_weights_threads_divide(sizes, batch, words, monkeypatch):
    monkeypatch.setattr(division.machine, "processors", lambda: 2)
    text = fn.MLP(sizes).explain(batch, "sgd")
    assert (words in text) if words else ("updates in" not in text)


def test_the_last_fit_stands_beside_the_prediction(rng):
    net = fn.MLP((5, 7, 3))
    net.fit(rng.normal(size=(40, 5)), rng.normal(size=(40, 3)), optimizer="sgd", epochs=2, batch_size=8, progress=False)
    lines = net.explain(8).splitlines()
    assert "SGD" in next(line for line in lines if line.startswith("step"))
    assert [line.split()[0] for line in lines[-2:]] == ["predicted", "last"]
    assert "batch 8, 1 thread" in lines[-1]


def test_the_limit_is_measured(monkeypatch):
    monkeypatch.undo()
    assert 1e8 < prediction.limit("float32") < 1e13
    assert prediction.limit("float32") == prediction.limit("float32")
    assert np.isfinite(prediction.limit("float64"))


@pytest.mark.parametrize("noise", [None, fn.DropConnect(0.2)], ids=str)
@pytest.mark.parametrize("batch", [1, 40, 600, 5000])
def test_the_workspace_is_that_of_a_fit(batch, noise, rng, monkeypatch):
    """In blocks of one sample, in one pass, in two, in parts; with noise, and without."""
    net, opened = fn.MLP(9, [fn.Dense(40, "relu", noise=noise), fn.Dense(3)]), []

    def record(*arguments, **options):
        opened.append(open_session(*arguments, **options))
        return opened[-1]

    open_session = session.open_session
    monkeypatch.setattr(session, "open_session", record)
    monkeypatch.setattr(explain, "_bytes", str)
    X, y = rng.normal(size=(batch, 9)), rng.normal(size=(batch, 3))
    net.fit(X, y, optimizer="sgd", batch_size=batch, epochs=1, threads=1, progress=False)
    monkeypatch.setattr(division, "numbers_of_threads", lambda *_: (1,))
    arrays, (told,) = opened[0].arrays, re.findall(r"workspace (\d+)", net.explain(batch, "sgd"))
    assert int(told) == arrays.space.nbytes + arrays.gradient.nbytes
