"""What stands around the optimizer's step: clipping, soft thresholds, averages, several batches in one update."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, network, same

import fastnn as fn
from fastnn_kernels import reference as ref
from fastnn_kernels import reference_optimizer

STEPS = 30
SIZES = (5, 17, 3)
ACTIVATIONS = ["tanh", "linear"]
QUIET = {"progress": False}
CLIPS = [(fn.ClipValue(0.03), ("value", 0.03)), (fn.ClipNorm(0.2), ("norm", 0.2))]
ADAM = {"lr": 0.01, "eps": 1e-3}


def problem(rng, samples=20):
    return data(rng, (samples, 5)), data(rng, (samples, 3))


def assert_follows(net, X, y, rng, oracle, **options):
    """A fit in full batches against the oracle. oracle: the arguments of ref.train behind the batches."""
    start, dtype = exact(net.weights), str(net.dtype)

    def train(weights):
        return ref.train(weights, ACTIVATIONS, "mse", X, y, [np.arange(len(X))] * STEPS, **oracle)[0]

    history = net.fit(X, y, loss="mse", batch_size="full", shuffle=False, epochs=STEPS, **options, **QUIET)
    expected, tolerance = flat(train(start)), drift(train, start, STEPS, dtype, rng)
    assert tolerance < (1e-2 if dtype == "float32" else 1e-11) * abs(expected - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - expected).max() <= tolerance
    return history


# Clipping


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("clip", "oracle"), CLIPS, ids=repr)
@pytest.mark.parametrize(("optimizer", "name"), [(fn.SGD(0.1), "sgd"), (fn.AdamW(0.01, eps=1e-3), "adamw")])
def test_clipped_trajectories(clip, oracle, optimizer, name, dtype, rng):
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    constants = {"lr": 0.1} if name == "sgd" else {"lr": 0.01, "eps": 1e-3}
    known = {"optimizer": name, "constants": constants, "penalty_name": "l2", "strength": 2.0, "clip": oracle}
    history = assert_follows(net, *problem(rng), rng, known, optimizer=optimizer, penalty=fn.L2(2.0), clip=clip)
    assert history.clipped[0] == 1.0


def test_the_share_of_clipped_steps(rng):
    X, y = problem(rng, 40)
    for clip in (fn.ClipValue, fn.ClipNorm):
        for limit, share in ((1e6, 0.0), (1e-6, 1.0)):
            history = network(rng, SIZES).fit(X, y, clip=clip(limit), epochs=3, batch_size=7, **QUIET)
            assert history.clipped == [share] * 3
    assert network(rng, SIZES).fit(X, y, epochs=1, **QUIET).clipped == []


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "batch"}, {"norm": "layer"}, {"dropout": 0.3}, {"dropout": fn.Dropout(0.3, per="batch")}],
    ids=repr,
)
def test_a_limit_that_is_never_reached_changes_nothing(options, rng):
    X, y = problem(rng, 40)
    nets = [fn.MLP(SIZES, seed=1, **options) for _ in range(2)]
    for net, clip in zip(nets, (None, fn.ClipNorm(1e6)), strict=True):
        net.fit(X, y, clip=clip, epochs=3, batch_size=7, **QUIET)
    assert nets[0].params.tobytes() == nets[1].params.tobytes()


@pytest.mark.parametrize("clip", [fn.ClipValue(0.01), fn.ClipNorm(0.1)], ids=repr)
@pytest.mark.parametrize("sizes", [(5, 17, 3), (5, 100, 33, 3)])
def test_the_same_bits_on_any_number_of_threads(clip, sizes, rng):
    X, y = problem(rng, 50)
    nets = [network(np.random.default_rng(1), sizes) for _ in range(3)]
    for net, threads in zip(nets, (1, 2, 3), strict=True):
        net.fit(X, y, clip=clip, epochs=2, batch_size=33, threads=threads, optimizer=fn.AdamW(), **QUIET)
    assert same(nets[0].weights, nets[1].weights)
    assert same(nets[0].weights, nets[2].weights)


def test_batches_in_parts_are_clipped_as_a_whole(rng):
    X, y = problem(rng, 1100)
    for clip in (fn.ClipValue(0.01), fn.ClipNorm(0.1)):
        nets = [network(np.random.default_rng(1), SIZES, dtype="float64") for _ in range(2)]
        nets[0].fit(X, y, clip=clip, epochs=2, batch_size="full", **QUIET)
        nets[1].fit(X, y, clip=clip, epochs=2, batch_size=110, accumulate=10, **QUIET)
        assert abs(flat(nets[0].weights) - flat(nets[1].weights)).max() < 1e-10


def test_a_norm_that_is_not_finite_is_a_divergence():
    net = fn.MLP([1, 1])
    with pytest.raises(fn.DivergenceError):
        net.fit(np.array([[1e12]]), np.array([1e12]), clip=fn.ClipNorm(1.0), epochs=1, optimizer="sgd", **QUIET)
    assert all(np.isfinite(array).all() for pair in net.weights for array in pair)


def test_one_sample_a_step_is_clipped_too(rng):
    X, y = problem(rng)
    net = network(rng, SIZES)
    assert net.fit(X, y, clip=fn.ClipNorm(1e-9), optimizer="sgd", batch_size=1, epochs=1, **QUIET).clipped == [1.0]


@pytest.mark.parametrize("batch_size", [7, 1100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_counts_nothing_that_is_no_weight(dtype, batch_size, rng):
    X, y = problem(rng, batch_size)
    net = network(rng, (5, 17, 18, 3), activation="sigmoid", dtype=dtype)  # sigmoid(0) is not 0
    start = flat(net.weights)
    net.fit(X, y, clip=fn.ClipNorm(1e-3), optimizer=fn.SGD(1.0), batch_size=batch_size, epochs=1, **QUIET)
    moved = flat(net.weights) - start
    rounding = 1e-3 if dtype == "float32" else 1e-12  # of weights near 1 that move by 1e-3 in all, relative to that
    assert np.sqrt((moved**2).sum()) == pytest.approx(1e-3, rel=rounding)
    assert np.count_nonzero(net.params) == np.count_nonzero(flat(net.weights))


@pytest.mark.parametrize("given", [1.0, "norm", fn.ClipNorm])
def test_what_is_no_clipping(given, rng):
    with pytest.raises(fn.InputError, match=r"clip must be None, ClipValue\(limit\) or ClipNorm\(limit\)"):
        network(rng, SIZES).fit(*problem(rng), clip=given, **QUIET)
    with pytest.raises(fn.InputError, match="limit must be above 0"):
        fn.ClipNorm(0)


# Penalties


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_proximal_l1_reaches_zeros(threads, dtype, rng):
    net = network(rng, SIZES, activation="tanh", dtype=dtype)
    X, y = problem(rng)
    known = {"constants": {"lr": 0.1}, "penalty_name": "proximal_l1", "strength": 1.5}
    penalty = fn.L1(1.5, proximal=True)
    history = assert_follows(net, X, y, rng, known, optimizer=fn.SGD(0.1), penalty=penalty, threads=threads)
    weights = np.concatenate([W.ravel() for W, _ in net.weights])
    assert history.zeros[-1] == pytest.approx((weights == 0).mean(), rel=1e-12)
    assert 0.2 < history.zeros[-1] < 1
    plain = network(rng, SIZES).fit(X, y, penalty=fn.L1(1.5), epochs=2, **QUIET)
    assert plain.zeros == [0.0, 0.0]
    assert network(rng, SIZES).fit(X, y, penalty=fn.L2(1.5), epochs=2, **QUIET).zeros == []


def test_the_proximal_penalty_is_part_of_the_loss(rng):
    X, y = problem(rng)
    nets = [network(np.random.default_rng(1), SIZES, dtype="float64") for _ in range(2)]
    losses = [
        net.fit(X, y, optimizer=fn.SGD(1e-30), penalty=penalty, epochs=1, batch_size="full", **QUIET).loss[0]
        for net, penalty in zip(nets, (fn.L1(3.0), fn.L1(3.0, proximal=True)), strict=True)
    ]
    assert losses[0] == losses[1]


def test_l1_and_l2_together(rng):
    X, y = problem(rng)
    net = network(rng, SIZES, dtype="float64")
    (before, _), (slope, _) = net.weights[0], net.gradient(X, y, loss="mse")[0]
    plain = net.loss(X, y, loss="mse")
    history = net.fit(
        X, y, loss="mse", optimizer=fn.SGD(0.1), penalty=fn.L1L2(2.0, 3.0), batch_size="full", epochs=1, **QUIET
    )
    expected = before - 0.1 * (slope + 2 / 20 * np.sign(before) + 3 / 20 * before)
    assert abs(net.weights[0][0] - expected).max() < 1e-14
    weights = exact(net.weights)
    cost = ref.penalty("l1", weights, 2.0, 20) + ref.penalty("l2", weights, 3.0, 20)
    assert history.loss[0] == pytest.approx(plain + cost, rel=1e-12)


# Several batches in one update


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_accumulated_batches_are_one_batch(optimizer, rng):
    X, y = problem(rng, 50)
    nets = [network(np.random.default_rng(1), SIZES, dtype="float64") for _ in range(2)]
    nets[0].fit(X, y, optimizer=optimizer, batch_size=24, epochs=3, **QUIET)
    nets[1].fit(X, y, optimizer=optimizer, batch_size=8, accumulate=3, epochs=3, **QUIET)
    assert nets[0].fitted.optimizer.steps == nets[1].fitted.optimizer.steps == 9
    assert abs(flat(nets[0].weights) - flat(nets[1].weights)).max() < 1e-12


# Averages


def test_the_average_of_the_weights(rng):
    X, y = problem(rng)
    path = []

    class Watch(fn.Callback):
        def epoch_end(self, net, history):
            path.append(net.params.copy())

    raw, averaged = (network(np.random.default_rng(1), SIZES, dtype="float64") for _ in range(2))
    start = raw.params.copy()
    options = {"batch_size": "full", "epochs": 20}
    raw.fit(X, y, callbacks=Watch(), **options, **QUIET)
    averaged.fit(X, y, average=fn.EMA(0.5), validation=(X, y), **options, **QUIET)
    expected = reference_optimizer.averaged([start, *path], 0.5)
    assert abs(averaged.params - expected).max() < 1e-14
    assert averaged.fitted.raw.tobytes() == raw.params.tobytes()


@pytest.mark.parametrize("batch_size", [1, 7, "full"])
def test_a_second_fit_goes_on_from_the_weights_themselves(batch_size, rng):
    X, y = problem(rng)
    plain, averaged, stopped = (network(np.random.default_rng(1), SIZES) for _ in range(3))
    options = {"batch_size": batch_size, "optimizer": "momentum", **QUIET}
    plain.fit(X, y, epochs=6, **options)
    averaged.fit(X, y, epochs=6, average=fn.EMA(0.9), **options)
    stopped.fit(X, y, epochs=3, average=fn.EMA(0.9), **options)
    assert not same(stopped.weights, plain.weights)
    predicted = stopped.predict(X)
    assert np.array_equal(predicted, stopped.predict(X))
    stopped.fit(X, y, epochs=3, average=fn.EMA(0.9), **options)
    assert same(averaged.weights, stopped.weights)
    assert averaged.fitted.raw.tobytes() == plain.params.tobytes() == stopped.fitted.raw.tobytes()


def test_validation_and_files_see_the_average(rng, tmp_path):
    X, y = problem(rng)
    net = network(rng, SIZES)
    history = net.fit(X, y, epochs=3, average=fn.EMA(0.9), validation=(X, y), **QUIET)
    assert history.validation_loss[-1] == net.loss(X, y)
    net.save(tmp_path / "model.safetensors")
    assert np.array_equal(fn.MLP.load(tmp_path / "model.safetensors").predict(X), net.predict(X))


def test_weights_that_are_set_replace_what_the_next_fit_would_go_on_from(rng):
    X, y = problem(rng)
    net, fresh = (network(np.random.default_rng(1), SIZES) for _ in range(2))
    start = net.weights
    net.fit(X, y, epochs=2, average=fn.EMA(), optimizer="sgd", shuffle=False, **QUIET)
    net.set_weights(start)
    for one in (net, fresh):
        one.fit(X, y, epochs=1, optimizer="sgd", shuffle=False, **QUIET)
    assert same(net.weights, fresh.weights)


def test_what_is_no_average(rng):
    with pytest.raises(fn.InputError, match="average must be None or EMA"):
        network(rng, SIZES).fit(*problem(rng), average=0.9, **QUIET)
    with pytest.raises(fn.InputError, match="decay must be above 0 and below 1"):
        fn.EMA(1.0)
