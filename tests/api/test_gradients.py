"""Gradients through the API: finite differences, the oracle at odd sizes, the course's numbers."""

import math

import numpy as np
import pytest
from helpers import (
    DTYPES,
    ODD_SIZES,
    assert_close,
    away_from_kinks,
    data,
    exact,
    gradient_error,
    network,
    random_weights,
    turns,
)

import fastnn as fn
from fastnn import division
from fastnn_kernels import gradient, layout, machine
from fastnn_kernels import reference as ref

HIDDEN = {
    "linear": fn.Linear(),
    "sigmoid": fn.Sigmoid(),
    "tanh": fn.Tanh(),
    "relu": fn.ReLU(),
    "leaky_relu": fn.LeakyReLU(0.2),
    "elu": fn.ELU(0.7),
    "softplus": fn.Softplus(),
    "noisy_relu": fn.NoisyReLU(),
    "gelu": fn.GELU(),
    "silu": fn.SiLU(),
    "hard_sigmoid": fn.HardSigmoid(),
    "hard_tanh": fn.HardTanh(),
    "hard_swish": fn.HardSwish(),
}
OUTPUTS = {**HIDDEN, "softmax": fn.Softmax()}
PAIRS = [(output, loss) for output in OUTPUTS for loss in ("mse", "half_mse", "mae", "huber")]
PAIRS += [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy"), ("linear", "poisson")]
MARGIN = 1e-3  # the distance to kinks of activations and of mae


def for_reference(activation):
    name = fn.activations.family.name(activation)
    return (name, activation.beta) if hasattr(activation, "beta") else name


def targets(rng, rows, n_out, output, loss):
    if output == "softmax" and loss != "cross_entropy":
        return rng.random((rows, n_out))
    if loss == "cross_entropy":
        return np.eye(n_out)[rng.integers(0, n_out, rows)]
    if loss == "poisson":
        return rng.integers(0, 4, (rows, n_out)).astype(np.float64)
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, (rows, n_out)).astype(np.float64)
    return data(rng, (rows, n_out))


def away(loss, distance):
    """Whether no output lies within MARGIN of a kink of the loss; huber's slope has one at delta = 1."""
    kink = {"mae": 0.0, "huber": 1.0}.get(loss)
    return kink is None or abs(distance - kink).min() > MARGIN


def drawn(rng, sizes, rows, hidden, output, loss):
    """Weights, activations, X and y of a network at which the loss has a derivative."""
    chosen = [HIDDEN[hidden]] * (len(sizes) - 2) + [OUTPUTS[output]]
    names = [for_reference(activation) for activation in chosen]
    while True:
        weights, X, y = (
            random_weights(rng, sizes),
            data(rng, (rows, sizes[0])),
            targets(rng, rows, sizes[-1], output, loss),
        )
        yhat = ref.feedforward(weights, names, X)[-1][1]
        if away_from_kinks(weights, names, X, MARGIN) and away(loss, abs(yhat - y)):
            return weights, chosen, names, X, y


def built(n_in, weights, activations, dtype):
    layers = [fn.Dense(len(b), activation) for (_, b), activation in zip(weights, activations, strict=True)]
    net = fn.MLP(n_in, layers, dtype=dtype)
    net.set_weights(weights)
    return net


def by_differences(net, X, y, loss, h):
    """The gradient by central differences of net.loss, every weight and bias moved in turn."""
    weights = net.weights
    result = [(np.empty_like(W), np.empty_like(b)) for W, b in weights]
    for pair, out in zip(weights, result, strict=True):
        for array, slope in zip(pair, out, strict=True):
            for i in np.ndindex(array.shape):
                kept, values = array[i], []
                for moved in (kept + h, kept - h):
                    array[i] = moved
                    net.set_weights(weights)
                    values.append(net.loss(X, y, loss=loss))
                array[i] = kept
                slope[i] = (values[0] - values[1]) / (2 * h)
    net.set_weights(weights)
    return result


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_finite_differences(hidden, output, loss, rng):
    weights, activations, names, X, y = drawn(rng, (2, 3, 3), 4, hidden, output, loss)
    net = built(2, weights, activations, "float64")
    h = 1e-5
    size = 1 + abs(ref.network_loss(weights, names, loss, X, y))
    # the third derivative, of polynomials and exponentials of numbers near 1, and the losses' rounding
    bound = 100 * size * h**2 / 6 + 16 * np.finfo(float).eps * size / h
    gradient = net.gradient(X, y, loss=loss)
    expected = by_differences(net, X, y, loss, h)
    assert_close(gradient, expected, [(np.full(W.shape, bound), np.full(b.shape, bound)) for W, b in weights])
    assert max(abs(W).max() for W, _ in gradient) > 1e3 * bound  # the test can fail


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    """So many threads, whatever the work."""
    monkeypatch.setattr(division, "choose_threads", lambda net, batch, asked: asked or request.param)
    return request.param


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_hidden", "n_out", "rows"), turns(ODD_SIZES, 4))
def test_odd_sizes(n_in, n_hidden, n_out, rows, dtype, threads, rng):
    sizes = (n_in, n_hidden, n_hidden + 1, n_out)
    for output, loss in (("linear", "mse"), ("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")):
        if output == "softmax" and n_out == 1:
            continue
        net = network(rng, sizes, activation="tanh", output=output, dtype=dtype)
        weights, X, y = exact(net.weights), data(rng, (rows, n_in)), targets(rng, rows, n_out, output, loss)
        names = ["tanh", "tanh", output]
        yhat = ref.feedforward(weights, names, X)[-1][1]
        bounds = gradient_error(weights, loss, X, y, yhat, dtype)
        gradient = net.gradient(X, y, loss=loss)
        assert_close(gradient, ref.gradient(weights, names, loss, X, y), bounds)
        assert all(array.dtype == dtype for pair in gradient for array in pair)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_longer_than_a_pass(dtype, threads, monkeypatch, rng):
    monkeypatch.setattr(division, "PASS_ROWS", 32)
    net = network(rng, (5, 33, 3), activation="tanh", dtype=dtype)
    weights, X, y = exact(net.weights), data(rng, (101, 5)), data(rng, (101, 3))
    names = ["tanh", "linear"]
    bounds = gradient_error(weights, "mse", X, y, ref.feedforward(weights, names, X)[-1][1], dtype)
    assert_close(net.gradient(X, y, loss="mse"), ref.gradient(weights, names, "mse", X, y), bounds)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packed", ["inputs", "deltas"])
def test_many_rows_that_are_packed_for_few_units(packed, dtype, threads, rng):
    """As few units, and as few rows, a page each, as make packing them worth while."""
    wide, panel = gradient.PAGE // np.dtype(dtype).itemsize, layout.tiling(np.dtype(dtype)).panel
    assert wide > gradient.CLOSE * max(machine.PIECE, panel)
    units = {"inputs": gradient.LEAST_UNITS, "deltas": gradient.LEAST_UNITS_OF_DELTAS}[packed]
    rows = -(-gradient.MANY_PAGES // units)
    sizes = (wide, units * panel, 3) if packed == "inputs" else (units * machine.PIECE, wide, 3)
    net = network(rng, sizes, activation="tanh", dtype=dtype)
    weights, X, y = exact(net.weights), data(rng, (rows, sizes[0])), data(rng, (rows, 3))
    names = ["tanh", "linear"]
    bounds = gradient_error(weights, "mse", X, y, ref.feedforward(weights, names, X)[-1][1], dtype)
    assert_close(net.gradient(X, y, loss="mse"), ref.gradient(weights, names, "mse", X, y), bounds)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_activations_in_float32(hidden, rng):
    weights, activations, names, X, y = drawn(rng, (7, 5, 4, 3), 6, hidden, "linear", "mse")
    net = built(7, weights, activations, "float32")
    yhat = ref.feedforward(weights, names, X)[-1][1]
    bounds = gradient_error(weights, "mse", X, y, yhat, "float32")
    assert_close(net.gradient(X, y, loss="mse"), ref.gradient(weights, names, "mse", X, y), bounds)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_losses_and_outputs(output, loss, dtype, rng):
    weights, activations, names, X, y = drawn(rng, (5, 17, 3), 70, "tanh", output, loss)
    net = built(5, weights, activations, dtype)
    z, a = ref.feedforward(weights, names, X)[-1]
    error = 8 * math.sqrt(5 + 17) * np.finfo(dtype).eps * (1 + abs(z).max())
    assert abs(net.predict(X) - a).max() <= error
    value = ref.network_loss(weights, names, loss, X, y)
    slope = 2 * (abs(a).max() + abs(y).max()) * y.shape[1]  # of a sample's loss by an output, at most
    assert abs(net.loss(X, y, loss=loss) - value) <= error * (slope + value)


def test_threshold_trains_through_its_surrogate(rng):
    """g = 1: the gradient of the layer below is that of the same outputs through a linear layer."""
    weights = random_weights(rng, (3, 4, 2))
    X, y = data(rng, (5, 3)), data(rng, (5, 2))
    surrogate = built(3, weights, [fn.Threshold(surrogate="straight_through"), fn.Linear()], "float64")
    (W1, b1), (W2, b2) = weights
    a = (X @ W1 + b1 > 0) * 1.0
    delta = (a @ W2 + b2 - y) / 5
    expected = [(X.T @ (delta @ W2.T), (delta @ W2.T).sum(axis=0)), (a.T @ delta, delta.sum(axis=0))]
    bounds = gradient_error(weights, "half_mse", X, y, a @ W2 + b2, "float64")
    assert_close(surrogate.gradient(X, y, loss="half_mse"), expected, bounds)


@pytest.mark.parametrize("dtype", DTYPES)
def test_course_backpropagation(dtype):
    net = fn.MLP([2, 3, 1], activation="linear", dtype=dtype)
    net.set_weights([(np.ones((2, 3)), np.ones(3)), (np.ones((3, 1)), np.ones(1))])
    X, y = np.ones((1, 2)), np.zeros(1)
    assert net.predict(X).tolist() == [[10]]
    (dW0, db0), (dW1, db1) = net.gradient(X, y, loss="half_mse")
    assert dW1.tolist() == [[30], [30], [30]]
    assert db1.tolist() == [10]
    assert dW0.tolist() == [[10, 10, 10], [10, 10, 10]]
    assert db0.tolist() == [10, 10, 10]
    net.fit(X, y, loss="half_mse", optimizer=fn.SGD(2**-7), epochs=1, batch_size=1, progress=False)
    assert net.weights[1][0].tolist() == [[1 - 30 / 128]] * 3  # descent subtracts


def identity(n_in=1, **options):
    net = fn.MLP([n_in, n_in], dtype="float64", **options)
    net.set_weights([(np.eye(n_in), np.zeros(n_in))])
    return net


def test_course_mean_squared_error():
    yhat, y = np.array([[4.8], [0.9], [1.1], [5.1]]), np.array([5.1, 1.6, 2.3, 3.7])
    assert identity().loss(yhat, y, loss="mse") == pytest.approx(0.995, abs=8 * np.finfo(float).eps)
    assert identity().loss(yhat, y, loss="half_mse") == pytest.approx(0.995 / 2, abs=8 * np.finfo(float).eps)


def test_course_binary_cross_entropy():
    yhat, y = np.array([[0.9], [0.5], [0.4], [0.2]]), np.array([1, 0, 0, 1])
    net = identity(output="sigmoid")
    loss = net.loss(np.log(yhat / (1 - yhat)), y, loss="binary_cross_entropy")
    assert round(loss / math.log(10), 3) == 0.317
    assert round(loss, 3) == 0.730


@pytest.mark.parametrize("rows", [4, 600])
def test_gradients_of_a_loss_that_overflows(rows, threads):
    """By hand: z = 3e30, dW = 2 z x = 6e30, which float32 holds, while the loss, 9e60, it does not. 600: two passes."""
    net = fn.MLP([3, 1])
    net.set_weights([(np.full((3, 1), 1e30), np.zeros(1))])
    X, y = np.ones((rows, 3)), np.zeros(rows)
    ((dW, db),) = net.gradient(X, y)
    assert np.append(dW, db) == pytest.approx(6e30, rel=1e-5)
    with pytest.warns(RuntimeWarning, match="infinity in the loss: weights or inputs are too large for float32"):
        assert net.loss(X, y) == np.inf
    assert fn.diagnose(net, X, y)[0].gradient_norm == pytest.approx(6e30 * 3**0.5, rel=1e-5)


def test_what_overflows_is_told(rng):
    net = fn.MLP([3, 8, 8, 2], output="softmax")
    X, y = np.full((4, 3), 3e38), np.zeros(4, int)
    with pytest.warns(RuntimeWarning, match="NaN or infinity in the outputs"):
        assert np.isnan(net.predict(X)).any()
    with pytest.warns(RuntimeWarning, match="NaN or infinity in the gradient"):
        net.gradient(X, y)
