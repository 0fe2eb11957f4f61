"""Optimizers and penalties: whole trajectories against the oracle."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, same

import fastnn as fn
from fastnn_kernels import reference as ref

STEPS = 50
SIZES = (5, 17, 3)
ACTIVATIONS = ["tanh", "linear"]
OPTIMIZERS = [
    (fn.SGD(0.1), "sgd", {"lr": 0.1}),
    (fn.Momentum(0.05, 0.8), "momentum", {"lr": 0.05, "beta": 0.8}),
    (fn.Nesterov(0.05, 0.8), "nesterov", {"lr": 0.05, "beta": 0.8}),
    (fn.Adam(0.01, 0.8, 0.95), "adam", {"lr": 0.01, "beta1": 0.8, "beta2": 0.95}),
    (fn.Adam(0.01, eps=0.0, eps_root=1e-4), "adam", {"lr": 0.01, "eps": 0.0, "eps_root": 1e-4}),
    (fn.Adam(0.01, eps=1e-3, eps_root=1e-4), "adam", {"lr": 0.01, "eps": 1e-3, "eps_root": 1e-4}),
    (fn.Nesterov(0.05, 0.8, form="lookahead"), "lookahead", {"lr": 0.05, "beta": 0.8}),
    (fn.Adagrad(0.02, eps=1e-3, eps_root=1e-2), "adagrad", {"lr": 0.02, "eps": 1e-3, "eps_root": 1e-2}),
    (fn.RMSprop(0.005, 0.9, eps=0.1), "rmsprop", {"lr": 0.005, "rho": 0.9, "eps": 0.1}),
    (fn.AdamW(0.01, eps=1e-3, weight_decay=0.3), "adamw", {"lr": 0.01, "eps": 1e-3, "weight_decay": 0.3}),
    (fn.AMSGrad(0.01, 0.8, 0.9, eps=1e-3), "amsgrad", {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3}),
    (fn.NAdam(0.01, eps=1e-3, momentum_decay=0.1), "nadam", {"lr": 0.01, "eps": 1e-3, "momentum_decay": 0.1}),
]
PENALTIES = [(None, None, 0.0), (fn.L2(2.0), "l2", 2.0), (fn.L1(0.05), "l1", 0.05)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("penalty", "penalty_name", "strength"), PENALTIES, ids=["no penalty", "l2", "l1"])
@pytest.mark.parametrize(("optimizer", "name", "constants"), OPTIMIZERS, ids=repr)
def test_trajectory(optimizer, name, constants, penalty, penalty_name, strength, dtype, rng):
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    X, y = data(rng, (20, 5)), data(rng, (20, 3))
    start = exact(net.weights)

    def train(weights):
        batches = [np.arange(20)] * STEPS
        return ref.train(weights, ACTIVATIONS, "mse", X, y, batches, name, constants, penalty_name, strength)[0]

    history = net.fit(
        X,
        y,
        loss="mse",
        optimizer=optimizer,
        penalty=penalty,
        batch_size="full",
        shuffle=False,
        epochs=STEPS,
        progress=False,
    )
    expected = train(start)
    tolerance = drift(train, start, STEPS, dtype, rng)
    moved = abs(flat(expected) - flat(start)).max()
    assert tolerance < (1e-2 if dtype == "float32" else 1e-11) * moved  # the test can fail
    assert abs(flat(net.weights) - flat(expected)).max() <= tolerance
    assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize("optimizer", [row[0] for row in OPTIMIZERS], ids=repr)
def test_a_second_fit_goes_on_as_one_long_fit_on_any_number_of_threads(optimizer, rng):
    X, y = data(rng, (70, 5)), data(rng, (70, 3))
    whole, parts = (network(np.random.default_rng(1), SIZES) for _ in range(2))
    whole.fit(X, y, optimizer=optimizer, epochs=4, batch_size=33, threads=1, progress=False)
    for epochs in (1, 3):
        parts.fit(X, y, optimizer=optimizer, epochs=epochs, batch_size=33, threads=2, progress=False)
    assert same(whole.weights, parts.weights)


def test_the_other_form_of_nesterov_starts_afresh(rng):
    X, y = data(rng, (20, 5)), data(rng, (20, 3))
    net = network(rng, SIZES)
    net.fit(X, y, optimizer=fn.Nesterov(), epochs=2, progress=False)
    net.fit(X, y, optimizer=fn.Nesterov(form="lookahead"), epochs=1, progress=False)
    assert net.fitted.optimizer.steps == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_zero_feel_no_l1(dtype):
    net = fn.MLP([2, 1], dtype=dtype)
    net.set_weights([(np.array([[0.0], [0.5]]), np.zeros(1))])
    X = np.zeros((4, 2))
    net.fit(X, np.zeros(4), optimizer=fn.SGD(0.5), penalty=fn.L1(1.0), batch_size="full", epochs=1, progress=False)
    assert net.weights[0][0].ravel().tolist() == [0.0, 0.5 - 0.5 / 4]


@pytest.mark.parametrize("penalty", [fn.L1(3.0), fn.L2(3.0)], ids=repr)
def test_biases_feel_no_penalty(penalty, rng):
    X = np.zeros((4, 2))  # no weight before the last layer has a gradient, so only a penalty could move them
    plain, penalized = (network(np.random.default_rng(1), (2, 3), dtype="float64") for _ in range(2))
    for net, given in ((plain, None), (penalized, penalty)):
        net.fit(X, np.ones((4, 3)), optimizer="sgd", penalty=given, batch_size="full", epochs=1, progress=False)
    assert plain.weights[0][1].tobytes() == penalized.weights[0][1].tobytes()
    assert not np.array_equal(plain.weights[0][0], penalized.weights[0][0])


def test_a_penalty_of_zero_changes_nothing(rng):
    X, y = data(rng, (20, 5)), data(rng, (20, 3))
    nets = [network(np.random.default_rng(1), SIZES) for _ in range(3)]
    for net, penalty in zip(nets, (None, fn.L1(0), fn.L2(0)), strict=True):
        net.fit(X, y, penalty=penalty, epochs=3, batch_size=6, progress=False)
    assert same(nets[0].weights, nets[1].weights)
    assert same(nets[0].weights, nets[2].weights)
