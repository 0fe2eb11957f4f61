"""Exceptions in functions that users write: they end the run as FunctionError, and no number comes of them."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from helpers import DTYPES, data, same
from numba import njit, objmode
from numba.core.errors import NumbaWarning

import fastnn as fn
from fastnn import errors

QUIET = {"progress": False}
ROWS = 150
LIMIT = 5.0  # beyond what is looked at when the pair is given


def twice(z):
    return 2.0 * z


def two(z):
    return 2.0


def raising(z):
    if z > LIMIT:
        raise ValueError("too large")
    return 2.0 * z


def raising_slope(z):
    if z > LIMIT:
        raise ZeroDivisionError
    return 2.0


def squared(yhat, y):
    return (yhat - y) ** 2


def squared_derivative(yhat, y):
    return 2.0 * (yhat - y)


def raising_loss(yhat, y):
    if yhat > LIMIT:
        raise ValueError("too far", y)
    return (yhat - y) ** 2


def raising_loss_derivative(yhat, y):
    if yhat > LIMIT:
        raise OverflowError("too steep")
    return 2.0 * (yhat - y)


@njit
def below_limit(z):
    """Compiled by the user."""
    if z > LIMIT:
        raise KeyError
    return z


def nested(z):
    return 2.0 * below_limit(z)


class Case:
    """A pair of functions of which one raises. said: parts of the message."""

    def __init__(self, which, cause, *said, activation=None, loss=None):
        self.which, self.cause, self.said = which, cause, said
        self.activation = "linear" if activation is None else fn.CustomActivation(*activation, name="mine")
        self.loss = "mse" if loss is None else fn.CustomLoss(*loss)

    def check(self, error):
        """The error says what there is to say; its arguments are of a place where the function raises."""
        assert error.function == self.which
        assert type(error.__cause__) is self.cause
        assert isinstance(error, RuntimeError)
        message = str(error)
        said = (f"the {self.which} of ", *self.said, f"raised {self.cause.__name__}", f"{error.arguments[0]:.9g}")
        assert [part for part in said if part not in message] == [], message
        assert error.arguments[0] > LIMIT


CASES = {
    "activation": Case("function", ValueError, "'mine' of layer 2", "too large, at z", activation=(raising, two)),
    "slope": Case(
        "derivative", ZeroDivisionError, "'mine' of layer 2", "Error, at z", activation=(twice, raising_slope)
    ),
    "loss": Case("value", ValueError, "custom loss", "too far", "(yhat, y) =", loss=(raising_loss, squared_derivative)),
    "slope of the loss": Case(
        "derivative", OverflowError, "custom loss", "too steep", loss=(squared, raising_loss_derivative)
    ),
    "within another function": Case("function", KeyError, "'mine' of layer 2", activation=(nested, two)),
}


def problem(rng, case, dtype="float32", **options):
    """A network with the case's activation in layer 2, and data whose row 77 leads beyond the limit from there on."""
    layers = [fn.Dense(9, **options), fn.Dense(6, case.activation), fn.Dense(2)]
    net = fn.MLP(3, layers, dtype=dtype, seed=1)
    net.set_weights([(0.3 * np.ones(W.shape), np.zeros(b.shape)) for W, b in net.weights])
    X = 0.1 * data(rng, (ROWS, 3))
    X[77] = 50.0
    return net, X, data(rng, (ROWS, 2))


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd):
    yield
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 16, "full"])
@pytest.mark.parametrize("name", CASES)
def test_training_ends_with_the_weights_of_before(name, batch_size, threads, dtype, rng):
    case = CASES[name]
    net, X, y = problem(rng, case, dtype)
    before, options = net.weights, {"loss": case.loss, "optimizer": fn.SGD(1e-6), "shuffle": False, **QUIET}
    with pytest.raises(fn.FunctionError, match=r"in epoch 1, step \d+ of \d+\. The network has its last") as caught:
        net.fit(X, y, batch_size=batch_size, threads=threads, epochs=5, **options)
    case.check(caught.value)
    assert caught.value.history.loss == []
    first, last = {1: (63, 78), 16: (5, 5), "full": (1, 1)}[batch_size]  # a block of samples may end it
    assert first <= int(str(caught.value).split("step ")[1].split()[0]) <= last
    assert same(net.weights, before)
    net.fit(X[:70], y[:70], batch_size=batch_size, threads=threads, epochs=1, **options)  # and it trains on
    assert not same(net.weights, before)


class Watch(fn.Callback):
    """The weights of the start and of every epoch's end."""

    def fit_start(self, net):
        self.weights = [net.weights]

    def epoch_end(self, net, history):
        self.weights.append(net.weights)


@pytest.mark.parametrize("inputs", [1, 20], ids=["dense", "sparse"])
@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (1, 2), (16, 1)])
def test_training_that_gets_there_later_leaves_the_last_good_weights(batch_size, threads, inputs):
    """yhat falls from 8 by a little in every step, to where the loss raises: not more than some tens of steps ago."""

    def half_square(yhat, y):
        if yhat < 1.0:
            raise ValueError
        return 0.5 * yhat * yhat

    loss = fn.CustomLoss(half_square, lambda yhat, y: yhat)
    X, watch = np.eye(1, inputs).repeat(16, axis=0), Watch()
    net, twin = (fn.MLP([inputs, 1], dtype="float64") for _ in range(2))
    options = {"optimizer": fn.SGD(1e-3), "batch_size": batch_size, "threads": threads, **QUIET}
    for one in (net, twin):
        one.set_weights([(np.full((inputs, 1), 8.0), np.zeros(1))])
    with pytest.raises(fn.FunctionError) as caught:
        net.fit(X, np.zeros(16), loss=loss, epochs=10_000, **options)
    assert 0.9 < caught.value.arguments[0] < 1.0
    epoch = int(str(caught.value).split("in epoch ")[1].split(",")[0])
    assert epoch > 40
    twin.fit(X, np.zeros(16), loss="half_mse", epochs=epoch, callbacks=watch, **options)
    steps = 16 // batch_size
    assert any(same(net.weights, weights) for weights in watch.weights[epoch - 1 - 40 // steps : epoch])


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"norm": "layer"}, {"dropout": 0.3}], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_with_norms_and_noise(options, threads, rng):
    case = CASES["activation"]
    net, X, y = problem(rng, case, **options)
    net.set_weights([(100 * data(rng, W.shape), b) for W, b in net.weights])
    before = net.params.tobytes(), net.running.tobytes()
    with pytest.raises(fn.FunctionError) as caught:
        net.fit(X, y, batch_size=50, threads=threads, epochs=3, **QUIET)
    case.check(caught.value)
    assert (net.params.tobytes(), net.running.tobytes()) == before


@pytest.mark.parametrize("per", ["batch", "epoch"])
def test_in_a_part_of_the_network(per, rng):
    case = CASES["activation"]
    net, X, y = problem(rng, case, noise=fn.Dropout(0.5, per=per))
    before = net.weights
    with pytest.raises(fn.FunctionError) as caught:
        net.fit(X, y, batch_size=16, threads=2, epochs=3, **QUIET)
    case.check(caught.value)
    assert same(net.weights, before)


@pytest.mark.parametrize("sizes", [{"PASS_ROWS": 32}, {"PARTS": 4, "PART_ROWS": 16}], ids=str)
@pytest.mark.parametrize("name", ["slope", "loss"])
def test_batches_in_parts(name, sizes, rng, monkeypatch):
    for size, rows in sizes.items():
        monkeypatch.setattr(fn.division, size, rows)
    case = CASES[name]
    net, X, y = problem(rng, case)
    before = net.weights
    assert (fn.division.parts_and_rows(net, ROWS)[0] > 0) == ("PARTS" in sizes)
    with pytest.raises(fn.FunctionError) as caught:
        net.fit(X, y, loss=case.loss, batch_size="full", threads=2, epochs=3, **QUIET)
    case.check(caught.value)
    assert same(net.weights, before)


def uses(net, X, y, loss):
    """What can be asked of a network, and the functions that it calls."""
    of_loss = {"value", "derivative of the loss"}
    return {
        "predict": (lambda: net.predict(X), {"function"}),
        "activations": (lambda: net.activations(X), {"function"}),
        "evaluate": (lambda: net.evaluate(X, y, loss=loss), {"function", *of_loss}),
        "loss": (lambda: net.loss(X, y, loss=loss), {"function", *of_loss}),
        "gradient": (lambda: net.gradient(X, y, loss=loss), {"function", "derivative", *of_loss}),
        "diagnose": (lambda: fn.diagnose(net, X, y, loss=loss), {"function", "derivative", *of_loss}),
        "range test": (lambda: net.find_learning_rate(X, y, loss=loss), {"function", "derivative", *of_loss}),
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("use", uses(None, None, None, None))
@pytest.mark.parametrize("name", CASES)
def test_no_number_comes_of_it(name, use, threads, rng, monkeypatch):
    monkeypatch.setattr(fn.division, "choose_threads", lambda *args: threads)
    case = CASES[name]
    net, X, y = problem(rng, case)
    function, calls = uses(net, X, y, case.loss)[use]
    called = f"{case.which} of the loss" if name == "slope of the loss" else case.which
    if called not in calls:
        function()
        return
    with pytest.raises(fn.FunctionError) as caught:
        function()
    case.check(caught.value)


@pytest.mark.parametrize("batch_size", [1, 50])
def test_validation_in_a_fit_raises_too(batch_size, rng):
    case = CASES["activation"]
    net, X, y = problem(rng, case)
    options = {"batch_size": batch_size, "optimizer": fn.SGD(1e-6), **QUIET}
    with pytest.raises(fn.FunctionError) as caught:
        net.fit(X[:70], y[:70], validation=(X, y), epochs=3, **options)
    case.check(caught.value)
    assert len(caught.value.history.loss) == 1
    once = fn.MLP(3, net.layers, seed=1)
    once.set_weights([(0.3 * np.ones(W.shape), np.zeros(b.shape)) for W, b in net.weights])
    once.fit(X[:70], y[:70], epochs=1, **options)
    assert same(net.weights, once.weights)


# What can only be said in part


@pytest.fixture
def object_mode():
    """Numba tells that object mode needs the interpreter's lock."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        yield


def in_object_mode(z):
    value = 2.0 * z
    if z > LIMIT:
        with objmode(value="float64"):
            value = float("x")
    return value


@pytest.mark.parametrize("threads", [1, 2])
def test_exceptions_of_object_mode(threads, rng, object_mode):
    case = Case("function", ValueError, "could not convert string to float", activation=(in_object_mode, two))
    net, X, y = problem(rng, case)
    before = net.weights
    for use in (lambda: net.fit(X, y, batch_size=16, threads=threads, **QUIET), lambda: net.predict(X)):
        with pytest.raises(fn.FunctionError) as caught:
            use()
        case.check(caught.value)
    assert same(net.weights, before)


ARMED = []


def raises_once(z):
    with objmode(value="float64"):
        was_armed = bool(ARMED)
        ARMED.clear()
        value = 2.0 / (not was_armed)
    return value * z


def test_an_exception_that_does_not_come_again(rng, object_mode):
    net = fn.MLP([2, 2], output=fn.CustomActivation(raises_once, two))
    ARMED.append(True)
    with pytest.raises(fn.FunctionError, match=r"function or derivative of .* does not come again, at z = 0") as caught:
        net.predict(np.zeros((3, 2)))
    assert (caught.value.function, caught.value.arguments) == ("function or derivative", (0.0,))
    assert caught.value.__cause__ is None
    assert net.predict(np.zeros((3, 2))).tolist() == [[0.0, 0.0]] * 3


# Where the pair is given


def within(p, y):
    if not 0 < p < 1:
        raise ValueError("no probability")
    return (p - y) ** 2


def test_a_loss_may_raise_outside_of_its_domain(rng):
    loss = fn.CustomLoss(within, squared_derivative)
    with pytest.raises(fn.InputError, match="finite differences"):
        fn.CustomLoss(within, squared)
    net, X, y = fn.MLP([3, 5, 1], output="sigmoid", dtype="float64"), data(rng, (20, 3)), rng.random(20)
    assert net.loss(X, y, loss=loss) == pytest.approx(net.loss(X, y, loss="mse"))
    with pytest.raises(fn.FunctionError, match="no probability"):
        fn.MLP([3, 1]).fit(X, y, loss=loss, **QUIET)


@njit
def never(z):
    if z == z:
        raise ValueError("never")
    return z


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fn.CustomActivation(never, two), "function .* got ValueError: never at z = -"),
        (lambda: fn.CustomActivation(twice, never), "derivative .* got ValueError: never at z = -"),
        (lambda: fn.CustomLoss(squared, njit(lambda yhat, y: never(y))), r"derivative .* never at \(yhat, y\) = \(-"),
        (lambda: fn.CustomLoss(lambda yhat, y: never(y), squared), "finite at no yhat"),
    ],
)
def test_a_pair_that_raises_where_it_is_looked_at(build, message):
    with pytest.raises(fn.InputError, match=message):
        build()


@pytest.mark.parametrize(
    "error",
    [
        fn.DivergenceError("the loss became NaN", 3, 5),
        fn.FunctionError("the value raised", "value", (1.0, 2.0)),
        errors.MissingExtraError("numba-cuda", "cuda", 'device="cuda"'),
        fn.InputError("X is empty"),
        fn.FileError("cannot write"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_go_from_process_to_process(error):
    error.history = fn.History(loss=[1.0])
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
