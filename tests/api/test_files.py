"""Networks in files: read as they were written, and never half a file."""

import json
import os

import numpy as np
import pytest
from helpers import DTYPES, same
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import fastnn as fn
from fastnn.files import checkpoint
from fastnn.fitted import Fitted, OptimizerState

LAYERS = [
    fn.Dense(9, fn.LeakyReLU(0.25)),
    fn.Dense(8, fn.ELU(0.5)),
    fn.Dense(7, "tanh"),
    fn.Dense(6, "sigmoid"),
    fn.Dense(5, "softplus"),
    fn.Dense(4, fn.Threshold("straight_through")),
    fn.Dense(5, "relu"),
    fn.Dense(5, "gelu"),
    fn.Dense(5, "silu"),
    fn.Dense(5, "hard_sigmoid"),
    fn.Dense(5, "hard_tanh"),
    fn.Dense(5, "hard_swish"),
    fn.Dense(5, "noisy_relu"),
    fn.Dense(3, "linear"),
]


@pytest.fixture
def data(rng):
    return rng.normal(size=(30, 4)) * 5 + 2, np.array(["ant", "bee", "cat"])[rng.integers(0, 3, 30)]


@pytest.fixture
def fitted(data):
    net = fn.MLP(4, [*LAYERS, fn.Dense(3, "softmax")], init=fn.HeUniform(0.5), seed=11)
    net.fit(*data, epochs=2, normalize="robust", progress=False)
    return net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [None, str, int, bool], ids=lambda kind: kind and kind.__name__)
@pytest.mark.parametrize("normalize", [None, "standard", "minmax", "robust"])
def test_round_trip(normalize, labels, dtype, data, tmp_path):
    X, names = data
    last = fn.Dense(3, "linear") if labels is None else fn.Dense(2 if labels is bool else 3, "softmax")
    y = np.arange(90.0).reshape(30, 3) / 90
    if labels is not None:
        y = {str: names, int: np.char.str_len(names) + np.arange(30) % 3 * 10, bool: np.arange(30) % 2 == 0}[labels]
    net = fn.MLP(4, [*LAYERS, last], dtype=dtype, init=fn.HeUniform(0.5), seed=11)
    net.fit(X, y, loss=None if labels else "mae", epochs=2, normalize=normalize, progress=False)
    net.save(tmp_path / "model.safetensors")
    read = fn.MLP.load(tmp_path / "model.safetensors")
    assert same(read.weights, net.weights)
    assert read.layers == net.layers
    assert (read.dtype, read.seed, read.init, read.fitted.loss) == (net.dtype, 11, net.init, net.fitted.loss)
    assert read.predict(X).tobytes() == net.predict(X).tobytes()
    assert read.evaluate(X, y) == net.evaluate(X, y)
    if labels is not None:
        assert read.predict_class(X).tolist() == net.predict_class(X).tolist()
        assert read.classes_.dtype.kind == net.classes_.dtype.kind
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_network_that_was_never_fitted(tmp_path):
    net = fn.MLP([3, 2])
    net.save(str(tmp_path / "model"))
    assert same(fn.MLP.load(str(tmp_path / "model")).weights, net.weights)


def test_a_loaded_network_trains_as_one_that_was_built(fitted, data, tmp_path):
    fitted.save(tmp_path / "model")
    read, twin = fn.MLP.load(tmp_path / "model"), fn.MLP(4, fitted.layers, seed=11)
    twin.set_weights(fitted.weights)
    epochs = fitted.fitted.optimizer.epochs
    twin.fitted = Fitted(fitted.classes_, fitted.normalization, optimizer=OptimizerState(epochs=epochs, begun=epochs))
    for net in (read, twin):
        net.fit(*data, epochs=2, progress=False)
    assert same(read.weights, twin.weights)


def test_what_other_programs_find_in_a_file(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    with safe_open(tmp_path / "model", framework="numpy") as file:
        metadata = file.metadata()
        (W, b), *_ = fitted.weights
        assert np.array_equal(file.get_tensor("layers.0.weight"), W)
        assert np.array_equal(file.get_tensor("layers.0.bias"), b)
    assert metadata["format"] == "fastnn"
    assert json.loads(metadata["architecture"])["classes"] == ["ant", "bee", "cat"]


# Files that cannot be read


def assert_refused(path, *parts):
    with pytest.raises(fn.FileError) as caught:
        fn.MLP.load(path)
    assert isinstance(caught.value, OSError)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    assert_refused(tmp_path / "model", "there is no file")
    assert_refused(tmp_path, "there is no file")


def test_truncated_at_any_length(fitted, tmp_path):
    path = tmp_path / "model"
    fitted.save(path)
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert_refused(path, "damaged or no fastnn model")


@pytest.mark.parametrize("content", [b"hello, world", bytes(64), b"\xff" * 64, b"\x02" + bytes(7) + b"{}"])
def test_no_model(content, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(content)
    assert_refused(path, "no fastnn model")


def rewritten(net, path, tensors=(), architecture=None, change=None, state=False, **metadata):
    """A saved network with parts of it replaced; change: is called with tensors and architecture."""
    net.save(path, state=state)
    with safe_open(path, framework="numpy") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        header = file.metadata()
    kept |= dict(tensors)
    described = {**json.loads(header["architecture"]), **(architecture or {})}
    if change is not None:
        change(kept, described)
    save_file(kept, path, {**header, "architecture": json.dumps(described), **metadata})


def test_foreign_and_newer_files(fitted, tmp_path):
    path = tmp_path / "model"
    save_file({"a": np.zeros(3)}, path)
    assert_refused(path, "no fastnn model")
    rewritten(fitted, path, format="other")
    assert_refused(path, "no fastnn model")
    rewritten(fitted, path, version=str(checkpoint.VERSION + 1))
    assert_refused(path, f"format version {checkpoint.VERSION + 1}", f"up to {checkpoint.VERSION}", "upgrade")


@pytest.mark.parametrize(
    "damage",
    [
        {"tensors": {"layers.0.weight": np.zeros((2, 2), np.float32)}},
        {"tensors": {"layers.0.weight": np.full((4, 9), np.nan, np.float32)}},
        {"tensors": {"layers.0.bias": np.zeros(9, np.complex64)}},
        {"architecture": {"n_in": -4}},
        {"architecture": {"n_in": "four"}},
        {"architecture": {"dtype": "float16"}},
        {"architecture": {"seed": None}},
        {"architecture": {"layers": [{"units": 3, "activation": {"name": "sinus"}}]}},
        {"architecture": {"layers": [{"units": 3, "activation": {"name": "relu", "beta": 1}}]}},
        {"architecture": {"layers": [{"units": 3, "activation": "relu"}]}},
        {"architecture": {"layers": [3]}},
        {"architecture": {"layers": []}},
        {"architecture": {"layers": None}},
        {"architecture": {"loss": {"name": "joy"}}},
        {"architecture": {"init": 3}},
        {"architecture": {"normalization": "standard", "n_in": 5}},
        {"version": "one"},
    ],
    ids=str,
)
def test_damaged_contents(damage, fitted, tmp_path):
    rewritten(fitted, tmp_path / "model", **damage)
    assert_refused(tmp_path / "model", "no fastnn model")


@pytest.mark.parametrize(
    "damage",
    [
        {"architecture": {"normalization": "magic"}},
        {"architecture": {"classes": ["ant", "bee"]}},
        {"tensors": {"normalization.shift": np.zeros(3)}},
        {"tensors": {"normalization.scale": np.full(4, np.nan)}},
    ],
    ids=str,
)
def test_contents_that_do_not_fit_each_other(damage, fitted, tmp_path):
    rewritten(fitted, tmp_path / "model", **damage)
    assert_refused(tmp_path / "model", "no fastnn model")


# Places that cannot be written


def test_a_folder_that_does_not_exist(fitted, tmp_path):
    with pytest.raises(fn.FileError, match=r"cannot write .*nowhere"):
        fitted.save(tmp_path / "nowhere" / "model")
    with pytest.raises(fn.FileError, match="cannot write"):
        fitted.save(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(fn.FileError, match="cannot write"):
        fitted.save(tmp_path / "file" / "model")
    assert os.listdir(tmp_path) == ["file"]


FULL = "No space left on device"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("os.replace", OSError(28, FULL)),
        ("os.fsync", OSError(28, FULL)),
        ("fastnn.files.checkpoint.save_file", SafetensorError(f"Error while serializing: I/O error: {FULL}")),
        ("os.replace", KeyboardInterrupt()),
        ("os.fsync", KeyboardInterrupt()),
        ("fastnn.files.checkpoint.save_file", KeyboardInterrupt()),
    ],
    ids=repr,
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(broken, error, fitted, tmp_path, monkeypatch):
    path = tmp_path / "model"
    fn.MLP([2, 2]).save(path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(broken, fail)
    is_interrupt = isinstance(error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt if is_interrupt else fn.FileError) as caught:
        fitted.save(path)
    if not is_interrupt:
        assert FULL in str(caught.value)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_labels_of_bytes_become_text(tmp_path):
    X, y = np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([b"ant", b"bee"] * 2)
    net = fn.MLP([1, 2], output="softmax")
    net.fit(X, y, epochs=1, progress=False)
    net.save(tmp_path / "model")
    assert fn.MLP.load(tmp_path / "model").classes_.tolist() == net.classes_.tolist() == ["ant", "bee"]
    assert 0 <= net.evaluate(X, y)["accuracy"] <= 1


def test_a_file_larger_than_the_system_allows(tmp_path):
    resource = pytest.importorskip("resource", reason="only POSIX limits the size of files")
    net, limits = fn.MLP([500, 500]), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (net.params.nbytes // 2, limits[1]))
    try:
        with pytest.raises(fn.FileError, match=r"cannot write .*model"):
            net.save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_read_network_goes_on_with_the_next_epoch(rng, tmp_path):
    """Another order of samples than in the first epochs, and no normalization under weights trained without one."""
    X, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    loss = fn.CustomLoss(lambda yhat, y: (yhat - y) ** 2, lambda yhat, y: 2 * (yhat - y))  # that no file knows of
    net, sgd = fn.MLP([3, 2], dtype="float64"), fn.SGD(0.1)
    net.fit(X, y, loss=loss, optimizer=sgd, epochs=2, batch_size=4, progress=False)
    net.save(tmp_path / "model")
    read = fn.MLP.load(tmp_path / "model")
    with pytest.raises(fn.InputError, match="fitted without normalization"):
        read.fit(X, y, normalize="standard", progress=False)
    for one in (net, read):
        one.fit(X, y, loss=loss, optimizer=sgd, epochs=1, batch_size=4, progress=False)
    assert same(read.weights, net.weights)


def test_a_file_without_epochs(fitted, tmp_path):
    """As they were written before they told how many."""
    rewritten(fitted, tmp_path / "old", change=lambda tensors, described: described.pop("epochs"))
    assert same(fn.MLP.load(tmp_path / "old").weights, fitted.weights)


def test_constants_that_are_numpy_numbers(tmp_path):
    layers = [fn.Dense(np.int64(4), fn.LeakyReLU(np.float32(0.25)), dropout=fn.Dropout(np.float32(0.5))), fn.Dense(2)]
    net = fn.MLP(np.int32(3), layers, init=fn.initializers.HeNormal(np.float32(0.5)), seed=np.int64(3))
    net.fit(np.ones((4, 3)), np.ones((4, 2)), loss=fn.Huber(np.float32(0.5)), epochs=1, progress=False)
    net.save(tmp_path / "model")
    read = fn.MLP.load(tmp_path / "model")
    assert (read.layers, read.init, read.fitted.loss) == (net.layers, net.init, net.fitted.loss)


def test_what_a_link_points_to_is_replaced(fitted, tmp_path):
    fitted.save(tmp_path / "real")
    try:
        os.symlink(tmp_path / "real", tmp_path / "link")
    except OSError:
        pytest.skip("this system, or this user, makes no symbolic links")
    before = (tmp_path / "real").read_bytes()
    fn.MLP([2, 2]).save(tmp_path / "link")
    assert os.path.islink(tmp_path / "link")
    assert (tmp_path / "real").read_bytes() != before
    assert fn.MLP.load(tmp_path / "link").sizes == (2, 2)


def test_what_is_no_file_is_not_replaced(fitted, tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(fn.FileError, match="it is no file, but a device, pipe or socket"):
        fitted.save(tmp_path / "pipe")
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_write_protected_file_is_not_replaced(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    monkeypatch.setattr("os.access", lambda *_: False)  # as for all but an administrator, who may run the tests
    with pytest.raises(fn.FileError, match="write-protected"):
        fn.MLP([2, 2]).save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize("path", [None, 3, b"model"])
def test_what_is_no_path(path, fitted):
    for call in (fitted.save, fn.MLP.load):
        with pytest.raises(fn.InputError, match="a path must be a string or a path object"):
            call(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, described: described["layers"][0].update(units=10**9),
        lambda tensors, described: described.update(n_in=10**9),
        lambda tensors, described: described.update(loss={"name": "poisson"}),
        lambda tensors, described: described.update(classes=["cat", "ant", "bee"]),
    ],
    ids=["units", "inputs", "loss", "classes"],
)
def test_a_description_that_does_not_fit_the_weights(change, fitted, tmp_path):
    rewritten(fitted, tmp_path / "model", change=change)
    assert_refused(tmp_path / "model", "damaged or no fastnn model")


STATES = {
    "plain": {"optimizer": "sgd"},
    "momentum": {"optimizer": fn.Nesterov(0.01, form="lookahead")},
    "adam, cosine": {"optimizer": "adam", "schedule": fn.schedules.Cosine(9)},
    "amsgrad": {"optimizer": "amsgrad", "batch_size": 7},
    "average": {"optimizer": "adamw", "average": fn.EMA(0.9)},
    "norm": {"optimizer": "nadam", "norm": "batch"},
    "noise": {"optimizer": "rmsprop", "norm": "layer", "dropout": 0.3},
    "smaller": {"optimizer": "adagrad", "dropout": fn.Dropout(0.5, "batch")},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", STATES)
def test_with_its_state_a_read_network_goes_on_exactly(case, dtype, data, tmp_path):
    options = {"batch_size": 8, "normalize": "standard", "epochs": 2, "progress": False} | STATES[case]
    built = {name: options.pop(name) for name in ("norm", "dropout") if name in options}
    net = fn.MLP([4, 19, 6, 3], activation="tanh", output="softmax", dtype=dtype, seed=4, **built)
    net.fit(*data, **options)
    net.save(tmp_path / "model", state=True)
    read = fn.MLP.load(tmp_path / "model")
    assert vars(read.fitted.optimizer).keys() == vars(net.fitted.optimizer).keys()
    for one in (net, read):
        one.fit(*data, **options)
    assert same(read.weights, net.weights)
    assert read.predict(data[0]).tobytes() == net.predict(data[0]).tobytes()
    assert (read.fitted.optimizer.steps, read.fitted.optimizer.epochs) == (net.fitted.optimizer.steps, 4)


def test_a_network_without_a_fit_has_a_state_too(tmp_path):
    net = fn.MLP([3, 2])
    net.save(tmp_path / "model", state=True)
    read = fn.MLP.load(tmp_path / "model")
    for one in (net, read):
        one.fit(np.eye(3), np.eye(3)[:, :2], epochs=1, progress=False)
    assert same(read.weights, net.weights)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, state: state.update(optimizer="adm"),
        lambda tensors, state: state.update(vectors=1),
        lambda tensors, state: state.update(steps="many"),
        lambda tensors, state: state.update(has_raw=True),
        lambda tensors, state: tensors.pop("optimizer.1.layers.0.bias"),
        lambda tensors, state: tensors.update({"optimizer.0.layers.0.bias": np.zeros(2, np.float32)}),
        lambda tensors, state: tensors.update({"optimizer.0.layers.0.bias": np.full(9, np.nan, np.float32)}),
        lambda tensors, state: tensors.update({"optimizer.0.layers.0.bias": np.zeros(9)}),
    ],
    ids=["name", "vectors", "steps", "raw", "missing", "shape", "NaN", "dtype"],
)
def test_a_damaged_state(change, fitted, tmp_path):
    change_state = lambda tensors, described: change(tensors, described["state"])  # noqa: E731
    rewritten(fitted, tmp_path / "model", change=change_state, state=True)
    assert_refused(tmp_path / "model", "damaged or no fastnn model")


@pytest.mark.parametrize("average", [None, fn.EMA(0.9)], ids=str)
def test_the_state_after_a_divergence(average, rng, tmp_path):
    """The optimizer has started afresh, and there is no average any more."""
    X = rng.normal(size=(20, 3))
    net, options = fn.MLP([3, 4, 1]), {"average": average, "batch_size": 5, "progress": False}
    net.fit(X, X[:, :1], epochs=1, **options)
    with pytest.raises(fn.DivergenceError):
        net.fit(X, X[:, :1], epochs=9, optimizer=fn.Adam(1e30), **options)
    net.save(tmp_path / "model", state=True)
    read = fn.MLP.load(tmp_path / "model")
    for one in (net, read):
        one.fit(X, X[:, :1], epochs=2, **options)
    assert same(read.weights, net.weights)


def test_squares_that_overflowed_are_kept(tmp_path):
    """Where a processor divides exactly, weights stay finite beside an infinite mean of squares."""
    net = fn.MLP([1, 1])
    net.fit(np.ones((2, 1)), np.ones((2, 1)), epochs=1, progress=False)
    net.fitted.optimizer.values[len(net.params)] = np.inf
    net.save(tmp_path / "model", state=True)
    assert np.array_equal(fn.MLP.load(tmp_path / "model").fitted.optimizer.values, net.fitted.optimizer.values)
