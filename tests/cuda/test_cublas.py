"""Products by cuBLAS, which NumPy stands in for; and that what is called is what nvmath offers."""

import gc
import inspect
from dataclasses import replace

import numpy as np
import pytest
import test_dense
import test_training
from harness import block, make, weight
from stand_in import StandIn
from test_engine import CLOSE, NETWORKS, assert_equal, streaming, used
from test_training import CASES, NOISES, Case, assert_like_the_processor, assert_same, data, network, train

import fastnn as fn
from fastnn import cuda
from fastnn.errors import DeviceMemoryError
from fastnn_kernels import layout
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import budget, cublas, memory
from fastnn_kernels.cuda.cublas import Cublas

pytestmark = pytest.mark.usefixtures("small_blocks")

CUBLAS = fn.Cuda(products="cublas")


@pytest.fixture(autouse=True)
def binding(monkeypatch):
    """What stands in for cuBLAS, in all that is opened."""
    stand_in = StandIn()
    stand_in.install(monkeypatch)
    return stand_in


@pytest.fixture
def dense(monkeypatch, binding):
    """The checks of dense.py's products, by cuBLAS; in the end each product was one of the library's, on the stream."""

    def made(*args, **options):
        library = Cublas(binding)
        library.open()
        one = make(*args, **options)
        for array in one.work:
            binding.remember(array)
        passes.append(replace(one, library=library))
        return passes[-1]

    passes = []
    monkeypatch.setattr(test_dense, "make", made)
    yield test_dense
    assert binding.products == len(passes)
    assert binding.streams == {memory.handle(one.stream) for one in passes}


# One product


@pytest.mark.parametrize("dtype", test_dense.DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), test_dense.SIZES)
def test_feed(dense, dtype, n_in, n_out):
    dense.check_feed(dtype, n_in, n_out, 10, rest_stays=False)


@pytest.mark.parametrize("dtype", test_dense.DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), test_dense.SIZES)
def test_delta(dense, dtype, n_in, n_out):
    dense.check_delta(dtype, n_in, n_out, 10, rest_stays=False)


@pytest.mark.parametrize("dtype", test_dense.DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), test_dense.SIZES)
def test_gradient_of_the_rows_that_the_pass_has(dense, dtype, n_in, n_out):
    dense.check_gradient(dtype, n_in, n_out, 1, 10)


@pytest.mark.parametrize("dtype", test_dense.DTYPES)
def test_the_gradient_of_the_padding_is_zero(dense, dtype):
    dense.check_padding(dtype, 1)


def test_rows_beyond_the_pass_stay_bare_products(dense):
    """What follows a product may read what such a row has not: its sample."""
    one = dense.make([5, 6], [LINEAR], 4)
    dense.set_count(one, 3)
    dense.dense.feed(one, 1)
    (W, b), X, A = weight(one, 1, one.work.params.copy_to_host()), block(one, 0, layout.A), block(one, 1, layout.A)
    np.testing.assert_allclose(A[:3], X[:3] @ W + b, **CLOSE)
    np.testing.assert_allclose(A[3], X[3] @ W, **CLOSE)


def test_a_recording_takes_the_place_of_the_stream(binding, dense):
    one, recording = dense.make([5, 6], [LINEAR], 4), object()
    dense.dense.feed(one.on(recording), 1)
    assert binding.streams == {id(recording)}
    binding.streams = {memory.handle(one.stream)}


# Whole runs

RUNS = ["adam", "clip by norm", "dropout", "dropout per batch", "batch norm", "batch norm accumulated", "layer norm"]
RUNS += ["noisy relu", "validation", "mae"]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_the_processor_s(name, binding):
    assert_like_the_processor(CASES[name], device=CUBLAS)
    assert binding.products > 0
    assert len(binding.streams) == 1


@pytest.mark.parametrize("name", NOISES)
def test_noise_on_weights_is_the_processor_s(name):
    layers = [fn.Dense(6, "tanh", noise=NOISES[name]), fn.Dense(5, "tanh"), fn.Dense(test_training.CLASSES, "softmax")]
    assert_like_the_processor(Case(), layers=layers, device=CUBLAS)


@pytest.mark.parametrize("name", ["adam", "batch norm", "dropout"])
def test_a_run_in_float32(name):
    assert_like_the_processor(CASES[name], "float32", device=CUBLAS)


@pytest.mark.parametrize("options", [{}, {"clip": fn.ClipNorm(0.05)}])
def test_a_batch_in_passes_is_the_same_step(options, monkeypatch):
    monkeypatch.setattr(budget, "MOST_ROWS", 8)
    nets = [network(), network()]
    histories = [
        train(net, device, batch_size="full", **options) for net, device in zip(nets, ("cpu", CUBLAS), strict=True)
    ]
    assert_same(*nets, histories)


def test_streaming_and_a_second_run_change_no_bit():
    nets = [network(dropout=0.3) for _ in range(3)]
    with streaming():
        train(nets[0], CUBLAS, validation=0.3)
    for net in nets[1:]:
        train(net, CUBLAS, validation=0.3)
    assert len({net.params.tobytes() for net in nets}) == 1


@pytest.mark.parametrize("product", ["feed", "delta", "gradient"])
def test_what_lies_beyond_the_rows_of_a_pass_leaves_no_trace(product, monkeypatch):
    """NaN there, and in the padding, before each product of a run whose last batch is shorter."""
    multiply = getattr(Cublas, product)

    def spoiled(self, p, layer, *args):
        test_dense.spoil_padding(p)
        multiply(self, p, layer, *args)

    monkeypatch.setattr(Cublas, product, spoiled)
    assert_like_the_processor(CASES["adam"], device=CUBLAS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_does_the_same(name, binding):
    numbers = "output" in NETWORKS[name]
    net, (X, y) = network(**NETWORKS[name]), data(numbers)
    train(net, "cpu", numbers, epochs=1, batch_size=7)
    assert_equal(used(net, X, y, "cpu"), used(net, X, y, CUBLAS))
    assert binding.products > 0


def test_a_fit_goes_on_with_other_products():
    moved, stayed = network(norm="batch"), network(norm="batch")
    for device in (CUBLAS, "cuda", "cpu"):
        train(moved, device, epochs=1, batch_size=6)
        train(stayed, "cpu", epochs=1, batch_size=6)
    np.testing.assert_allclose(moved.params, stayed.params, **CLOSE)


def test_tf32_is_told_to_the_library(binding):
    net = network("float32")
    engine = cuda.CudaEngine(fn.Cuda(products="cublas", tf32=True))
    engine.predict(net, fn.job.Part.of(np.ones((3, net.n_in), np.float32)), fn.losses.CrossEntropy())
    assert list(binding.math.values()) == [cublas.TF32]
    assert "NVIDIA's cuBLAS, factors rounded to TF32" in net.explain(device=fn.Cuda("cublas", tf32=True))


def test_nothing_of_the_library_waits_for_the_garbage_collector(binding):
    net, (X, y) = network(), data()
    gc.disable()
    try:
        train(net, CUBLAS, validation=0.3)
        net.predict(X, device=CUBLAS)
        net.gradient(X, y, device=CUBLAS)
    finally:
        gc.enable()
    assert binding.products > 0
    assert binding.math == {}


def test_a_library_is_opened_once_and_again_when_it_was_closed(binding):
    library = Cublas(binding)
    assert (library.needs, binding.math) == (cublas.WORKSPACE, {})
    for _ in range(2):
        library.open()
        library.open()
        assert (library.needs, list(binding.math.values())) == (0, [cublas.FULL])
        library.close()
        assert (library.needs, binding.math) == (cublas.WORKSPACE, {})
    library.close()


def test_memory_for_the_library_is_asked_for(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: cublas.WORKSPACE + budget.RESERVE[0])
    train(network(), "cuda", epochs=1)
    with pytest.raises(DeviceMemoryError, match=r"0\.03 GiB for cuBLAS"):
        train(network(), CUBLAS, epochs=1)


# The binding itself

CALLED = ["create", "destroy", "set_math_mode", "set_stream", "set_workspace", "sgemm", "dgemm"]


@pytest.fixture
def nvmath():
    return pytest.importorskip("nvmath.bindings.cublas", reason="nvmath-python is not installed: extra cublas")


@pytest.mark.parametrize("name", CALLED)
def test_what_is_called_is_there(nvmath, name):
    parameters = [list(inspect.signature(getattr(one, name)).parameters) for one in (StandIn(), nvmath)]
    assert parameters[0] == parameters[1]


def test_its_numbers_are_those_of_the_library(nvmath):
    assert (nvmath.Operation.N, nvmath.Operation.T) == (cublas.AS_IT_IS, cublas.TRANSPOSED)
    assert (nvmath.Math.DEFAULT_MATH, nvmath.Math.TF32_TENSOR_OP_MATH) == (cublas.FULL, cublas.TF32)
    assert callable(nvmath.get_status_name)
