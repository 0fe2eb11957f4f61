"""From partial gradients to new parameters: trajectories of all optimizers, clipping, penalties, averages."""

import harness
import numpy as np
import pytest

from fastnn_kernels import layout, reference_optimizer, work
from fastnn_kernels import optimizer as codes
from fastnn_kernels import reference as ref
from fastnn_kernels.cuda import flat, optimizer, update
from fastnn_kernels.cuda.driver import kernel
from fastnn_kernels.cuda.work import CLIPPED, FLAG, PARTIAL, SIZE, SPLITS, T
from fastnn_kernels.layout import BATCH_NORM, BETA, DEPTH, GAMMA, LAYER_NORM, N_OUT, WIDTH, B, W
from fastnn_kernels.optimizer import CODES, CONSTANTS, SCHEDULE, Rates
from fastnn_kernels.schedule import STEPS as STEPS_OF_EPOCH

DTYPES = [np.float32, np.float64]
SIZES, STEPS, STATES = (3, 17, 2), 6, 4
ADAM = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "eps_root": 1e-4}
OPTIMIZERS = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "beta": 0.8},
    "nesterov": {"lr": 0.05, "beta": 0.8},
    "lookahead": {"lr": 0.05, "beta": 0.8},
    "adagrad": {"lr": 0.02, "eps": 1e-3, "eps_root": 1e-2},
    "rmsprop": {"lr": 0.005, "rho": 0.9, "eps": 0.1},
    "adam": ADAM,
    "adamw": ADAM | {"weight_decay": 0.3},
    "amsgrad": ADAM,
    "nadam": ADAM | {"momentum_decay": 0.1},
}
INDICES = {
    "lr": codes.LR,
    "beta": codes.BETA1,
    "beta1": codes.BETA1,
    "beta2": codes.BETA2,
    "rho": codes.BETA2,
    "eps": codes.EPS,
    "eps_root": codes.EPS_ROOT,
    "weight_decay": codes.DECAY,
    "momentum_decay": codes.DECAY,
}


@kernel
def _rates(work):
    optimizer.rates(work)


class Network:
    """Parameters on the device, and gradients that come in parts; the oracle beside it, in float64."""

    def __init__(self, name, constants, dtype, *, sizes=SIZES, norms=None, splits=3, **more):
        filled = np.zeros(CONSTANTS)
        filled[SCHEDULE + STEPS_OF_EPOCH] = 1
        for key, value in constants.items():
            filled[INDICES[key]] = value
        for key, value in more.items():
            filled[getattr(codes, key)] = value
        layers = len(sizes) - 1
        self.one = harness.make(
            sizes,
            [0] * layers,
            1,
            dtype,
            norms=norms,
            splits=splits,
            states=STATES,
            numbers={work.OPTIMIZER: CODES[name]},
            constants=filled,
            rates=np.zeros(len(Rates._fields)),
        )
        self.rng, self.dtype, self.t = np.random.Generator(np.random.Philox(5)), np.dtype(dtype), 0

    def params(self):
        return self.one.work.params.copy_to_host().astype(np.float64)

    def read(self, flat_vector):
        """[(W, b)], and behind a normalized layer's its (gamma, beta), in float64."""
        pairs = []
        for layer in range(1, len(self.one.table)):
            pairs.append(tuple(part.astype(np.float64) for part in harness.weight(self.one, layer, flat_vector)))
            if self.one.at(layer, layout.NORM):
                n = self.one.at(layer, N_OUT)
                starts = self.one.at(layer, GAMMA), self.one.at(layer, BETA)
                pairs.append(tuple(flat_vector[start : start + n].astype(np.float64) for start in starts))
        return pairs

    def gradient(self):
        """New random partial gradients on the device, NaN where padding lies; their sums, as `read` gives them."""
        space, total = self.one.work.space.copy_to_host(), np.zeros(self.one.work.params.size)
        for layer in range(1, len(self.one.table)):
            at = [self.one.at(layer, column) for column in (W, SIZE, PARTIAL, SPLITS)]
            start, size, partial, splits = at
            parts = self.rng.normal(size=(splits, size)).astype(self.dtype)
            used = self.used(layer)
            space[partial : partial + splits * size] = np.where(used, parts, np.nan).ravel()
            total[start : start + size] = np.where(used, parts.astype(np.float64).sum(axis=0), 0)
        self.one.work.space.copy_to_device(space)
        return self.read(total)

    def used(self, layer):
        """Which elements of a layer, from W on, are parameters."""
        marks = np.zeros(self.one.work.params.size)
        for array in harness.weight(self.one, layer, marks):
            array[...] = 1
        if self.one.at(layer, layout.NORM):
            for column in (GAMMA, BETA):
                marks[self.one.at(layer, column) :][: self.one.at(layer, N_OUT)] = 1
        return marks[self.one.at(layer, W) :][: self.one.at(layer, SIZE)] == 1

    def padding(self, flat_vector):
        """The elements of a flat vector that are no parameters."""
        used = np.zeros(self.one.work.params.size, bool)
        for layer in range(1, len(self.one.table)):
            used[self.one.at(layer, W) :][: self.one.at(layer, SIZE)] = self.used(layer)
        return flat_vector[: used.size][~used]

    def step(self):
        """One step on the device; the gradient that it took."""
        self.t += 1
        now = self.one.work.now.copy_to_host()
        now[T] = self.t
        self.one.work.now.copy_to_device(now)
        gradient = self.gradient()
        _rates[1, 1](self.one.work)
        update.update(self.one)
        return gradient

    def word(self, index):
        return int(self.one.work.words.copy_to_host()[index])


def follow(network, name, constants, clip=None, penalty=None):
    """Steps on the device and by the oracle; the weights that both come to."""
    step, slots = reference_optimizer.OPTIMIZERS[name]
    pairs = network.read(network.params())
    states = [[tuple(np.zeros_like(w) for _ in range(slots)) for w in pair] for pair in pairs]
    for _ in range(STEPS):
        gradients = network.step()
        if penalty is not None:
            gradients = [
                (dW + ref.penalty_gradient(*penalty[:1], w, penalty[1], 1) if w.ndim == 2 else dW, db)
                for (w, _), (dW, db) in zip(pairs, gradients, strict=True)
            ]
        if clip is not None:
            gradients = reference_optimizer.clipped(gradients, *clip)
        for i, (pair, slopes) in enumerate(zip(pairs, gradients, strict=True)):
            new = []
            for j in range(2):
                w, states[i][j] = step(pair[j], slopes[j], states[i][j], network.t, **constants)
                if penalty is not None and penalty[0] == "proximal_l1" and w.ndim == 2:
                    w = reference_optimizer.soft_threshold(w, constants["lr"] * penalty[1])
                new.append(w)
            pairs[i] = tuple(new)
    return network.read(network.params()), pairs


def assert_same(found, expected, dtype, most=64):
    for pair, exact in zip(found, expected, strict=True):
        for a, b in zip(pair, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=most * np.finfo(dtype).eps * max(1, abs(b).max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trajectories(name, dtype):
    network = Network(name, OPTIMIZERS[name], dtype)
    start = network.read(network.params())
    found, expected = follow(network, name, OPTIMIZERS[name])
    assert_same(found, expected, dtype)
    for (moved, _), (before, _) in zip(expected, start, strict=True):
        assert np.median(abs(moved - before)) > 1e-2  # much farther than rounding
    assert (network.padding(network.params()) == 0).all()
    assert network.word(FLAG) == network.word(CLIPPED) == 0


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "sgd"])
def test_the_states_are_where_the_processor_has_them(name):
    network = Network(name, OPTIMIZERS[name], np.float64)
    ((dW, _), _), size = network.step(), network.one.work.params.size
    state = network.one.work.state.copy_to_host()
    step, slots = reference_optimizer.OPTIMIZERS[name]
    W0 = network.read(network.params())[0][0]
    _, expected = step(W0, dW, (np.zeros_like(dW),) * slots, 1, **OPTIMIZERS[name])
    assert codes.states(CODES[name]) == slots
    for i in range(slots):
        found = network.read(state[i * size : (i + 1) * size])[0][0]
        np.testing.assert_allclose(found, expected[i], rtol=1e-13)
    assert (state[slots * size :] == 0).all()


@pytest.mark.parametrize("name", ["rmsprop", "adam", "amsgrad", "nadam"])
def test_the_rest_of_beta_is_not_rounded_by_float32(name):
    betas = {"rho": 0.999} if name == "rmsprop" else {"beta1": 0.9, "beta2": 0.999}
    network = Network(name, {"lr": 0.01, "eps": 1e-3} | betas, np.float32, splits=1)
    ((dW, _), _), size = network.step(), network.one.work.params.size
    state = network.one.work.state.copy_to_host()
    squares = network.read(state if name == "rmsprop" else state[size:])[0][0]
    np.testing.assert_allclose(squares, 0.001 * dW**2, rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("most", [1, 2048])
def test_any_number_of_blocks_and_splits(most, monkeypatch):
    monkeypatch.setattr(flat, "MOST_BLOCKS", most)
    network = Network("adam", ADAM, np.float64, sizes=(13, 19, 1, 5), splits=1)
    found, expected = follow(network, "adam", ADAM)
    assert_same(found, expected, np.float64)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("norms", [[BATCH_NORM, 0], [0, LAYER_NORM]])
def test_gain_and_shift_feel_no_penalty(norms, name):
    network = Network(name, OPTIMIZERS[name], np.float64, norms=norms, PENALTY_L2=0.3)
    found, expected = follow(network, name, OPTIMIZERS[name], penalty=("l2", 0.3))
    assert_same(found, expected, np.float64)
    assert (network.padding(network.params()) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [None, ("value", 0.4), ("norm", 0.5)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_clipping_and_penalties(name, clip, dtype):
    limits = {} if clip is None else {f"CLIP_{clip[0].upper()}": clip[1]}
    network = Network(name, OPTIMIZERS[name], dtype, PENALTY_L1=0.2, **limits)
    found, expected = follow(network, name, OPTIMIZERS[name], clip, ("l1", 0.2))
    assert_same(found, expected, dtype)
    assert network.word(CLIPPED) == (clip is not None)
    assert (network.padding(network.params()) == 0).all()


@pytest.mark.parametrize("kind", ["CLIP_VALUE", "CLIP_NORM"])
def test_a_limit_that_is_not_reached(kind):
    networks = [Network("sgd", {"lr": 0.1}, np.float32, **limit) for limit in ({}, {kind: 1e6})]
    for network in networks:
        network.step()
    assert networks[0].params().tobytes() == networks[1].params().tobytes()
    assert networks[1].word(CLIPPED) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_proximal_l1_reaches_zeros(dtype):
    network = Network("sgd", {"lr": 0.1}, dtype, PENALTY_L1=1.5, PROXIMAL=1)
    found, expected = follow(network, "sgd", {"lr": 0.1}, penalty=("proximal_l1", 1.5))
    assert_same(found, expected, dtype)
    assert np.array_equal(found[0][0] == 0, expected[0][0] == 0)
    assert (found[0][0] == 0).any()


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "amsgrad"])
def test_the_average_of_the_weights(name):
    network = Network(name, OPTIMIZERS[name], np.float64, AVERAGE=0.5)
    size, start = network.one.work.params.size, codes.states(CODES[name]) * network.one.work.params.size
    state, path = network.one.work.state.copy_to_host(), [network.params()]
    state[start : start + size] = path[0]
    network.one.work.state.copy_to_device(state)
    for _ in range(4):
        network.step()
        path.append(network.params())
    found = network.one.work.state.copy_to_host()[start : start + size]
    np.testing.assert_allclose(found, reference_optimizer.averaged(path, 0.5), rtol=0, atol=1e-14)


@pytest.mark.parametrize("limit", [{}, {"CLIP_NORM": 0.5}, {"CLIP_VALUE": 0.5}])
@pytest.mark.parametrize("name", ["sgd", "amsgrad"])
def test_nothing_changes_where_the_flag_is_set(name, limit):
    network = Network(name, OPTIMIZERS[name], np.float64, AVERAGE=0.5, **limit)
    network.step()
    before = network.params(), network.one.work.state.copy_to_host()
    words = network.one.work.words.copy_to_host()
    words[FLAG] = 1
    network.one.work.words.copy_to_device(words)
    network.step()
    assert np.array_equal(network.params(), before[0])
    assert np.array_equal(network.one.work.state.copy_to_host(), before[1])
    assert network.word(FLAG) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_changes_nothing(bad):
    network = Network("momentum", OPTIMIZERS["momentum"], np.float64, CLIP_NORM=0.5)
    network.step()
    before = network.params()
    network.gradient()
    space = network.one.work.space.copy_to_host()
    space[network.one.at(2, PARTIAL)] = bad
    network.one.work.space.copy_to_device(space)
    update.update(network.one)
    assert network.word(FLAG) == 1
    assert np.array_equal(network.params(), before)


def test_values_that_are_not_a_number_stay_so_and_count_as_clipped():
    network = Network("sgd", {"lr": 0.1}, np.float64, CLIP_VALUE=1e6)
    network.gradient()
    space = network.one.work.space.copy_to_host()
    space[network.one.at(2, PARTIAL)] = np.nan
    network.one.work.space.copy_to_device(space)
    _rates[1, 1](network.one.work)
    update.update(network.one)
    assert np.isnan(network.params()).sum() == 1
    assert network.word(CLIPPED) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norms", [None, [LAYER_NORM, 0]])
def test_without_an_optimizer_the_gradient_is_given(norms, dtype):
    network = Network("none", {}, dtype, norms=norms)
    before = network.params()
    expected = network.step()
    gradient = network.one.work.gradient.copy_to_host()
    assert_same(network.read(gradient), expected, dtype)
    assert (network.padding(gradient) == 0).all()
    assert np.array_equal(network.params(), before)
    assert network.one.at(1, B) == network.one.at(1, W) + network.one.at(1, DEPTH) * network.one.at(1, WIDTH)
