"""The GPU without a GPU: its tests in Numba's simulator, and what is said where there is none."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import fastnn as fn
from fastnn import cli, cuda, devices
from fastnn.errors import DeviceError, DeviceLostError, DeviceMemoryError, InputError, MissingExtraError
from fastnn_kernels.cuda import cublas, memory

ROOT = Path(__file__).parents[2]
QUIET = {"progress": False, "epochs": 1}
X, Y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3


@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="the simulator compiles for no processor")
def test_kernels_and_training_in_the_simulator():
    """Everything in tests/cuda, in a process of its own: the simulator takes the place of numba.cuda when it starts."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "--no-header", "-p", "no:cacheprovider", "tests/cuda"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


def network():
    return fn.MLP([4, 5, 3], output="softmax")


USES = {
    "fit": lambda net, device: net.fit(X, Y, device=device, **QUIET),
    "predict": lambda net, device: net.predict(X, device=device),
    "predict_class": lambda net, device: net.predict_class(X, device=device),
    "activations": lambda net, device: net.activations(X, device=device),
    "evaluate": lambda net, device: net.evaluate(X, Y, device=device),
    "loss": lambda net, device: net.loss(X, Y, device=device),
    "gradient": lambda net, device: net.gradient(X, Y, device=device),
    "find_learning_rate": lambda net, device: net.find_learning_rate(X, Y, steps=10, device=device),
    "explain": lambda net, device: net.explain(device=device),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_falls_back_to_the_processor(use, monkeypatch):
    monkeypatch.setattr(memory, "_has_package", lambda: False)
    net = network()
    net.fit(X, Y, **QUIET)
    before = net.params.copy()
    with pytest.raises(MissingExtraError, match=r"pip install 'fastnn-numba\[cuda\]'"):
        USES[use](net, "cuda")
    with pytest.raises(InputError, match=r"unknown device 'cudda'.*did you mean 'cuda'.*auto, cpu, cuda"):
        USES[use](net, "cudda")
    assert np.array_equal(net.params, before)


def driver(**given):
    """What Numba says of a driver."""
    facts = {"initialization_error": None, "version": (13, 0), "devices": 1} | given
    return SimpleNamespace(
        ensure_initialized=lambda: None,
        initialization_error=facts["initialization_error"],
        get_version=lambda: facts["version"],
        get_device_count=lambda: facts["devices"],
    )


@pytest.fixture
def machine(monkeypatch):
    """A function that makes a machine with such a driver, and a device of such a compute capability."""
    memory.find.cache_clear()

    def make(capability=(9, 0), **given):
        device = SimpleNamespace(name=b"NVIDIA H100", compute_capability=capability, MULTIPROCESSOR_COUNT=132)
        adapter = SimpleNamespace(get_current_device=lambda: device)
        monkeypatch.setattr(memory, "cuda", adapter)
        monkeypatch.setattr(memory, "_has_package", lambda: True)
        monkeypatch.setattr(memory, "_numba_driver", lambda: driver(**given))
        monkeypatch.setattr(memory, "_toolkit", lambda: 13)
        monkeypatch.setattr(memory, "_memory", lambda: SimpleNamespace(free=70 << 30, total=80 << 30))
        monkeypatch.setattr(memory, "free_bytes", lambda: 70 << 30)

    yield make
    memory.find.cache_clear()


BROKEN = {
    "no driver": (
        {"initialization_error": "CUDA driver library cannot be found."},
        "no driver.*cannot be found.*Install",
    ),
    "no device": ({"initialization_error": "[100] cuInit results in CUDA_ERROR_NO_DEVICE"}, "no device.*nvidia-smi"),
    "no devices": ({"devices": 0}, "no device.*CUDA_VISIBLE_DEVICES"),
    "mismatch": ({"initialization_error": "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}, "driver is older.*newer driver"),
    "old driver": ({"version": (12, 4)}, r"driver is older.*CUDA 12\.4.*13.*newer driver"),
    "old device": ({"capability": (7, 0)}, r"device is older.*H100.*\(7, 0\).*7\.5"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_machine_without_a_usable_gpu(which, machine):
    given, said = BROKEN[which]
    machine(**given)
    with pytest.raises(DeviceError, match=f'device="cuda" cannot be used: .*{said}.*device="cpu"'):
        network().fit(X, Y, device="cuda", **QUIET)


def test_a_machine_with_a_gpu(machine):
    machine()
    assert cuda.find() == memory.Device("NVIDIA H100", (9, 0), 132, 80 << 30, (13, 0))
    for word in ("NVIDIA H100", "9.0", "132", "70.00 GiB of 80.00 GiB free", "CUDA 13.0"):
        assert word in cuda.describe()


def test_the_command_line_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "_has_package", lambda: False)
    run = CliRunner()
    for command in (["train", "--epochs", "1"], ["bench"]):
        result = run.invoke(cli.app, [*command, "--device", "cuda"])
        assert result.exit_code == 1
        assert isinstance(result.exception, MissingExtraError)
    assert not list(tmp_path.iterdir())
    assert "cuda        none: " in run.invoke(cli.app, ["info"]).output


def test_the_command_line_knows_the_gpu(machine):
    machine()
    assert "cuda        NVIDIA H100, compute capability 9.0" in CliRunner().invoke(cli.app, ["info"]).output


# Products by cuBLAS

CUBLAS = fn.Cuda(products="cublas")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"products": "cubla"}, r"unknown products 'cubla'; did you mean 'cublas'\? Known: cublas, loops"),
        ({"products": None}, "unknown products None"),
        ({"tf32": True}, 'tf32=True needs products="cublas"'),
        ({"products": "cublas", "tf32": "yes"}, "tf32 must be True or False, got 'yes'"),
    ],
)
def test_what_a_device_cannot_be_asked_for(options, said):
    with pytest.raises(InputError, match=said):
        fn.Cuda(**options)


@pytest.fixture
def trained():
    net = network()
    net.fit(X, Y, **QUIET)
    before = net.params.copy()
    yield net
    assert np.array_equal(net.params, before)


@pytest.mark.parametrize("use", USES)
def test_the_extra_is_missing(use, trained, machine, monkeypatch):
    machine()
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    with pytest.raises(MissingExtraError, match=r"products='cublas'.*'nvmath-python'.*'fastnn-numba\[cublas\]'"):
        USES[use](trained, CUBLAS)


def test_nvmath_without_a_library(trained, machine, monkeypatch):
    def find():
        raise RuntimeError("no libcublas.so.13\n  in any folder")

    machine()
    monkeypatch.setattr(cublas, "find", find)
    with pytest.raises(DeviceError, match=r"finds no cuBLAS \(no libcublas\.so\.13\)\. pip install"):
        trained.fit(X, Y, device=CUBLAS, **QUIET)


@pytest.mark.parametrize("use", USES)
def test_tf32_is_not_for_float64(use, machine, monkeypatch):
    machine()
    monkeypatch.setattr(cublas, "find", lambda: None)
    net = fn.MLP([4, 5, 3], output="softmax", dtype="float64")
    net.fit(X, Y, **QUIET)
    before = net.params.copy()
    with pytest.raises(InputError, match=r'tf32=True is for float32.*dtype="float64"'):
        USES[use](net, fn.Cuda(products="cublas", tf32=True))
    assert np.array_equal(net.params, before)


def test_what_a_library_is_told_of_streams_and_arrays():
    recording = SimpleNamespace(__cuda_stream__=lambda: (0, 7))
    assert memory.handle(recording) == 7
    assert memory.address(SimpleNamespace(device_ctypes_pointer=SimpleNamespace(value=9))) == 9


def test_the_gpu_s_loops_are_what_cuda_means(machine):
    machine()
    assert devices.choose(fn.Cuda(), 1)._library is devices.choose("cuda", 1)._library is None
    for asked in ("cuda", CUBLAS):
        with pytest.raises(InputError, match="threads"):
            devices.choose(asked, 1, threads=2)


def test_explain_names_what_multiplies(machine, monkeypatch):
    machine()
    monkeypatch.setattr(cublas, "find", lambda: None)
    net = network()
    assert "products    fastnn's own loops" in net.explain(device="cuda")
    assert "products    NVIDIA's cuBLAS\n" in net.explain(device=CUBLAS)
    assert "products    fastnn's own loops" in net.explain(1, "sgd", device=CUBLAS)


# What "auto" takes


def test_auto_leaves_small_work_to_the_processor(machine):
    machine()
    said = []
    engine = devices.choose("auto", 1e6, report=said.append)
    assert isinstance(engine, fn.processor.Processor)
    assert said[0].startswith("device cpu: 1.0 MFLOP at a time")


def test_auto_takes_a_gpu_where_work_is_worth_it(machine):
    machine()
    said = []
    assert isinstance(devices.choose("auto", 1e10, report=said.append), cuda.CudaEngine)
    assert said == ["device cuda: NVIDIA H100"]
    devices.choose("auto", 1e10, threads=2, report=said.append)
    assert said[1] == "device cpu: threads were given"


@pytest.mark.parametrize("which", BROKEN)
def test_auto_says_why_there_is_no_gpu(which, machine):
    machine(**BROKEN[which][0])
    said = []
    assert isinstance(devices.choose("auto", 1e10, report=said.append), fn.processor.Processor)
    assert said[0].startswith("device cpu: device=")


def test_auto_tells_the_user(monkeypatch, capsys):
    monkeypatch.setattr(memory, "_has_package", lambda: False)
    monkeypatch.setattr(devices, "WORTH", 0)
    network().fit(X, Y, epochs=1, device="auto")
    assert "device cpu: " in capsys.readouterr().err
    assert network().explain(device="auto").startswith("device      cpu: ")


# Graphs


class Core:
    """What cuda.core offers of a stream: `log` has what was enqueued, and what was recorded and replayed."""

    def __init__(self, log):
        self.log, self.recorded = log, []

    def create_graph_builder(self):
        return self

    def begin_building(self):
        return self

    def end_building(self):
        return self

    def complete(self):
        return self

    def launch(self, stream):
        assert stream is self
        self.log.extend(self.recorded)


def test_launches_are_recorded_once_and_replayed(monkeypatch):
    log, launched = [], []
    core = Core(log)

    def launch(stream):
        launched.append(stream)
        (stream.recorded if stream is core else log).extend(["begin", "finish"])

    monkeypatch.setattr(memory, "_core_stream", lambda stream: core)
    replay = memory.recorded(launch, "a stream")
    assert (launched, log) == ([core], [])
    for times in (1, 2):
        replay()
        assert log == ["begin", "finish"] * times
    assert launched == [core]


def test_without_cuda_core_launches_are_repeated(monkeypatch):
    launched = []
    monkeypatch.setattr(memory, "_core_stream", lambda stream: None)
    replay = memory.recorded(launched.append, "a stream")
    replay()
    replay()
    assert launched == ["a stream"] * 2


# Errors of the driver


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("CUDA_ERROR_OUT_OF_MEMORY", DeviceMemoryError),
        ("CUDA_ERROR_ECC_UNCORRECTABLE", DeviceLostError),
        ("CUDA_ERROR_ILLEGAL_ADDRESS", DeviceLostError),
        ("CUDA_ERROR_DEVICE_UNAVAILABLE: busy", DeviceLostError),
        ("CUDA_ERROR_INVALID_VALUE", RuntimeError),
        ("the resource allocation failed (CUBLAS_STATUS_ALLOC_FAILED)", DeviceMemoryError),
        ("the function failed to launch on the GPU (CUBLAS_STATUS_EXECUTION_FAILED)", DeviceLostError),
    ],
)
def test_errors_of_the_driver(code, error, machine):
    machine()
    with pytest.raises(error) as caught, cuda.reported():
        raise RuntimeError(f"[700] Call to cuMemcpy results in {code}")
    assert isinstance(caught.value, DeviceError) == (error is not RuntimeError)
    assert type(caught.value) is error
