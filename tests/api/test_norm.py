"""Batch and layer normalization: gradients and training against the oracle, averages, prediction, files."""

import json
import math

import numpy as np
import pytest
from helpers import DTYPES, ODD_SIZES, data, random_weights, turns
from safetensors import safe_open
from safetensors.numpy import save_file

import fastnn as fn
from fastnn import division
from fastnn import norms as norms_module
from fastnn.files import checkpoint
from fastnn.processor import Processor
from fastnn.reading import Reader
from fastnn_kernels import layout
from fastnn_kernels import reference_norm as ref

QUIET = {"progress": False}
SIZES, ROWS, EPS, MOMENTUM = (7, 13, 5, 3), 31, 1e-3, 0.3
NORMS = {"batch": fn.BatchNorm(EPS, MOMENTUM), "layer": fn.LayerNorm(EPS)}
KINDS = [("batch", "batch"), ("layer", "layer"), ("batch", "layer"), (None, "batch"), ("layer", None)]


def built(rng, sizes, kinds, dtype, activation="tanh", output="linear"):
    """A network with random weights, gains and shifts, and what the oracle needs beside them."""
    layers = [fn.Dense(n, activation, norm=kind and NORMS[kind]) for n, kind in zip(sizes[1:-1], kinds, strict=True)]
    net = fn.MLP(sizes[0], [*layers, fn.Dense(sizes[-1], output)], dtype=dtype)
    net.set_weights(random_weights(rng, sizes))
    net.set_norms(state and redrawn(rng, state) for state in net.norms)
    activations = [activation] * len(layers) + [output]
    return net, activations, [*(kind and (kind, EPS) for kind in kinds), None]


def redrawn(rng, state):
    low, n = {"gamma": 0.5, "beta": -0.5, "mean": -0.5, "variance": 0.5}, len(state.gamma)
    values = {name: rng.uniform(low[name], low[name] + 1, n).astype(np.float32) for name in low}
    return fn.NormState(**{name: values[name] for name in low if getattr(state, name) is not None})


def pieces(net, flat):
    """(W, b) or (W, b, gamma, beta) of every layer of a flat vector, in float64."""
    found = []
    for number, layer in enumerate(net.layers, start=1):
        arrays = layout.get_layer(net.layout, number, flat)
        arrays += layout.get_norm(net.layout, number, flat) if layer.norm else ()
        found.append(tuple(array.astype(np.float64) for array in arrays))
    return found


def joined(layers):
    return np.concatenate([array.ravel() for layer in layers for array in layer])


def running_of(net):
    return [None if s is None or s.mean is None else (s.mean, s.variance) for s in net.norms]


def gradient(net, X, y, threads=1):
    loss = Reader(net, net.fitted).loss("mse")
    part = Reader(net, net.fitted).part(X, y, loss)
    return Processor(threads).gradient(net, part, loss)


def tolerance(function, layers, dtype, rng, times=1):
    """How far rounding may lead: a product rounds as if the weights moved by about sqrt(k) eps; what comes of it."""
    size = 4 * math.sqrt(max(len(W) for W, *_ in layers) + 1) * float(np.finfo(dtype).eps)
    exact, worst = function(layers), 0.0
    for _ in range(3):
        moved = [tuple(w + rng.choice((-size, size), w.shape) * np.maximum(abs(w), 1) for w in one) for one in layers]
        worst = max(worst, float(abs(function(moved) - exact).max()))
    return times * worst


# Gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 31, 130])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_gradient_is_the_oracles(kinds, rows, dtype, rng):
    net, activations, norms = built(rng, SIZES, kinds, dtype)
    assert_gradient(net, activations, norms, rows, dtype, rng)


@pytest.mark.parametrize("kind", ["batch", "layer"])
@pytest.mark.parametrize("sizes", turns(ODD_SIZES, 4), ids=str)
def test_gradient_at_odd_sizes(sizes, kind, rng):
    net, activations, norms = built(rng, sizes, (kind, kind), "float32", "softplus")
    assert_gradient(net, activations, norms, 13, "float32", rng)


@pytest.mark.parametrize("kind", ["batch", "layer"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "gelu", "silu", "hard_tanh"])
def test_gradient_through_activations_that_keep_what_they_need(activation, kind, rng):
    net, activations, norms = built(rng, SIZES, (kind, kind), "float64", activation)
    assert_gradient(net, activations, norms, ROWS, "float64", rng)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_custom_activation_behind_a_norm(kind, rng):
    X, y = data(rng, (ROWS, 7)), data(rng, (ROWS, 3))
    tanh = fn.CustomActivation(lambda z: np.tanh(z), lambda z: 1.0 - np.tanh(z) ** 2)
    net, _, _ = built(rng, SIZES, (kind, kind), "float64")
    own = fn.MLP(7, [fn.Dense(n, tanh, norm=NORMS[kind]) for n in SIZES[1:-1]] + [fn.Dense(3)], dtype="float64")
    own.set_weights(net.weights)
    own.set_norms(net.norms)
    assert abs(gradient(own, X, y) - gradient(net, X, y)).max() < 1e-13
    assert abs(own.predict(X) - net.predict(X)).max() < 1e-13


def assert_gradient(net, activations, norms, rows, dtype, rng):
    X, y = data(rng, (rows, net.n_in)), data(rng, (rows, net.n_out))
    start = pieces(net, net.params)

    def exact(layers):
        return joined(ref.gradient(layers, activations, norms, "mse", X, y))

    found = joined(pieces(net, gradient(net, X, y)))
    assert abs(found - exact(start)).max() <= tolerance(exact, start, dtype, rng)


@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_gradient_by_differences_of_the_training_loss(kinds, rng):
    net, _, _ = built(rng, SIZES, kinds, "float64")
    X, y, h = data(rng, (ROWS, 7)), data(rng, (ROWS, 3)), 1e-5
    slopes = gradient(net, X, y)
    start = net.params.copy()

    def training_loss(i, move):
        net.params[:] = start
        net.params[i] += move
        options = {"epochs": 1, "batch_size": "full", "shuffle": False, "loss": "mse", "threads": 1}
        return net.fit(X, y, optimizer=fn.SGD(1e-300), **options, **QUIET).loss[0]

    for i in np.flatnonzero(start):
        assert abs((training_loss(i, h) - training_loss(i, -h)) / (2 * h) - slopes[i]) < 1e-8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_gradients_in_parts_and_on_several_threads(kinds, dtype, rng, monkeypatch):
    monkeypatch.setattr(division, "PASS_ROWS", 32)
    net, activations, norms = built(rng, SIZES, kinds, dtype)
    X, y = data(rng, (101, 7)), data(rng, (101, 3))
    found = [gradient(net, X, y, threads) for threads in (1, 2, 3)]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    start = pieces(net, net.params)

    def exact(layers):
        return joined(ref.gradient(layers, activations, norms, "mse", X, y))

    assert abs(joined(pieces(net, found[0])) - exact(start)).max() <= tolerance(exact, start, dtype, rng)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_large_mean_costs_no_accuracy(kind, rng):
    """z = x + 1000, exact in float32: what is normalized away must not leave its rounding."""
    net = fn.MLP(8, [fn.Dense(8, norm=kind), fn.Dense(8)])
    net.set_weights([(np.eye(8), np.full(8, 1000.0)), (np.eye(8), np.zeros(8))])
    X = rng.integers(-64, 64, (5000, 8)) / 16.0
    layers, norms = pieces(net, net.params), [(kind, 1e-5), None]
    expected = ref.gradient(layers, ["linear"] * 2, norms, "mse", X, np.zeros((5000, 8)))[1][0]
    found = net.gradient(X, np.zeros((5000, 8)), loss="mse")[1][0]
    assert abs(found - expected).max() <= math.sqrt(5000) * np.finfo(np.float32).eps  # of a sum of 5000 products


# Training


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [fn.SGD(0.1), fn.Adam(0.01, eps=1e-3)], ids=["sgd", "adam"])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_training_is_the_oracles(kinds, optimizer, dtype, rng):
    net, activations, norms = built(rng, SIZES, kinds, dtype)
    net.set_norms(s and fn.NormState(s.gamma, s.beta, *initial(s)) for s in net.norms)
    X, y = data(rng, (75, 7)), data(rng, (75, 3))
    batches = [np.arange(i, min(i + ROWS, 75)) for i in range(0, 75, ROWS)] * 3
    name, constants = fn.optimizers.family.name(optimizer), vars(optimizer)
    start = pieces(net, net.params)

    def whole(layers):
        return ref.train(
            layers, activations, norms, "mse", X, y, batches, name, constants, momentum=MOMENTUM, l2=0.1 / 75
        )

    def moved(layers):
        trained, running, _ = whole(layers)
        return np.concatenate([joined(trained), *(array for pair in running if pair for array in pair)])

    history = net.fit(
        X, y, loss="mse", optimizer=optimizer, epochs=3, batch_size=ROWS, shuffle=False, penalty=fn.L2(0.1), **QUIET
    )
    found = [joined(pieces(net, net.params)), *(array for pair in running_of(net) if pair for array in pair)]
    bound = tolerance(moved, start, dtype, rng, len(batches))
    assert bound < 1e-2
    assert abs(np.concatenate(found) - moved(start)).max() <= bound
    losses = np.average(np.reshape(whole(start)[2], (3, 3)), axis=1, weights=[31, 31, 13])
    penalty = [0.05 / 75 * sum((W**2).sum() for W, _ in net.weights)]
    assert history.loss[-1] == pytest.approx(losses[-1] + penalty[0], rel=1e-3)


def initial(state):
    return () if state.mean is None else (np.zeros_like(state.mean), np.ones_like(state.mean))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_the_same_bits_on_any_number_of_threads(kinds, dtype, rng):
    X, y = data(rng, (75, 7)), data(rng, (75, 3))
    net, _, _ = built(rng, SIZES, kinds, dtype, "relu")
    weights, states, ends = net.weights, net.norms, []
    for threads in (1, 2, 3):
        net.set_weights(weights)
        net.set_norms(states)
        net.fit(X, y, loss="mse", epochs=4, batch_size=ROWS, threads=threads, **QUIET)
        net.fitted = fn.fitted.Fitted()
        ends.append(net.params.tobytes() + net.running.tobytes())
    assert ends[0] == ends[1] == ends[2]


def test_more_threads_than_rows(rng):
    nets = [fn.MLP([3, 40, 20, 2], norm="batch") for _ in range(2)]
    X, y = data(rng, (5, 3)), data(rng, (5, 2))
    for net, threads in zip(nets, (1, 4), strict=True):
        net.fit(X, y, epochs=5, batch_size=3, threads=threads, **QUIET)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_second_fit_goes_on(kind, rng):
    X, y = data(rng, (75, 7)), data(rng, (75, 3))
    nets = [fn.MLP(SIZES, norm=kind) for _ in range(2)]
    nets[0].fit(X, y, epochs=5, batch_size=16, **QUIET)
    for epochs in (2, 3):
        nets[1].fit(X, y, epochs=epochs, batch_size=16, **QUIET)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    assert nets[0].running.tobytes() == nets[1].running.tobytes()
    nets[0].fit(X, y, epochs=5, batch_size=16, reset=True, **QUIET)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    assert nets[0].running.tobytes() == nets[1].running.tobytes()


def test_layer_norm_takes_batches_of_one_sample(rng):
    net, activations, norms = built(rng, SIZES, ("layer", "layer"), "float64")
    X, y = data(rng, (9, 7)), data(rng, (9, 3))
    start = pieces(net, net.params)
    net.fit(X, y, loss="mse", optimizer=fn.SGD(0.1), epochs=1, batch_size=1, shuffle=False, **QUIET)
    expected, _, _ = ref.train(start, activations, norms, "mse", X, y, [[i] for i in range(9)], "sgd", {"lr": 0.1})
    assert abs(joined(pieces(net, net.params)) - joined(expected)).max() < 1e-12


@pytest.mark.parametrize(("batch", "accumulate"), [(3, 3), (5, 2), (31, 2)])
def test_accumulated_batches_keep_their_own_statistics(batch, accumulate, rng):
    X, y = data(rng, (99, 7)), data(rng, (99, 3))
    nets = [fn.MLP(SIZES, norm="batch", dtype="float64") for _ in range(2)]
    for net, times in zip(nets, (1, accumulate), strict=True):
        net.fit(X, y, optimizer=fn.SGD(1e-300), epochs=2, batch_size=batch, accumulate=times, **QUIET)
    assert nets[0].running.tobytes() == nets[1].running.tobytes()


def test_padding_stays_zero(rng):
    for kind in ("batch", "layer"):
        net = fn.MLP(SIZES, norm=kind, activation="sigmoid")
        net.fit(data(rng, (75, 7)), data(rng, (75, 3)), epochs=3, batch_size=16, **QUIET)
        clean = layout.zeros(net.layout.count, net.dtype)
        for number, (W, b) in enumerate(net.weights, start=1):
            layout.set_layer(net.layout, number, clean, W, b)
            if net.layers[number - 1].norm:
                for new, old in zip(
                    *(layout.get_norm(net.layout, number, p) for p in (clean, net.params)), strict=True
                ):
                    new[:] = old
        assert np.array_equal(clean, net.params)


def test_a_gradient_leaves_the_averages_alone(rng):
    net, _, _ = built(rng, SIZES, ("batch", "batch"), "float32")
    before = net.running.copy()
    net.gradient(data(rng, (9, 7)), data(rng, (9, 3)))
    assert np.array_equal(net.running, before)


def test_divergence_puts_the_averages_back(rng):
    net = fn.MLP(SIZES, norm="batch")
    X, y = data(rng, (64, 7)), data(rng, (64, 3))
    net.fit(X, y, epochs=2, batch_size=16, **QUIET)
    before = net.params.tobytes(), net.running.tobytes()
    with pytest.raises(fn.DivergenceError):
        net.fit(X, y, optimizer=fn.SGD(1e30), epochs=5, batch_size=16, **QUIET)
    assert (net.params.tobytes(), net.running.tobytes()) == before


def test_early_stopping_puts_the_averages_back(rng):
    net = fn.MLP(SIZES, norm="batch")
    X, y = data(rng, (64, 7)), data(rng, (64, 3))
    stopping = fn.EarlyStopping(patience=3)
    history = net.fit(X, y, epochs=60, batch_size=16, validation=(X + 3, y), callbacks=stopping, **QUIET)
    assert net.loss(X + 3, y) == min(history.validation_loss)


# Prediction


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_prediction_is_the_unfolded_oracles(kinds, dtype, rng):
    net, activations, norms = built(rng, SIZES, kinds, dtype)
    X, layers = data(rng, (200, 7)), pieces(net, net.params)

    def exact(layers):
        return ref.predict(layers, activations, norms, running_of(net), X)

    found, before = net.predict(X), net.params.copy()
    assert abs(found - exact(layers)).max() <= tolerance(exact, layers, dtype, rng)
    assert net.loss(X, np.zeros((200, 3)), loss="mse") == pytest.approx((exact(layers) ** 2).mean(), rel=1e-5)
    assert np.array_equal(net.params, before)
    assert np.array_equal(found, np.concatenate([net.predict(X[i : i + 1]) for i in range(200)]))


def test_validation_in_training_sees_the_averages_of_its_epoch(rng):
    net, told = fn.MLP(SIZES, norm="batch"), []
    X, y = data(rng, (64, 7)), data(rng, (64, 3))

    class Listen(fn.Callback):
        def epoch_end(self, net, history):
            told.append(net.loss(X, y))
            return False

    history = net.fit(X, y, epochs=4, batch_size=16, validation=(X, y), callbacks=Listen(), **QUIET)
    assert told == history.validation_loss


@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_files(kinds, rng, tmp_path):
    net, _, _ = built(rng, SIZES, kinds, "float32")
    X = data(rng, (40, 7))
    net.save(tmp_path / "model.safetensors")
    again = fn.MLP.load(tmp_path / "model.safetensors")
    assert again.layers == net.layers
    assert again.params.tobytes() == net.params.tobytes()
    assert again.running.tobytes() == net.running.tobytes()
    assert np.array_equal(again.predict(X), net.predict(X))


def test_files_of_before(rng, tmp_path):
    net = fn.MLP(SIZES)
    net.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    architecture = json.loads(metadata["architecture"])
    for layer in architecture["layers"]:
        del layer["norm"]
    save_file(tensors, tmp_path / "old.safetensors", {**metadata, "architecture": json.dumps(architecture)})
    assert checkpoint.load(tmp_path / "old.safetensors").params.tobytes() == net.params.tobytes()


def test_folding_leaves_other_layers_alone(rng):
    net, _, _ = built(rng, SIZES, ("batch", "layer"), "float64")
    out = layout.zeros(net.layout.count, net.dtype)
    norms_module.fold(net, out)
    before, after = pieces(net, net.params), pieces(net, out)
    assert joined(after[1:]).tobytes() == joined(before[1:]).tobytes()
    assert not np.array_equal(after[0][0], before[0][0])
