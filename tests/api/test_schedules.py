"""Learning rate schedules, seen on a bias whose gradient is -1 in every step: it rises by each step's rate."""

import math

import numpy as np
import pytest

import fastnn as fn

RATE, STEPS = 0.5, 4  # STEPS: of an epoch


def rates(epochs, schedule, *, fits=1, batch_size=2, x=1.0):
    """The factor on the rate summed over each epoch's steps."""
    net, seen = fn.MLP([1, 1], dtype="float64"), [0.0]

    class Watch(fn.Callback):
        def epoch_end(self, net, history):
            seen.append(float(net.weights[0][1][0]))

    X, y = np.full((STEPS * batch_size, 1), x), np.full(STEPS * batch_size, 1e9)
    options = {"loss": "mae", "optimizer": fn.SGD(RATE), "batch_size": batch_size, "schedule": schedule}
    for _ in range(fits):
        net.fit(X, y, epochs=epochs, callbacks=Watch(), progress=False, **options)
    return np.diff(seen) / RATE


def expected(epochs, factor, warm_up=0.0):
    """The same from a formula of e, the epochs done before a step, which a linear rise precedes."""

    def at(step):
        if step / STEPS < warm_up:
            return min((step + 1) / (warm_up * STEPS), 1.0)
        return factor(step / STEPS)

    return [sum(at(epoch * STEPS + i) for i in range(STEPS)) for epoch in range(epochs)]


def cosine(end, floor=0.0, warm_up=0.0):
    return lambda e: floor + (1 - floor) * (1 + math.cos(math.pi * min((e - warm_up) / (end - warm_up), 1))) / 2


def one_cycle(epochs, start, peak, end, anneal="cosine"):
    """PyTorch's OneCycleLR, its two phases from step 0 to `top` and from there to the last step."""
    last, top = epochs * STEPS - 1, peak * epochs * STEPS - 1

    def between(a, b, part):
        return b + (a - b) / 2 * (1 + math.cos(math.pi * part)) if anneal == "cosine" else (b - a) * part + a

    def factor(e):
        step = e * STEPS
        return between(start, 1, step / top) if step <= top else between(1, end, (step - top) / (last - top))

    return factor


FORMULAS = {
    "none": (None, lambda e: 1.0, 0.0),
    "by name": ("exponential", lambda e: 0.95**e, 0.0),
    "constant": (fn.schedules.Constant(warm_up=2), lambda e: 1.0, 2.0),
    "half an epoch's warm-up": (fn.schedules.Constant(warm_up=0.5), lambda e: 1.0, 0.5),
    "warm-up shorter than a step": (fn.schedules.Constant(warm_up=0.1), lambda e: 1.0, 0.1),
    "warm-up that ends within a step": (fn.schedules.Constant(warm_up=0.6), lambda e: 1.0, 0.6),
    "step": (fn.schedules.StepDecay(0.5, 2), lambda e: 0.5 ** (e // 2), 0.0),
    "exponential": (fn.schedules.Exponential(0.8), lambda e: 0.8**e, 0.0),
    "inverse": (fn.schedules.InverseTime(0.7), lambda e: 1 / (1 + 0.7 * e), 0.0),
    "cosine": (fn.schedules.Cosine(), cosine(6), 0.0),
    "cosine to a floor": (fn.schedules.Cosine(floor=0.2), cosine(6, 0.2), 0.0),
    "one cycle": ("one_cycle", one_cycle(6, 1 / 25, 0.3, 1 / 25e4), 0.0),
    "another cycle": (fn.OneCycle(0.1, 0.5, 0.01), one_cycle(6, 0.1, 0.5, 0.01), 0.0),
    "a way down shorter than a step": (fn.OneCycle(peak=0.97), one_cycle(6, 1 / 25, 0.97, 1 / 25e4), 0.0),
    "a way up shorter than a step": (fn.OneCycle(peak=0.01), one_cycle(6, 1 / 25, 0.01, 1 / 25e4), 0.0),
    "along lines": (fn.OneCycle(0.1, 0.4, 0.01, anneal="linear"), one_cycle(6, 0.1, 0.4, 0.01, "linear"), 0.0),
    "cosine that ends before": (fn.schedules.Cosine(4, warm_up=1), cosine(4, warm_up=1), 1.0),
}


@pytest.mark.parametrize(("batch_size", "x"), [(1, 0.0), (1, 1.0), (2, 1.0)])
@pytest.mark.parametrize("name", FORMULAS)
def test_rates(name, batch_size, x):
    schedule, factor, warm_up = FORMULAS[name]
    tolerance = 64 * np.finfo(float).eps * 6 * STEPS  # of sums of so many rates
    assert rates(6, schedule, batch_size=batch_size, x=x) == pytest.approx(expected(6, factor, warm_up), abs=tolerance)


@pytest.mark.parametrize("schedule", [fn.schedules.StepDecay(0.5, 2, warm_up=1), fn.schedules.Cosine(6)], ids=repr)
def test_a_second_fit_goes_on(schedule):
    assert rates(3, schedule, fits=2).tolist() == rates(6, schedule).tolist()


def changes(schedule, *fits):
    """The factor on the rate in the steps of fits one after the other, each (epochs, samples, optimizer)."""
    net, seen = fn.MLP([1, 1], dtype="float64"), []
    for epochs, samples, optimizer in fits:
        for _ in range(epochs):
            before = float(net.weights[0][1][0])
            net.fit(
                np.ones((samples, 1)), np.full(samples, 1e9), loss="mae", optimizer=optimizer, batch_size=2,
                epochs=1, schedule=schedule, progress=False,
            )  # fmt: skip
            seen.append((float(net.weights[0][1][0]) - before) / optimizer.lr / (samples // 2))
    return seen


def test_epochs_count_whatever_their_numbers_of_steps():
    """8 samples in batches of 2 are 4 steps, 2 are one: e is the number of epochs all the same."""
    schedule, sgd = fn.schedules.StepDecay(0.5, 2), fn.SGD(RATE)
    found = changes(schedule, (3, 8, sgd), (3, 2, sgd), (2, 8, sgd))
    assert found == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    risen = fn.schedules.Constant(warm_up=2)
    assert changes(risen, (1, 2, sgd), (2, 8, sgd)) == pytest.approx([0.5, 0.8125, 1])


def test_a_cosine_that_is_over_is_told():
    schedule, sgd = fn.Cosine(2), fn.SGD(RATE)
    with pytest.raises(
        fn.InputError, match="the rate would be 0: the cosine ends after 2 epochs, and earlier fits did 2"
    ):
        changes(schedule, (3, 2, sgd))
    assert changes(fn.schedules.Cosine(2, floor=0.5), (3, 2, sgd))[-1] == pytest.approx(0.5)
    changes(schedule, (2, 2, sgd), (2, 2, fn.Momentum(RATE, 0.0)))


def test_another_optimizer_begins_with_the_whole_rate():
    found = changes(fn.schedules.StepDecay(0.5, 2), (3, 2, fn.SGD(RATE)), (3, 2, fn.Momentum(RATE, 0.0)))
    assert found == pytest.approx([1, 1, 0.5, 1, 1, 0.5])


def test_a_cosine_without_an_end_begins_anew():
    once = rates(3, fn.schedules.Cosine())
    assert rates(3, "cosine", fits=2) == pytest.approx([*once, *once], abs=1e-12)


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_the_first_rates_of_one_cycle_by_hand(anneal):
    """10 steps, peak at step 2: 1/25, half way, 1, then 7 steps down to 0."""
    schedule = fn.OneCycle(end=0.0, anneal=anneal)
    net, seen = fn.MLP([1, 1], dtype="float64"), [0.0]

    class Watch(fn.Callback):
        def epoch_end(self, net, history):
            seen.append(float(net.weights[0][1][0]))

    X, y = np.zeros((1, 1)), np.full(1, 1e9)
    net.fit(X, y, loss="mae", optimizer=fn.SGD(1.0), schedule=schedule, epochs=10, callbacks=Watch(), progress=False)
    steps = np.diff(seen)
    assert steps[:3] == pytest.approx([0.04, 0.52, 1.0])
    if anneal == "linear":
        assert steps[3:] == pytest.approx(np.arange(6, -1, -1) / 7, abs=1e-6)
    assert steps[-1] == pytest.approx(0.0, abs=1e-9)


def test_reduce_on_plateau():
    plateau = fn.ReduceOnPlateau(factor=0.5, patience=1, lowest=0.2).watch(1.0)
    told = [plateau.rate(loss) for loss in (3, 2, 2, 2, 1, 1, 1, 1, 1, 1)]
    assert told == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    schedule = fn.ReduceOnPlateau(factor=0.5, patience=0)
    X, y = np.full((4, 1), 1.0), np.zeros(4)
    net = fn.MLP([1, 1], dtype="float64")
    net.set_weights([(np.zeros((1, 1)), np.zeros(1))])
    seen = []

    class Watch(fn.Callback):
        def epoch_end(self, net, history):
            seen.append(float(net.weights[0][1][0]))

    held = (X, np.full(4, -1e9))  # gets worse while the training loss gets better
    options = {"loss": "mae", "optimizer": fn.SGD(1.0), "batch_size": "full", "schedule": schedule, "progress": False}
    net.fit(X, y + 1e9, epochs=4, validation=held, callbacks=Watch(), **options)
    assert np.diff([0.0, *seen]).tolist() == [1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: fn.OneCycle(warm_up=1), ["warm_up must be 0", "got 1"]),
        (lambda: fn.OneCycle(anneal="cos"), ["anneal", '"cosine" or "linear"', "got 'cos'"]),
        (lambda: fn.OneCycle(peak=1), ["peak", "below 1", "got 1"]),
        (lambda: fn.ReduceOnPlateau(1.0), ["factor", "below 1", "got 1.0"]),
        (lambda: fn.ReduceOnPlateau(patience=-1), ["patience", "0 or more", "got -1"]),
        (lambda: fn.schedules.StepDecay(0), ["gamma", "got 0", "above 0"]),
        (lambda: fn.schedules.StepDecay(0.5, 0), ["every", "got 0", "1 or more"]),
        (lambda: fn.schedules.Exponential(-1), ["gamma", "got -1", "above 0"]),
        (lambda: fn.schedules.InverseTime(-1), ["decay", "got -1", "at least 0"]),
        (lambda: fn.schedules.Cosine(0), ["epochs", "got 0", "1 or more"]),
        (lambda: fn.schedules.Cosine(floor=-1), ["floor", "got -1", "at least 0"]),
        (lambda: fn.schedules.Cosine(3, warm_up=3), ["warm_up", "got 3", "3 epochs"]),
        (lambda: rates(3, fn.schedules.Cosine(warm_up=3)), ["warm_up", "got 3", "3 epochs"]),
        (lambda: fn.schedules.Constant(warm_up=-1), ["warm_up", "got -1", "at least 0"]),
        (lambda: rates(1, "cosin"), ["schedule 'cosin'", "did you mean 'cosine'"]),
        (lambda: rates(1, 3), ["schedule", "got 3", "exponential"]),
    ],
)
def test_errors(make, parts):
    with pytest.raises(fn.InputError) as caught:
        make()
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)
