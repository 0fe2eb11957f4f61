"""What a network holds after a run that diverged: the weights of an epoch's end that proved good, bit by bit.

Runs diverge at a known step: the learning rate becomes huge at the beginning of an epoch, the weights after its first
step make the loss of the second overflow.
"""

import errno
import os
import tempfile

import numpy as np
import pytest
from helpers import DTYPES, data

import fastnn as fn
from fastnn import last_good

QUIET = {"progress": False}
SAMPLES = 40
HUGE = {"float32": 1e25, "float64": 1e200}
PLACES = ("memory", "file", "no folder", "full at 0", "full at 2")  # at: the number of the write that fails
OPTIMIZERS = {"sgd": fn.SGD(1e-3), "momentum": fn.Momentum(1e-3), "adam": fn.Adam(1e-3)}


@pytest.fixture
def place(request, monkeypatch, tmp_path):
    """Where the copies of these small networks lie, as if they were large."""
    if request.param != "memory":
        monkeypatch.setattr(last_good, "SMALL", 0)
        monkeypatch.setattr(last_good, "SAMPLES", 280)
    if request.param == "no folder":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    if request.param.startswith("full"):
        left = [int(request.param.split()[-1])]
        write = last_good._File.write

        def write_some(self, half, arrays):
            if left[0] == 0:
                write(self, half, [np.full_like(array, 7) for array in arrays])  # whatever lies there now
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            write(self, half, arrays)

        monkeypatch.setattr(last_good._File, "write", write_some)
    return request.param


def steps_between(place, batch):
    """Of two copies, at least."""
    return 32 if place == "memory" else max(1, 280 // batch)


def kept_epoch(steps_per_epoch, between, failed):
    """The epoch at whose end the weights are that a run has again after its step number `failed` found no loss."""
    kept = [0]
    for epoch in range(1, failed):
        if epoch * steps_per_epoch < failed and (epoch - kept[-1]) * steps_per_epoch >= between:
            kept.append(epoch)
    proved = [epoch for epoch in kept if epoch * steps_per_epoch + 1 < failed]
    return max(proved, default=0)


def new(**options):
    return fn.MLP([3, 9, 17, 2], activation="tanh", seed=3, **options)


def check(rng, place, explodes, batch_size=8, dtype="float32", optimizer="sgd", net_options=None, **options):
    """A run whose rate is huge from the epoch after `explodes` on has the weights of a shorter one that had not."""
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    samples = SAMPLES - int(SAMPLES * options.get("validation", 0))
    batch = samples if batch_size == "full" else batch_size * options.get("accumulate", 1)
    per_epoch = -(-samples // batch)
    known = {
        "optimizer": OPTIMIZERS[optimizer],
        "schedule": fn.StepDecay(HUGE[dtype], explodes),
        "batch_size": batch_size,
        **options,
        **QUIET,
    }
    net, twin = (new(dtype=dtype, **(net_options or {})) for _ in range(2))
    with pytest.raises(fn.DivergenceError) as caught:
        net.fit(X, y, epochs=1000, **known)
    failed = (caught.value.epoch - 1) * per_epoch + caught.value.step
    assert explodes * per_epoch < failed <= explodes * per_epoch + 17  # a block of stochastic steps ends it
    epochs = kept_epoch(per_epoch, steps_between(place, batch), failed)
    if epochs:
        twin.fit(X, y, epochs=epochs, **known)
    expected = twin.params if twin.fitted.raw is None else twin.fitted.raw
    assert net.params.tobytes() == expected.tobytes()
    assert net.running.tobytes() == twin.running.tobytes()
    assert not net.fitted.optimizer.values.any()
    assert net.fitted.optimizer.steps == 0
    assert np.isfinite(net.fit(X, y, epochs=1, **QUIET).loss).all()  # and it trains on
    return epochs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_every_place_and_optimizer(place, optimizer, dtype, rng):
    assert check(rng, place, 40, optimizer=optimizer, dtype=dtype) > 30


@pytest.mark.parametrize(
    "options",
    [
        {"average": fn.EMA(0.9)},
        {"net_options": {"norm": "batch"}},
        {"net_options": {"norm": "batch"}, "average": fn.EMA(0.9), "optimizer": "adam"},
        {"net_options": {"norm": "layer"}},
        {"net_options": {"dropout": 0.3}},
        {"net_options": {"dropout": fn.Dropout(0.5, per="batch")}, "optimizer": "momentum"},
        {"net_options": {"dropout": fn.Dropout(0.5, per="epoch")}, "optimizer": "adam"},
        {"clip": fn.ClipNorm(1.0)},
        {"accumulate": 2},
        {"threads": 1},
        {"threads": 2},
        {"threads": 3, "net_options": {"norm": "batch"}},
        {"validation": 0.25},
        {"batch_size": "full"},
        {"batch_size": 1},
        {"batch_size": 1, "threads": 2},
        {"batch_size": 1, "optimizer": "momentum"},
        {"shuffle": False},
        {"penalty": fn.L2(1e-3)},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["memory", "file", "full at 2"], indirect=True)
def test_every_way_to_train(place, options, rng):
    assert check(rng, place, 40, **options) > 0


@pytest.mark.parametrize("explodes", range(60, 76))
@pytest.mark.parametrize("place", ["memory", "file", "no folder", "full at 2", "full at 9"], indirect=True)
def test_a_copy_of_what_fails_in_the_next_step_is_none(place, explodes, rng):
    """One step an epoch: some copies are of weights whose loss is infinite, others of the last ones before them."""
    X = data(np.random.Generator(np.random.Philox(1)), (SAMPLES, 3))
    epochs = check(rng, place, explodes, "full")
    assert explodes - 2 * steps_between(place, SAMPLES) < epochs <= explodes
    net = new()
    with pytest.raises(fn.DivergenceError):
        net.fit(X, X[:, :2], schedule=fn.StepDecay(1e25, explodes), batch_size="full", epochs=1000, **QUIET)
    assert np.isfinite(net.loss(X, X[:, :2]))


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_run_that_fails_at_once_has_what_it_began_with(place, rng):
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    net = new(norm="batch")
    net.fit(X, y, epochs=3, batch_size=8, **QUIET)
    before = net.params.tobytes(), net.running.tobytes()
    with pytest.raises(fn.DivergenceError):
        net.fit(X, y, optimizer=fn.SGD(1e30), epochs=100, batch_size=8, **QUIET)
    assert (net.params.tobytes(), net.running.tobytes()) == before


@pytest.fixture
def files(monkeypatch):
    """All temporary files that are opened, with the folders that were asked for."""
    opened, create = [], tempfile.TemporaryFile

    def remember(*args, dir=None, **kwargs):
        opened.append((create(*args, dir=dir, **kwargs), dir))
        return opened[-1][0]

    monkeypatch.setattr(tempfile, "TemporaryFile", remember)
    return opened


class Interrupt(fn.Callback):
    def epoch_end(self, net, history):
        raise KeyboardInterrupt


@pytest.mark.parametrize("ends", ["well", "in divergence", "in an interrupt"])
@pytest.mark.parametrize("place", ["file", "full at 2"], indirect=True)
def test_no_file_stays_open_or_has_a_name(place, ends, files, rng, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    names = []

    class Look(fn.Callback):
        def epoch_end(self, net, history):
            names.extend(os.listdir(tmp_path))

    options = {"in divergence": {"schedule": fn.StepDecay(1e25, 20)}, "in an interrupt": {"callbacks": Interrupt()}}
    raised = {"in divergence": fn.DivergenceError, "in an interrupt": KeyboardInterrupt}
    known = {"epochs": 60, "batch_size": 8, "callbacks": Look(), **options.get(ends, {}), **QUIET}
    if ends in raised:
        with pytest.raises(raised[ends]):
            new().fit(X, y, **known)
    else:
        new().fit(X, y, **known)
    assert [(file.closed, folder) for file, folder in files] == [(True, None)]
    assert names == os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_the_folder_is_the_users_or_one_for_large_files(place, files, rng, tmp_path, monkeypatch):
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    monkeypatch.setattr(last_good, "ROOMY", str(roomy))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in last_good.NAMED_BY_USER:
        monkeypatch.delenv(name, raising=False)
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    new().fit(X, y, epochs=1, **QUIET)
    monkeypatch.setattr(last_good, "ROOMY", str(tmp_path / "nowhere"))
    new().fit(X, y, epochs=1, **QUIET)
    assert [folder for _, folder in files] == [str(roomy), None]


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_file_that_cannot_be_read(place, rng, monkeypatch):
    def fail(self, half, arrays):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(last_good._File, "read", fail)
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    with pytest.raises(fn.FileError, match="the last good weights cannot be read"):
        new().fit(X, y, optimizer=fn.SGD(1e30), epochs=10, **QUIET)


def test_small_networks_open_no_file(files, rng):
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    new().fit(X, y, epochs=1, **QUIET)
    fn.MLP([3, 300, 300, 2]).fit(X, y, epochs=1, **QUIET)
    assert len(files) == 1


@pytest.mark.parametrize("place", ["full at 9"], indirect=True)
def test_a_file_that_can_neither_be_written_nor_read(place, rng, monkeypatch):
    """There the newest weights are all that is left, good or not."""

    def read_some(self, half, arrays):
        arrays[0][:] = 7
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(last_good._File, "read", read_some)
    X, y = data(rng, (SAMPLES, 3)), data(rng, (SAMPLES, 2))
    known = {"optimizer": "sgd", "schedule": fn.StepDecay(1e25, 62), "batch_size": "full", **QUIET}
    net, twin = new(), new()
    with pytest.raises(fn.DivergenceError):
        net.fit(X, y, epochs=1000, **known)
    twin.fit(X, y, epochs=63, **known)
    assert net.params.tobytes() == twin.params.tobytes()
