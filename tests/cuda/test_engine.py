"""What the API does with a network on the device, beside training from end to end: see test_training.py."""

from contextlib import contextmanager

import numpy as np
import pytest
from test_training import BATCH, CLASSES, N_IN, assert_same, data, network, train

import fastnn as fn
from fastnn import cuda, last_good, progress
from fastnn.errors import DeviceLostError, DeviceMemoryError, DivergenceError, InputError
from fastnn_kernels.cuda import budget, epoch, memory
from fastnn_kernels.cuda.data import Streamed
from fastnn_kernels.work import ROW

pytestmark = pytest.mark.usefixtures("small_blocks")

NETWORKS = {
    "plain": {},
    "regression": {"output": "softplus"},
    "batch norm": {"norm": "batch"},
    "layer norm": {"norm": "layer"},
    "dropout": {"dropout": 0.4},
}
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@contextmanager
def streaming():
    """The device has no room for all samples: it has 9 at a time, or as many as a pass. Gives the sources opened."""
    opened, plan, start = [], budget.plan, Streamed.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "plan", lambda *args: budget.Budget(plan(*args).rows, max(9, plan(*args).rows)))
        patch.setattr(Streamed, "__init__", lambda self, *args: (opened.append(self), start(self, *args))[1])
        yield opened
    assert opened


@pytest.fixture
def trained():
    """A function that gives a network that has been trained a little, on the processor."""

    def make(name):
        numbers = "output" in NETWORKS[name]
        net = network(**NETWORKS[name])
        train(net, "cpu", numbers, epochs=1, batch_size=7, normalize="standard")
        return net, *data(numbers)

    return make


def used(net, X, y, device):
    """Everything that a network does with X and y."""
    weights = np.linspace(0.5, 2, len(X))
    told = net.evaluate(X, y, sample_weight=weights, device=device)
    gradient = net.gradient(X, y, sample_weight=weights, device=device)
    outputs = [net.predict(X, device=device), *net.activations(X, device=device)]
    return [*told.values(), *outputs, *(array for pair in gradient for array in pair)]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


# Prediction, evaluation, gradients


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_does_the_same_on_the_device(name, trained):
    net, X, y = trained(name)
    before = net.params.copy(), net.running.copy()
    assert_equal(used(net, X, y, "cpu"), used(net, X, y, "cuda"))
    assert np.array_equal(net.params, before[0])
    assert np.array_equal(net.running, before[1])


def test_pre_activations_of_chosen_rows(trained):
    net, X, _ = trained("batch norm")
    part = fn.job.Part.of(np.ascontiguousarray(X), np.array([20, 3, 7], ROW))
    for layer in (1, 3):
        found = [
            engine.observe(net, part, layer, activated=False)
            for engine in (fn.processor.Processor(), cuda.CudaEngine(fn.Cuda()))
        ]
        np.testing.assert_allclose(*found, **CLOSE)


def test_rows_go_through_in_passes(monkeypatch, trained):
    net, X, y = trained("plain")
    expected = used(net, X, y, "cpu")
    monkeypatch.setattr(cuda, "EVALUATION_ROWS", 8)
    monkeypatch.setattr(budget, "MOST_ROWS", 8)
    assert_equal(expected, used(net, X, y, "cuda"))


def test_classes_are_those_of_the_processor(trained):
    net, X, _ = trained("plain")
    assert np.array_equal(net.predict_class(X), net.predict_class(X, device="cuda"))


# Batches that do not fit, and data that does not


@pytest.mark.parametrize("options", [{}, {"clip": fn.ClipNorm(0.05)}, {"optimizer": fn.SGD(0.1)}])
def test_a_batch_in_passes_is_the_same_step(options, monkeypatch):
    monkeypatch.setattr(budget, "MOST_ROWS", 8)
    nets = [network(), network()]
    histories = [
        train(net, device, batch_size="full", penalty=fn.L2(0.1), **options)
        for net, device in zip(nets, ("cpu", "cuda"), strict=True)
    ]
    assert_same(*nets, histories)


STREAMED = {
    "minibatch": {"sample_weight": np.linspace(0.5, 2, 21), "validation": 0.3},
    "full batch": {"batch_size": "full"},
    "noise": {"augment": fn.augment.Noise(0.1)},
    "stochastic": {"batch_size": 1, "optimizer": fn.SGD(0.05), "epochs": 1},
    "numbers": {"loss": "mse"},
}


@pytest.mark.parametrize("name", STREAMED)
def test_streaming_changes_nothing(name, monkeypatch):
    if name == "full batch":
        monkeypatch.setattr(budget, "MOST_ROWS", 8)
    nets = [network(dropout=0.3 if name == "noise" else None) for _ in range(2)]
    with streaming():
        first = train(nets[0], "cuda", name == "numbers", **STREAMED[name])
    second = train(nets[1], "cuda", name == "numbers", **STREAMED[name])
    assert nets[0].params.tobytes() == nets[1].params.tobytes()
    for curve in ("loss", "accuracy", "validation_loss"):
        assert getattr(first, curve) == getattr(second, curve)


def test_prediction_and_gradients_of_streamed_data(monkeypatch, trained):
    monkeypatch.setattr(cuda, "EVALUATION_ROWS", 4)
    monkeypatch.setattr(budget, "MOST_ROWS", 4)
    net, X, y = trained("plain")
    with streaming():
        found = used(net, X, y, "cuda")
    assert_equal(used(net, X, y, "cpu"), found)


# From one device to the other, and what callbacks do


@pytest.mark.parametrize("options", [{}, {"optimizer": fn.SGD(0.1), "average": fn.EMA(0.8)}])
@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_a_fit_goes_on_on_another_device(devices, options):
    moved, stayed = network(norm="batch"), network(norm="batch")
    for device in devices:
        train(moved, device, epochs=1, batch_size=6, **options)
        train(stayed, "cpu", epochs=1, batch_size=6, **options)
    np.testing.assert_allclose(moved.params, stayed.params, **CLOSE)
    np.testing.assert_allclose(moved.running, stayed.running, **CLOSE)
    np.testing.assert_allclose(moved.fitted.optimizer.values, stayed.fitted.optimizer.values, **CLOSE)
    if "average" in options:
        np.testing.assert_allclose(moved.fitted.raw, stayed.fitted.raw, **CLOSE)


def test_a_saved_network_goes_on_on_the_device(tmp_path):
    net = network()
    train(net, "cuda", epochs=1)
    net.save(tmp_path / "net.safetensors")
    loaded = fn.MLP.load(tmp_path / "net.safetensors")
    assert loaded.params.tobytes() == net.params.tobytes()
    X, _ = data()
    np.testing.assert_allclose(loaded.predict(X, device="cuda"), net.predict(X), **CLOSE)


def test_early_stopping_puts_the_best_weights_back():
    nets = [network(), network()]
    stops = [fn.EarlyStopping(patience=1) for _ in nets]
    options = {"optimizer": fn.SGD(8.0), "validation": 0.3, "epochs": 6}
    histories = [
        train(net, device, callbacks=stop, **options)
        for net, device, stop in zip(nets, ("cpu", "cuda"), stops, strict=True)
    ]
    assert_same(*nets, histories)
    assert stops[0].best_epoch == stops[1].best_epoch < len(histories[0].loss) < 6


class Shrinking(fn.Callback):
    """Halves the weights after every epoch."""

    def epoch_end(self, net, history):
        net.set_weights([(W / 2, b) for W, b in net.weights])


def test_training_goes_on_from_weights_that_a_callback_changed():
    nets = [network(), network()]
    histories = [
        train(net, device, callbacks=[Shrinking(), fn.Diagnostics()])
        for net, device in zip(nets, ("cpu", "cuda"), strict=True)
    ]
    assert_same(*nets, [without_diagnostics(history) for history in histories])
    for one, other in zip(histories[0].diagnostics, histories[1].diagnostics, strict=True):
        np.testing.assert_allclose(one.layers[0].gradient_norm, other.layers[0].gradient_norm, **CLOSE)


def without_diagnostics(history):
    return fn.History(**{name: value for name, value in vars(history).items() if name != "diagnostics"})


def test_range_test_on_the_device():
    X, y = data()
    tests = [
        network().find_learning_rate(X, y, steps=12, batch_size=BATCH, device=device, lowest=1e-3)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(tests[0].losses, tests[1].losses, **CLOSE)
    assert tests[0].suggestion == tests[1].suggestion


# How runs end


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_leaves_the_last_good_weights():
    found = []
    for device in ("cpu", "cuda"):
        net = network(output="linear")
        train(net, device, True, epochs=1)
        before = net.params.copy()
        with pytest.raises(DivergenceError) as caught:
            train(net, device, True, epochs=30, optimizer=fn.SGD(1e30))
        assert np.array_equal(net.params, before)
        assert not net.fitted.optimizer.values.any()
        found.append((caught.value.epoch, caught.value.step, str(caught.value), net.fitted.optimizer.steps))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("steps", [4, 1])
def test_copies_of_good_weights_that_prove_good(steps, monkeypatch):
    """A run that grows beyond bounds some epochs after it began goes back to the end of an epoch on the way."""
    monkeypatch.setattr(last_good, "STEPS", steps)
    found = []
    for device in ("cpu", "cuda"):
        net = fn.MLP([N_IN, CLASSES], dtype="float64")
        before = net.params.copy()
        with pytest.raises(DivergenceError) as caught:
            train(net, device, True, epochs=60, optimizer=fn.SGD(30.0))
        assert not np.array_equal(net.params, before)
        found.append((caught.value.epoch, caught.value.step, net.params.copy()))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-6)


class Pressing(progress.Silent):
    """A user who presses Ctrl-C as soon as some steps are done."""

    def advance(self, epoch, samples):
        if samples:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, {"batch_size": 1}])
def test_ctrl_c_stops_after_a_whole_step(options, monkeypatch):
    monkeypatch.setattr(progress, "create", lambda shown: Pressing())
    monkeypatch.setattr(epoch, "GROUP", 1)
    monkeypatch.setattr(epoch, "SINGLE_STEPS", 2)
    given = {"optimizer": fn.SGD(0.1), "shuffle": False, **options}
    stopped, twin = network(), network()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, "cuda", epochs=50, **given)
    monkeypatch.undo()
    batch = given.get("batch_size", BATCH)
    steps, (X, y) = stopped.fitted.optimizer.steps, data()
    whole, rest = divmod(steps, -(-len(X) // batch))
    assert 0 < steps < 50 * -(-len(X) // batch)
    options = {"optimizer": fn.SGD(0.1), "shuffle": False, "batch_size": batch, "progress": False}
    if whole:
        twin.fit(X, y, epochs=whole, **options)
    if rest:
        twin.fit(X[: rest * batch], y[: rest * batch], epochs=1, **options)
    np.testing.assert_allclose(stopped.params, twin.params, rtol=1e-10, atol=1e-10)


def test_a_device_that_is_lost(monkeypatch):
    net = network()
    train(net, "cuda", epochs=1)
    before = net.params.copy()

    def lose(self, *args):
        raise RuntimeError("[719] Call to cuLaunchKernel results in CUDA_ERROR_LAUNCH_FAILED")

    monkeypatch.setattr(epoch.Fit, "_launch", lose)
    monkeypatch.setattr(memory, "fetch", lose)
    with pytest.raises(DeviceLostError, match=r"lost.*CUDA_ERROR_LAUNCH_FAILED"):
        train(net, "cuda")
    assert np.array_equal(net.params, before)


def test_a_device_that_is_too_small(monkeypatch):
    X, y = data()
    net = network(norm="batch")
    monkeypatch.setattr(budget, "RESERVE", (0, 0.0))
    monkeypatch.setattr(memory, "free_bytes", lambda: 1 << 20)
    train(net, "cuda", epochs=1, batch_size=6)
    before, fitted = net.params.copy(), net.fitted
    for free, hint in ((18_000, r"A batch of \d+ would fit"), (2_000, "Not even one sample")):
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        with pytest.raises(DeviceMemoryError, match=rf"parameters.*workspace for a batch of 21.*data.*free\. {hint}"):
            net.fit(X, y, batch_size="full", device="cuda", progress=False, reset=True)
        assert np.array_equal(net.params, before)
        assert net.fitted is fitted


def test_memory_that_runs_out_on_the_way(monkeypatch):
    def refuse(*args):
        raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(memory.cuda, "device_array", refuse, raising=False)
    with pytest.raises(DeviceMemoryError, match=r"ran out of memory.*batch_size"):
        train(network(), "cuda")


def test_functions_of_users_are_refused():
    function = fn.CustomActivation(lambda z: z * 0.5, lambda z: 0.5, name="half")
    loss = fn.CustomLoss(lambda yhat, y: (yhat - y) ** 2, lambda yhat, y: 2 * (yhat - y))
    X, y = data(numbers=True)
    for net, given in ((network(activation=function, output="linear"), None), (network(output="linear"), loss)):
        before = net.params.copy(), net.fitted
        for use in (net.fit, net.find_learning_rate, net.evaluate, net.gradient):
            with pytest.raises(InputError, match=r'own.*device="cpu"'):
                use(X, y, loss=given, device="cuda")
        assert np.array_equal(net.params, before[0])
        assert net.fitted is before[1]


def test_threads_are_not_of_the_device():
    with pytest.raises(InputError, match="threads"):
        train(network(), "cuda", threads=2)


def test_what_is_said_of_a_fit():
    net = network()
    train(net, "cuda", epochs=1)
    text = net.explain(8, device="cuda")
    assert all(word in text for word in ("simulated device", "graph", "Adam", "last fit", "batch 8"))
    assert "stochastic" in net.explain(1, "sgd", device="cuda")
    assert "cpu: " in net.explain(8, device="auto")


def test_auto_takes_the_processor_where_the_device_is_simulated(capsys):
    net = network()
    train(net, "auto", epochs=1, progress=True)
    assert "device cpu: " in capsys.readouterr().err
    assert "thread" in net.fitted.last_run.label
