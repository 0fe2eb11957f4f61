"""The number of threads that a fit takes: what is faster, whenever that changes; and the same bits."""

import numpy as np
import pytest
from helpers import network

import fastnn as fn
from fastnn import crew, division
from fastnn.crew import Crew
from fastnn.job import Part, Settings
from fastnn_kernels.work import DENSE_BLOCKS, SPARSE_BLOCKS


def run(one, paces, seconds):
    """Let epochs of some seconds, by the number of threads, run for a while; returns the seconds of each number."""
    spent = dict.fromkeys(one.numbers, 0.0)
    while sum(spent.values()) < seconds:
        epochs = one.span(max(1, int(0.2 / paces[one.now])))
        spent[one.now] += epochs * paces[one.now]
        one.ran(epochs, epochs * paces[one.now])
    return spent


def test_one_number_stays():
    one = Crew((3,))
    run(one, {3: 0.01}, 5.0)
    assert (one.now, one.most, one.label) == (3, 3, "3 threads")
    assert Crew((1,)).label == "1 thread"


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)])
@pytest.mark.parametrize("faster", [1, 2])
def test_the_faster_number_is_found_and_the_other_hardly_costs(numbers, faster):
    one = Crew(numbers)
    paces = {number: 0.01 if number == faster else 0.02 for number in numbers}
    run(one, paces, 1.0)
    spent = run(one, paces, 100.0)
    assert one.now == faster
    assert spent[3 - faster] < 0.01 * spent[faster]
    assert one.label == "1 or 2 threads"


def test_what_has_become_slow_is_left_at_once_and_taken_again_when_it_is_fast_again():
    one = Crew((2, 1))
    run(one, {2: 0.01, 1: 0.018}, 30.0)
    assert one.now == 2
    assert run(one, {2: 0.05, 1: 0.018}, 2.0)[2] < 0.6
    assert one.now == 1
    run(one, {2: 0.01, 1: 0.018}, 2 * crew.LATE)
    assert one.now == 2


@pytest.mark.parametrize("epochs", [1, 40])
def test_first_epochs_of_fits_are_compared_with_each_other_and_others_with_others(epochs):
    """Two threads are slow at first, then fast: worth it in long fits alone."""
    one, first, later = Crew((1, 2)), {1: 0.011, 2: 0.02}, {1: 0.01, 2: 0.006}
    for _ in range(40):
        one.start()
        one.ran(1, first[one.now])
        done = 1
        while done < epochs:
            span = min(one.span(epochs), epochs - done)
            one.ran(span, span * later[one.now])
            done += span
    assert one.now == (1 if epochs == 1 else 2)
    assert set(one._paces) == {(1, True), (2, True)} | ({(1, False), (2, False)} if epochs > 1 else set())


def test_nothing_done_tells_nothing():
    one = Crew((1, 2))
    one.ran(0, 5.0)
    assert one.now == 1


def test_what_was_learned_counts_for_fits_of_the_same_kind(monkeypatch):
    monkeypatch.setattr(division, "numbers_of_threads", lambda *_: (1, 2))
    net, y = fn.MLP([3, 4, 2], output="softmax"), np.arange(40) % 2
    X = np.ones((40, 3))
    net.fit(X, y, batch_size=8, epochs=1, progress=False)
    first = net.fitted.crew
    net.fit(X, y, batch_size=8, epochs=1, progress=False)
    assert net.fitted.crew is first
    net.fit(X, y, batch_size=4, epochs=1, progress=False)
    second = net.fitted.crew
    assert second is not first
    net.fit(X[:20], y[:20], batch_size=4, epochs=1, progress=False)
    assert net.fitted.crew is not second


def test_other_numbers_only_where_none_was_asked_for_and_the_network_is_small(monkeypatch):
    monkeypatch.setattr(division.machine, "processors", lambda: 2)
    small, large = fn.MLP([784, 128, 10]), fn.MLP([784, 1024, 1024, 10])
    assert division.numbers_of_threads(small, 16, None) == (1, 2)
    assert division.numbers_of_threads(small, 32, None) == (2, 1)
    assert division.numbers_of_threads(small, 1, None) == (1,)
    assert division.numbers_of_threads(fn.MLP([64, 32, 10]), 32, None) == (1, 2)
    assert division.numbers_of_threads(fn.MLP([64, 32, 10]), 16, None) == (1,)
    assert division.numbers_of_threads(large, 256, None) == (2,)
    assert division.numbers_of_threads(small, 32, 2) == (2,)
    monkeypatch.setattr(division.machine, "processors", lambda: 16)
    assert division.numbers_of_threads(fn.MLP([64, 32, 10]), 256, None) == (1, 2)
    assert division.numbers_of_threads(small, 31, None) == (1, 8)


@pytest.mark.parametrize(
    ("sizes", "zeros", "expected"),
    [
        ((784, 256, 10), 0.0, (DENSE_BLOCKS, (2, 1))),
        ((784, 256, 10), 0.9, (SPARSE_BLOCKS, (2, 1))),
        ((64, 32, 10), 0.9, (SPARSE_BLOCKS, (1,))),
        ((784, 8, 10), 0.0, (DENSE_BLOCKS, (1,))),  # a panel for one thread
        ((64, 32, 10), 0.0, (DENSE_BLOCKS, (1,))),  # too little work for two
    ],
)
def test_threads_of_steps_of_one_sample(sizes, zeros, expected, monkeypatch, rng):
    monkeypatch.setattr(division.machine, "processors", lambda: 2)
    net = fn.MLP(sizes)
    part = Part.of((rng.random((70, sizes[0])) >= zeros).astype(np.float32))

    def found(**options):
        settings = Settings(fn.MSE(), options.get("optimizer", fn.SGD()), 1, 1, 1, True, None, fn.Constant())
        single = division.single_samples(net, part, settings)
        return single, division.numbers_of_threads(net, 1, None, single)

    assert found() == expected
    assert found(optimizer=fn.Adam()) == (0, (1,))


@pytest.mark.parametrize("options", [{}, {"clip": fn.ClipNorm(0.1)}, {"validation": 0.2}], ids=str)
def test_a_number_that_changes_with_every_epoch_changes_no_bit(options, rng, monkeypatch):
    X, y = rng.normal(size=(90, 7)), rng.integers(0, 3, 90)

    def fit(numbers):
        monkeypatch.setattr(division, "numbers_of_threads", lambda *_: numbers)
        net = network(np.random.default_rng(0), (7, 40, 3), activation="relu", output="softmax", dtype="float64")
        history = net.fit(X, y, batch_size=32, epochs=6, progress=False, **options)
        return net, history

    monkeypatch.setattr(
        Crew, "ran", lambda self, *_: setattr(self, "now", self.numbers[0] + self.numbers[-1] - self.now)
    )
    (one, history), (other, changing) = fit((1,)), fit((1, 3))
    np.testing.assert_array_equal(one.params, other.params)
    assert history.loss == changing.loss
    assert history.validation_loss == changing.validation_loss
    assert other.fitted.crew.numbers == (1, 3)
