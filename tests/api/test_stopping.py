"""How a run ends before its last epoch: divergence, Ctrl-C, callbacks, early stopping."""

import json
import threading

import numpy as np
import pytest
from helpers import data, python, same

import fastnn as fn
from fastnn import division, progress, session
from fastnn.reading import Reader
from fastnn_kernels import epoch
from fastnn_kernels.observe import observe
from fastnn_kernels.team import STOP, Team

QUIET = {"progress": False}


def new(**options):
    return fn.MLP([3, 9, 2], activation="tanh", output="softmax", **options)


@pytest.fixture
def task(rng):
    return data(rng, (40, 3)), rng.integers(0, 2, 40)


# Divergence


@pytest.mark.parametrize("batch_size", [1, 8, "full"])
@pytest.mark.parametrize("threads", [1, 2])
def test_divergence_at_once(batch_size, threads, rng):
    X, y = data(rng, (40, 3)), data(rng, (40, 1))
    net = fn.MLP([3, 9, 1])
    before = net.weights
    with pytest.raises(fn.DivergenceError, match=r"NaN or infinite in epoch \d, step \d+ of \d+") as caught:
        net.fit(X, y, optimizer=fn.SGD(1e30), batch_size=batch_size, threads=threads, epochs=5, **QUIET)
    assert caught.value.epoch == (2 if batch_size == "full" else 1)  # the first step's loss is finite
    assert caught.value.step == {1: caught.value.step, 8: 2, "full": 1}[batch_size]
    assert isinstance(caught.value, ArithmeticError)
    assert same(net.weights, before)
    net.fit(X, y, optimizer=fn.SGD(1e-3), batch_size=batch_size, epochs=1, **QUIET)  # and it trains on


EXPLODING = [  # z = w x + b is multiplied by 1 - 4 lr = -1.5 in every step on x = 1, y = 0, until its square overflows
    ("full", 1, None),
    ("full", 2, None),
    ("full", 1, 0.25),
    (2, 2, None),
    (2, 2, 0.25),
    (1, 1, None),
    (1, 2, None),
    (1, 1, 0.25),
]


@pytest.mark.parametrize(("batch_size", "threads", "validation"), EXPLODING)
def test_divergence_later_leaves_the_last_good_weights(batch_size, threads, validation):
    """Those of the end of an epoch, not more than some tens of steps ago."""

    def fitted(epochs):
        net = fn.MLP([1, 1])
        net.set_weights([(np.ones((1, 1)), np.ones(1))])
        options = {"optimizer": fn.SGD(0.625), "loss": "mse", "validation": validation, "threads": threads}
        try:
            net.fit(np.ones((8, 1)), np.zeros(8), batch_size=batch_size, epochs=epochs, **options, **QUIET)
        except fn.DivergenceError as error:
            return net, error
        return net, None

    net, error = fitted(1000)
    samples = 8 if validation is None else 6
    steps = -(-samples // (samples if batch_size == "full" else batch_size))
    done = (error.epoch - 1) * steps + error.step - 1
    growth = np.log(np.sqrt(float(np.finfo(np.float32).max)) / 2) / np.log(1.5)
    assert done == pytest.approx(growth, abs=samples)  # a block of samples may end it
    near = range(max(1, error.epoch - 1 - 40 // steps), error.epoch)
    assert any(same(net.weights, fitted(epochs)[0].weights) for epochs in near)


def test_input_that_overflows_diverges(rng):
    net = fn.MLP([3, 9, 1])
    with pytest.raises(fn.DivergenceError) as caught:
        net.fit(np.full((10, 3), 1e38), np.zeros(10), batch_size=4, epochs=1, **QUIET)
    assert (caught.value.epoch, caught.value.step) == (1, 1)
    assert all(np.isfinite(array).all() for pair in net.weights for array in pair)


# Callbacks


class Watch(fn.Callback):
    """Notes what is called, and does something at the end of an epoch."""

    def __init__(self, action=None):
        self.action, self.calls, self.weights = action, [], []

    def fit_start(self, net):
        self.calls.append("start")

    def epoch_end(self, net, history):
        self.calls.append(len(history.loss))
        self.weights.append(net.weights)
        return self.action and self.action(net, history)

    def fit_end(self, net, history):
        self.calls.append("end")


def test_callbacks_are_called_in_order_and_can_stop(task):
    first, second = Watch(), Watch(lambda net, history: len(history.loss) == 3)
    history = new().fit(*task, epochs=10, callbacks=[first, second], **QUIET)
    assert first.calls == second.calls == ["start", 1, 2, 3, "end"]
    assert len(history.loss) == 3


def test_an_exception_in_a_callback_stops_the_run_after_a_whole_epoch(task):
    def fail(net, history):
        if len(history.loss) == 2:
            raise KeyError("mine")

    net, other = new(), new()
    with pytest.raises(KeyError, match="mine"):
        net.fit(*task, epochs=10, batch_size=8, callbacks=Watch(fail), **QUIET)
    other.fit(*task, epochs=2, batch_size=8, **QUIET)
    assert same(net.weights, other.weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_in_a_callback_leaves_what_a_shorter_fit_leaves(threads, task):
    def interrupt(net, history):
        if len(history.loss) == 3:
            raise KeyboardInterrupt

    net, other = new(), new()
    with pytest.raises(KeyboardInterrupt):
        net.fit(*task, epochs=10, batch_size=8, threads=threads, callbacks=Watch(interrupt), **QUIET)
    other.fit(*task, epochs=3, batch_size=8, threads=threads, **QUIET)
    assert same(net.weights, other.weights)
    for one in (net, other):  # and both go on alike
        one.fit(*task, epochs=2, batch_size=8, **QUIET)
    assert same(net.weights, other.weights)


def test_an_interrupt_leaves_the_best_weights(task):
    def interrupt(net, history):
        if len(history.loss) == 3:
            raise KeyboardInterrupt

    net, watch = new(), Watch(interrupt)
    never_better = fn.EarlyStopping(least_change=1e9)  # than the first epoch, which is better than none
    with pytest.raises(KeyboardInterrupt):
        net.fit(*task, epochs=9, callbacks=[watch, never_better], **QUIET)
    assert watch.calls == ["start", 1, 2, 3, "end"]
    assert same(net.weights, watch.weights[0])
    assert not same(net.weights, watch.weights[2])


def test_weights_set_by_a_callback_are_trained_on(task):
    weights = new(seed=5).weights
    net, other = new(), new(seed=5)
    net.fit(*task, optimizer="sgd", epochs=2, callbacks=Watch(lambda net, _: net.set_weights(weights)), **QUIET)
    assert same(net.weights, other.weights)
    net.fit(*task, optimizer="sgd", epochs=1, shuffle=False, **QUIET)
    other.fit(*task, optimizer="sgd", epochs=1, shuffle=False, **QUIET)
    assert same(net.weights, other.weights)


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(restore, rng):
    X, y = data(rng, (40, 3)), rng.integers(0, 2, 40)  # noise: the validation loss soon rises
    net, stopping, watch = new(), fn.EarlyStopping(patience=4, restore=restore), Watch()
    history = net.fit(
        X, y, optimizer=fn.Adam(0.05), epochs=500, batch_size=4, validation=0.5, callbacks=[stopping, watch], **QUIET
    )
    best = int(np.argmin(history.validation_loss)) + 1
    assert len(history.loss) == best + 4 < 500
    assert (stopping.best_epoch, stopping.best_loss) == (best, min(history.validation_loss))
    assert same(net.weights, watch.weights[best - 1 if restore else -1])


def test_early_stopping_looks_at_the_training_loss_without_validation(task):
    stopping = fn.EarlyStopping(patience=2, least_change=10.0)  # so large a change never comes again
    history = new().fit(*task, epochs=50, callbacks=stopping, **QUIET)
    assert len(history.loss) == 3
    assert stopping.best_epoch == 1


# Ctrl-C

INTERRUPTED = """
import json, os, signal, sys, threading, time
import numpy as np
import fastnn as fn

batch_size, threads, per, zeros = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
random = np.random.default_rng(0)
X, y = random.normal(size=(5000, 20)).astype(np.float32), random.integers(0, 2, 5000)
X[random.random(X.shape) < zeros] = 0.0
options = {"optimizer": "sgd", "batch_size": batch_size, "shuffle": False, "progress": False}
dropout = None if per == "none" else fn.Dropout(0.5, per)
new = lambda: fn.MLP([20, 40, 2], output="softmax", dropout=dropout)
new().fit(X, y, epochs=1, **options)  # compiled from here on

net = new()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    net.fit(X, y, epochs=10**9, threads=threads, **options)
except KeyboardInterrupt:
    seconds = time.monotonic() - began
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("fastnn")]

state, twin = net.fitted.optimizer, new()
steps = state.steps - state.epochs * -(-5000 // batch_size)
if state.epochs:
    twin.fit(X, y, epochs=state.epochs, **options)
if steps:
    twin.fit(X[: steps * batch_size], y[: steps * batch_size], epochs=1, **options)
same = all(np.array_equal(a, b) for p, q in zip(net.weights, twin.weights) for a, b in zip(p, q))
print(json.dumps({"same": same, "steps": state.steps, "left": left, "seconds": seconds}))
"""


@pytest.mark.parametrize(
    ("batch_size", "threads", "dropout_per", "zeros"),
    [
        (50, 2, "none", 0.0),
        (1, 1, "none", 0.0),
        (1, 2, "none", 0.0),
        (1, 1, "none", 0.8),  # steps that skip them
        (1, 2, "none", 0.8),
        (50, 2, "sample", 0.0),
        (50, 2, "batch", 0.0),
        (50, 2, "epoch", 0.0),
    ],
)
def test_ctrl_c_stops_after_a_whole_step(batch_size, threads, dropout_per, zeros):
    told = json.loads(python(INTERRUPTED, batch_size, threads, dropout_per, zeros).stdout)
    assert told["same"]
    assert told["steps"] > 0
    assert told["left"] == []
    assert told["seconds"] < 5


def test_a_callback_that_fails_at_the_start_closes_the_progress(task, monkeypatch):
    class Failing(fn.Callback):
        def fit_start(self, net):
            raise RuntimeError("no")

    class Show(progress.Silent):
        closed = False

        def close(self):
            self.closed = True

    show = Show()
    monkeypatch.setattr(progress, "create", lambda wanted: show)
    with pytest.raises(RuntimeError, match="no"):
        new().fit(*task, epochs=1, callbacks=Failing(), **QUIET)
    assert show.closed


def test_an_interrupt_before_the_first_step_takes_nothing(task, monkeypatch):
    """As when Ctrl-C comes while kernels are compiled for what only the second fit needs."""
    X, y = task
    net = new()
    net.fit(X, y, epochs=2, average=fn.EMA(0.5), loss="mse", **QUIET)
    weights, raw = net.weights, net.fitted.raw.copy()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastnn.session.prepare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y, epochs=2, loss="cross_entropy", optimizer="sgd", **QUIET)
    assert same(net.weights, weights)
    assert net.fitted.raw.tobytes() == raw.tobytes()
    assert isinstance(net.fitted.loss, fn.MSE)


def test_threads_that_cannot_all_start_leave_none_behind(task, monkeypatch):
    X, y = task
    started, begin = [], threading.Thread.start

    def start(thread):
        started.append(thread)
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        begin(thread)

    net = new()
    weights = net.weights
    monkeypatch.setattr(division, "numbers_of_threads", lambda *_: (1, 2))
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        net.fit(X, y, **QUIET)
    for thread in started[:2]:
        thread.join(10)
        assert not thread.is_alive()
    assert same(net.weights, weights)


def test_a_network_is_trained_once_at_a_time(task):
    """Two fits would write one optimizer's state: of another thread, or of a callback."""
    X, y = task
    net, begun, goes_on = new(), threading.Event(), threading.Event()

    class Wait(fn.Callback):
        def epoch_end(self, net, history):
            begun.set()
            goes_on.wait(10)

    first = threading.Thread(target=net.fit, args=(X, y), kwargs={"epochs": 1, "callbacks": Wait(), **QUIET})
    first.start()
    assert begun.wait(60)
    with pytest.raises(fn.InputError, match="this network is being trained"):
        net.fit(X, y, optimizer="sgd", reset=True, **QUIET)
    goes_on.set()
    first.join()
    assert net.fitted.optimizer.epochs == 1
    net.fit(X, y, epochs=1, **QUIET)

    class Again(fn.Callback):
        def epoch_end(self, net, history):
            net.fit(X, y, epochs=1, **QUIET)

    with pytest.raises(fn.InputError, match="this network is being trained"):
        net.fit(X, y, callbacks=Again(), **QUIET)
    new().fit(X, y, epochs=1, callbacks=fn.Callback(), **QUIET)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_leaves_predictions_undone(threads, rng):
    """A team that is told to stop takes no further block of rows."""
    net, X, block = new(), data(rng, (1000, 3)).astype(np.float32), session.EVALUATION_BLOCK
    loss = fn.CrossEntropy()
    part = Reader(net, net.fitted).part(X, rng.integers(0, 2, 1000), loss)
    out, losses = np.full((1000, 2), np.nan, np.float32), np.full(16, np.nan)
    calls = {
        epoch.predict: (block, out),
        epoch.evaluate: (block, losses, np.zeros(16, np.int64)),
        observe: (2, True, out),
    }
    for entry, arguments in calls.items():
        opened = session.open_session(net, part, loss, threads * block, threads, predicts=True)
        opened.words[STOP] = 1
        session.enter(opened, entry, *arguments)
    assert np.isnan(out).all()
    assert np.isnan(losses).all()
    gradient = np.full(net.layout.count, np.nan, np.float32)
    opened = session.open_session(net, part, loss, block, threads, gradient=gradient)
    opened.words[STOP] = 1
    session.enter(opened, epoch.gradient)
    assert np.isnan(gradient).all()


def test_long_work_runs_where_an_interrupt_reaches_it(rng, monkeypatch):
    """The calling thread, which Python interrupts, only waits."""
    net, X, seen = new(), data(rng, (300, 3)), []
    run = Team.run
    monkeypatch.setattr(Team, "run", lambda team, *given, **named: (seen.append(team.size), run(team, *given, **named)))
    short = net.predict(X)
    assert not seen
    monkeypatch.setattr(session, "LONG", 100)
    assert same(net.predict(X), short)
    net.activations(X)
    assert set(seen) == {1}
