"""Noise in training against the oracle; none of it anywhere else."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, fisher_yates, flat, random_weights, same

import fastnn as fn
from fastnn import activations, description, subnetwork
from fastnn_kernels import layout
from fastnn_kernels import noise as codes
from fastnn_kernels import reference_noise as ref
from fastnn_kernels import rng as kernels

SIZES = (5, 70, 33, 17, 3)
ACTIVATIONS = ["tanh", "relu", "sigmoid", "linear"]
QUIET = {"progress": False}


def build(rng, noises, names=ACTIVATIONS, sizes=SIZES, **options):
    """A network with known weights, a noise or None for each layer."""
    layers = [fn.Dense(units, name, noise=noise) for units, name, noise in zip(sizes[1:], names, noises, strict=True)]
    net = fn.MLP(sizes[0], layers, **options)
    net.set_weights(away_from_zero(random_weights(rng, sizes)))
    return net


def away_from_zero(weights):
    """Weights of 1/64 or more in size: those of Shakeout jump where their sign changes."""
    return [(np.where(W < 0, -1, 1) * np.maximum(abs(W), 1 / 64), b) for W, b in weights]


def disturbance(noise, units, weight, rows, layer, t, seed):
    """What the oracle says that a noise makes of a layer of so many units; weight: of those that take part."""
    if isinstance(noise, fn.Dropout) and noise.per != "sample":
        return ref.Disturbance(output=units / weight.shape[1])
    if isinstance(noise, fn.Dropout):
        return ref.dropout(noise.p, rows, weight.shape[1], layer, t, seed)
    if isinstance(noise, fn.DropConnect) and noise.per == "sample":
        return ref.sample_connect(noise.p, weight, rows, layer, t, seed)
    if isinstance(noise, fn.DropConnect):
        return ref.drop_connect(noise.p, weight, layer, t, seed)
    if isinstance(noise, fn.Shakeout):
        return ref.shakeout(noise.tau, noise.c, weight, layer, t, seed)
    if isinstance(noise, fn.Whiteout):
        return ref.whiteout(noise.sigma, noise.gamma, noise.lam, noise.form, weight, layer, t, seed)
    return ref.Disturbance()


def oracle(net, X, y, batches, optimizer, constants, steps_per_epoch):
    """A function that trains weights as fit should."""
    noises = [layer.any_noise for layer in net.layers]
    names = [activations.family.name(layer.function) for layer in net.layers]

    def disturb(weights, rows, t):
        layers = enumerate(zip(noises, net.sizes[1:], weights, strict=True), start=1)
        return [disturbance(noise, units, W, rows, i, t, net.seed) for i, (noise, units, (W, _)) in layers]

    def keep(t):
        numbers = {"batch": t, "epoch": (t - 1) // steps_per_epoch}
        units = [np.arange(n) for n in net.sizes]
        for i, noise in enumerate(noises, start=1):
            if isinstance(noise, fn.Dropout) and noise.per != "sample":
                units[i] = ref.kept_units(noise.p, net.sizes[i], i, numbers[noise.per], net.seed)
        return units

    def train(weights):
        return ref.train(weights, names, "mse", X, y, batches, disturb, optimizer, constants, keep)[0]

    return train


def assert_trains_as_the_oracle(net, rng, optimizer=None, threads=1, samples=45, batch=16, epochs=3):
    X, y = data(rng, (samples, net.n_in)), data(rng, (samples, net.n_out))
    orders = [fisher_yates(samples, net.seed, epoch) for epoch in range(epochs)]
    batches = [order[i : i + batch] for order in orders for i in range(0, samples, batch)]
    name, constants, chosen = optimizer or ("sgd", {"lr": 0.2}, fn.SGD(0.2))
    start, train = exact(net.weights), oracle(net, X, y, batches, name, constants, len(batches) // epochs)
    net.fit(X, y, loss="mse", optimizer=chosen, batch_size=batch, epochs=epochs, threads=threads, **QUIET)
    expected = flat(train(start))
    tolerance = drift(train, start, len(batches), str(net.dtype), rng)
    assert tolerance < 1e-2 * abs(expected - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - expected).max() <= tolerance


DROPOUTS = [fn.Dropout(0.3), fn.Dropout(0.5), fn.Dropout(0.1), None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "names",
    [ACTIVATIONS, ["elu", "softplus", "leaky_relu", "sigmoid"], ["linear", "tanh", "tanh", "linear"]],
    ids=str,
)
def test_training_with_dropout(names, dtype, rng):
    net = build(rng, DROPOUTS, names, dtype=dtype, seed=2**40 + 3)
    assert_trains_as_the_oracle(net, rng)


@pytest.mark.parametrize("batch", [1, 45])
def test_dropout_in_steps_of_one_sample_and_of_all(batch, rng):
    net = build(rng, DROPOUTS, dtype="float64")
    assert_trains_as_the_oracle(net, rng, batch=batch, samples=45 if batch == 45 else 7, epochs=2)


def test_dropout_in_batches_longer_than_a_pass_and_with_momentum(rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PASS_ROWS", 16)
    net = build(rng, DROPOUTS, dtype="float64")
    optimizer = ("momentum", {"lr": 0.1, "beta": 0.9}, fn.Momentum(0.1, 0.9))
    assert_trains_as_the_oracle(net, rng, optimizer, threads=2, batch=40)


NOISES = {
    "dropout": DROPOUTS,
    "dropout per batch": [fn.Dropout(0.3, "batch"), fn.Dropout(0.5, "batch"), fn.Dropout(0.9, "batch"), None],
    "dropout per epoch": [fn.Dropout(0.3, "epoch"), None, fn.Dropout(0.5, "epoch"), None],
    "dropout per batch and epoch": [fn.Dropout(0.3, "epoch"), fn.Dropout(0.2), fn.Dropout(0.5, "batch"), None],
    "dropout per batch and weights": [fn.Dropout(0.3, "batch"), fn.DropConnect(0.2), None, fn.Whiteout(0.1)],
    "drop_connect": [fn.DropConnect(0.2), fn.DropConnect(0.5), fn.DropConnect(0.3), fn.DropConnect(0.1)],
    "drop_connect per sample": [None, fn.DropConnect(0.5, "sample"), fn.DropConnect(0.2, "sample"), None],
    "shakeout": [None, fn.Shakeout(0.2, 0.05), fn.Shakeout(0.5, 0.01), fn.Shakeout(0.1, 0.02)],
    "whiteout added": [fn.Whiteout(0.1), fn.Whiteout(0.1, 0.5, 0.05), None, fn.Whiteout(0.2, 0.0, 0.01)],
    "whiteout multiplied": [fn.Whiteout(0.1, 0.5, 0.1, "multiplied")] * 4,
    "mixed": [fn.Shakeout(0.1, 0.02), fn.Dropout(0.4), fn.DropConnect(0.2), fn.Whiteout(0.1)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(NOISES)[1:])
def test_training_with_other_noise(name, dtype, rng):
    net = build(rng, NOISES[name], dtype=dtype, seed=5)
    assert_trains_as_the_oracle(net, rng, threads=2, epochs=2)


@pytest.mark.parametrize("name", list(NOISES)[1:])
def test_other_noise_in_batches_longer_than_a_pass_and_with_momentum(name, rng, monkeypatch):
    monkeypatch.setattr(fn.division, "PASS_ROWS", 16)
    net = build(rng, NOISES[name], dtype="float64")
    optimizer = ("momentum", {"lr": 0.1, "beta": 0.9}, fn.Momentum(0.1, 0.9))
    assert_trains_as_the_oracle(net, rng, optimizer, threads=2, batch=40)


WIDE = (37, 200, 129, 3)
ROOTED = {"eps": 1e-2}  # steps are no larger than gradients are, so that rounding does not grow
OPTIMIZERS = {
    "nesterov": ({"lr": 0.1, "beta": 0.9}, fn.Nesterov(0.1, 0.9)),
    "adagrad": ({"lr": 0.05, **ROOTED}, fn.Adagrad(0.05, **ROOTED)),
    "rmsprop": ({"lr": 0.01, **ROOTED}, fn.RMSprop(0.01, **ROOTED)),
    "adam": ({"lr": 0.01, **ROOTED}, fn.Adam(0.01, **ROOTED)),
    "amsgrad": ({"lr": 0.01, **ROOTED}, fn.AMSGrad(0.01, **ROOTED)),
    "nadam": ({"lr": 0.01, **ROOTED}, fn.NAdam(0.01, **ROOTED)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.05, 0.5, 0.97])
def test_wide_layers_with_units_left_out_of_every_batch(p, dtype, rng):
    noises = [fn.Dropout(p, "batch"), fn.Dropout(p, "batch"), None]
    net = build(rng, noises, ["tanh", "sigmoid", "linear"], WIDE, dtype=dtype)
    assert_trains_as_the_oracle(net, rng, ("adam", *OPTIMIZERS["adam"]), threads=2, epochs=2)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("per", ["batch", "epoch"])
def test_every_optimizer_with_units_left_out(per, name, rng):
    noises = [fn.Dropout(0.5, per), fn.Dropout(0.3, per), None]
    net = build(rng, noises, ["tanh", "sigmoid", "linear"], WIDE, dtype="float64")
    assert_trains_as_the_oracle(net, rng, (name, *OPTIMIZERS[name]), epochs=2)


AROUND = {
    "nothing": {},
    "decay": {"optimizer": fn.AdamW(0.01, weight_decay=0.1)},
    "momentum and L2": {"optimizer": fn.Momentum(0.1, 0.9), "penalty": fn.L2(0.5)},
    "proximal": {"optimizer": fn.SGD(0.1), "penalty": fn.L1(0.5, proximal=True)},
    "clipped elements": {"clip": fn.ClipValue(1e-3)},
    "clipped norm": {"clip": fn.ClipNorm(1e-3)},
    "average": {"average": fn.EMA(0.9)},
    "accumulation": {"accumulate": 2, "batch_size": 8},
}


def parts_that_stay(net):
    """For each layer, whether each of its weights, and of its biases, takes part in step 1."""
    units = [np.ones(net.n_in, bool)]
    for layer, dense in enumerate(net.layers, start=1):
        units.append(np.full(dense.units, dense.dropout is None))
        if dense.dropout is not None:
            units[-1][ref.kept_units(dense.dropout.p, dense.units, layer, 1, net.seed)] = True
    return [(np.outer(below, here), here) for below, here in pairwise(units)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_what_belongs_to_a_unit_that_is_off_rests(p, name, dtype, rng):
    noises = [fn.Dropout(p, "batch"), fn.Dropout(p, "batch"), None]
    net = build(rng, noises, ["tanh", "sigmoid", "linear"], WIDE, dtype=dtype)
    before = net.weights
    options = {"batch_size": 16, "loss": "mse", "threads": 2, **AROUND[name]}
    net.fit(data(rng, (16, 37)), data(rng, (16, 3)), epochs=1, **options, **QUIET)
    assert net.fitted.optimizer.steps == 1
    stays = parts_that_stay(net)
    for pair, old, here in zip(net.weights, before, stays, strict=True):
        for array, start, mask in zip(pair, old, here, strict=True):
            assert array[~mask].tobytes() == start[~mask].tobytes()
            assert (array[mask] != start[mask]).mean() > 0.9
    states = net.fitted.optimizer.values[: -len(net.params) if "average" in options else None]
    for state in states.reshape(-1, len(net.params)):
        for layer, here in enumerate(stays, start=1):
            for array, mask in zip(layout.get_layer(net.layout, layer, state), here, strict=True):
                assert not array[~mask].any()
                assert (array[mask] != 0).mean() > 0.9
    known = sum(np.count_nonzero(array) for pair in net.weights for array in pair)
    assert np.count_nonzero(net.params) == known  # padding is 0


def test_memory_that_is_asked_for_early_holds_the_same_bits(rng, monkeypatch):
    X, y = data(rng, (45, 37)), data(rng, (45, 3))
    weights, trained = random_weights(rng, WIDE), []
    for cached in (subnetwork.CACHED_BYTES, 0):
        monkeypatch.setattr(subnetwork, "CACHED_BYTES", cached)
        net = build(rng, [fn.Dropout(0.5, "batch"), fn.Dropout(0.1, "batch"), None], ACTIVATIONS[1:], WIDE)
        net.set_weights(weights)
        net.fit(X, y, batch_size=16, epochs=3, **QUIET)
        trained.append(net.weights)
    assert same(*trained)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", AROUND)
def test_any_number_of_threads_updates_the_whole_network_alike(name, dtype, rng):
    X, y = data(rng, (64, 37)), data(rng, (64, 3))
    weights, trained = random_weights(rng, WIDE), []
    for threads in (1, 2, 3):
        net = build(rng, [fn.Dropout(0.5, "batch"), fn.Dropout(0.3, "batch"), None], ACTIVATIONS[1:], WIDE, dtype=dtype)
        net.set_weights(weights)
        net.fit(X, y, epochs=3, threads=threads, **{"batch_size": 32, **AROUND[name]}, **QUIET)
        trained.append(net.params.tobytes() + net.fitted.optimizer.values.tobytes())
    assert trained[0] == trained[1] == trained[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NOISES)
def test_any_number_of_threads_gives_the_same_bits(name, dtype, rng):
    X, y = data(rng, (90, 5)), data(rng, (90, 3))
    weights, trained = random_weights(rng, SIZES), []
    for threads in (1, 2, 3):
        net = build(rng, NOISES[name], dtype=dtype)
        net.set_weights(weights)
        net.fit(X, y, batch_size=64, epochs=3, threads=threads, **QUIET)
        trained.append(net.weights)
    assert same(trained[0], trained[1])
    assert same(trained[0], trained[2])


@pytest.mark.parametrize("name", NOISES)
def test_a_second_fit_goes_on(name, rng):
    X, y = data(rng, (45, 5)), data(rng, (45, 3))
    weights, trained = random_weights(rng, SIZES), []
    for parts in ([5], [2, 3]):
        net = build(rng, NOISES[name])
        net.set_weights(weights)
        for epochs in parts:
            net.fit(X, y, batch_size=16, epochs=epochs, **QUIET)
        trained.append(net.weights)
    assert same(*trained)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_in_training_only(name, rng, tmp_path):
    X, y = data(rng, (45, 5)), data(rng, (45, 3))
    noisy, plain = build(rng, NOISES[name]), build(rng, [None] * 4)
    noisy.fit(X, y, epochs=2, batch_size=16, normalize="standard", **QUIET)
    plain.fit(X, y, epochs=1, normalize="standard", **QUIET)
    plain.set_weights(noisy.weights)
    assert np.array_equal(noisy.predict(X), plain.predict(X))
    assert noisy.evaluate(X, y) == plain.evaluate(X, y)
    assert same(noisy.gradient(X, y), plain.gradient(X, y))


@pytest.mark.parametrize("name", NOISES)
def test_a_file_keeps_the_noise(name, rng, tmp_path):
    net = build(rng, NOISES[name])
    net.save(tmp_path / "net.safetensors")
    loaded = fn.MLP.load(tmp_path / "net.safetensors")
    assert loaded.layers == net.layers
    X, y = data(rng, (45, 5)), data(rng, (45, 3))
    for one in (net, loaded):
        one.fit(X, y, epochs=2, batch_size=16, **QUIET)
    assert same(net.weights, loaded.weights)


def test_shakeout_beside_dropout_per_epoch_leaves_that_per_epoch():
    """Its last constant is 1 here, a number that says "per batch" where it belongs to dropout."""
    layers = [
        fn.Dense(20, "relu", dropout=fn.Dropout(0.5, "epoch")),
        fn.Dense(20, "relu", noise=fn.Shakeout(0.5, 1.0)),
        fn.Dense(3),
    ]
    net = fn.MLP(5, layers)
    shrunk = subnetwork.shrink(net, *description.noises(net, True))
    assert shrunk.sizes == [5, 10, 20, 3]
    assert shrunk.per == codes.PER_EPOCH
    assert shrunk.constants[2, codes.PER] == codes.NEVER
    assert shrunk.constants[2, codes.C] == 1.0


NOTHING = [
    fn.Dropout(0),
    fn.Dropout(0, "batch"),
    fn.Dropout(0, "epoch"),
    fn.DropConnect(0),
    fn.DropConnect(0, "sample"),
    fn.Shakeout(0, 0.5),
    fn.Whiteout(0),
    fn.Whiteout(0, form="multiplied"),
]


@pytest.mark.parametrize("noise", NOTHING, ids=str)
def test_noise_of_strength_0_is_no_noise(noise, rng):
    X, y = data(rng, (45, 5)), data(rng, (45, 3))
    weights, trained = random_weights(rng, SIZES), []
    for one in (None, noise):
        net = build(rng, [one, one, one, None])
        net.set_weights(weights)
        net.fit(X, y, batch_size=16, epochs=3, **QUIET)
        trained.append(net.weights)
    assert same(*trained)


def test_a_probability_is_the_share_of_units_that_are_off():
    numbers = np.concatenate([ref.uniforms(640, "dropout", 1, sample, 1, 0) for sample in range(50)])
    for p in (0.1, 0.5, 0.9):
        deviation = np.sqrt(p * (1 - p) / numbers.size)
        assert abs((numbers < p).mean() - p) < 5 * deviation


def test_masks_differ_by_layer_sample_step_and_seed():
    places = [(1, 0, 1, 0), (2, 0, 1, 0), (1, 1, 1, 0), (1, 0, 2, 0), (1, 0, 1, 1), (1, 0, 1, 2**32)]
    rows = [tuple(ref.uniforms(64, "dropout", *place)) for place in places]
    assert len(set(rows)) == len(rows)
    for row in rows[1:]:
        assert abs(np.corrcoef(rows[0], row)[0, 1]) < 0.5


def test_purposes_are_the_kernels_s():
    constants = {name: name.upper() for name in ref.PURPOSES} | {"drop_connect": "DROPCONNECT"}
    assert {name: getattr(kernels, constant) >> 16 for name, constant in constants.items()} == ref.PURPOSES


def test_dropout_of_all_hidden_layers_at_once():
    net = fn.MLP([4, 8, 6, 2], dropout=0.2)
    assert [layer.dropout for layer in net.layers] == [fn.Dropout(0.2), fn.Dropout(0.2), None]
    assert fn.Dense(3, dropout=0.5) == fn.Dense(3, dropout=fn.Dropout(0.5)) == fn.Dense(3, noise=fn.Dropout(0.5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fn.Dropout(1.0), "p of dropout must be at least 0 and below 1, got 1.0"),
        (lambda: fn.Dense(3, dropout=-0.1), "p of dropout must be at least 0 and below 1"),
        (lambda: fn.Dense(3, dropout="half"), "p of dropout must be a finite number"),
        (lambda: fn.Dropout(0.5, "step"), 'per of dropout must be "sample", "batch" or "epoch"'),
        (lambda: fn.Shakeout(0.5, -1), "c of Shakeout must be at least 0"),
        (lambda: fn.Shakeout(1, 1), "tau of Shakeout must be at least 0 and below 1"),
        (lambda: fn.DropConnect(0.5, "epoch"), 'per of DropConnect must be "batch" or "sample"'),
        (lambda: fn.DropConnect(1), "p of DropConnect must be at least 0 and below 1"),
        (lambda: fn.Whiteout(-1), "sigma of Whiteout must be at least 0"),
        (lambda: fn.Whiteout(1, 2), "gamma of Whiteout must be at least 0 and below 2"),
        (lambda: fn.Whiteout(1, lam=-1), "lam of Whiteout must be at least 0"),
        (lambda: fn.Whiteout(1, form="divided"), 'form of Whiteout must be "added" or "multiplied"'),
        (lambda: fn.Dense(3, noise=0.5), "noise must be None or an object"),
        (lambda: fn.Dense(3, dropout=0.5, noise=fn.Dropout(0.5)), "one noise at most"),
        (lambda: fn.MLP(2, [fn.Dense(3, dropout=0.5)]), "dropout is for hidden layers"),
        (lambda: fn.MLP(2, [fn.Dense(3)], dropout=0.5), "dropout go with a list of sizes"),
    ],
)
def test_errors(make, words):
    with pytest.raises(fn.InputError, match=words):
        make()
