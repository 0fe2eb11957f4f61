"""The one module of the host that knows the driver: which device there is, its memory, streams, events and errors.

Arrays on the device are one-dimensional. Copies and launches are enqueued on a stream; what the host writes or reads
meanwhile lies in pinned memory.
"""

import enum
import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from fastnn_kernels.cuda.driver import IS_SIMULATED, cuda

SIMULATED_BYTES = 1 << 40
LEAST_CAPABILITY = (7, 5)  # what the compiler of CUDA 13 still knows


class Reason(enum.Enum):
    """Why there is no device to be used."""

    NO_PACKAGE = "numba-cuda is not installed"
    NO_DRIVER = "there is no driver"
    NO_DEVICE = "the driver finds no device"
    OLD_DRIVER = "the driver is older than the compiler"
    OLD_DEVICE = "the device is older than the compiler knows"


class UnavailableError(Exception):
    """There is no device to be used. detail: what was found, or what the driver says."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason, self.detail = reason, detail


class OutOfMemoryError(Exception):
    """The device has not so much memory left."""


class LostError(Exception):
    """The device does not answer any more, or what was on it is lost."""


LOST = (
    "DEVICE_UNAVAILABLE",
    "ECC_UNCORRECTABLE",
    "NVLINK_UNCORRECTABLE",
    "ILLEGAL_ADDRESS",
    "LAUNCH_FAILED",
    "LAUNCH_TIMEOUT",
    "HARDWARE_STACK_ERROR",
    "MISALIGNED_ADDRESS",
    "CONTEXT_IS_DESTROYED",
    "SYSTEM_NOT_READY",
    "CONTAINED",
    "UNKNOWN",
    "EXECUTION_FAILED",
    "INTERNAL_ERROR",
)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the driver and of cuBLAS as those above; others pass."""
    try:
        yield
    except Exception as error:
        code = re.search(r"(?:CUDA_ERROR|CUBLAS_STATUS)_(\w+)", str(error))
        if code is not None and code[1] in ("OUT_OF_MEMORY", "ALLOC_FAILED"):
            raise OutOfMemoryError(str(error)) from error
        if code is not None and code[1] in LOST:
            raise LostError(code[0]) from error
        raise


@dataclass(frozen=True)
class Device:
    """capability: (major, minor); processors: multiprocessors; memory: bytes; driver: the version of CUDA it knows."""

    name: str
    capability: tuple[int, int]
    processors: int
    memory: int
    driver: tuple[int, int]
    is_simulated: bool = False


@cache
def find() -> Device:
    """The device that all work is done on: the first that CUDA shows. Raises UnavailableError."""
    if IS_SIMULATED:
        return Device("simulated device", (0, 0), 1, SIMULATED_BYTES, (0, 0), True)
    if not _has_package():
        raise UnavailableError(Reason.NO_PACKAGE)
    driver = _driver()
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    found = Device(name, tuple(device.compute_capability), int(device.MULTIPROCESSOR_COUNT), _memory().total, driver)
    if found.capability < LEAST_CAPABILITY:
        raise UnavailableError(Reason.OLD_DEVICE, f"{name}, compute capability {found.capability}")
    return found


def _driver() -> tuple[int, int]:
    """The version of CUDA that the driver knows, if it works."""
    driver = _numba_driver()
    with suppress(Exception):  # what goes wrong here stands in initialization_error
        driver.ensure_initialized()
    if driver.initialization_error is not None:
        problem = str(driver.initialization_error)
        codes = {"NO_DEVICE": Reason.NO_DEVICE, "DRIVER_MISMATCH": Reason.OLD_DRIVER, "COMPAT_NOT": Reason.OLD_DRIVER}
        raise UnavailableError(next((codes[code] for code in codes if code in problem), Reason.NO_DRIVER), problem)
    if driver.get_device_count() == 0:
        raise UnavailableError(Reason.NO_DEVICE)
    version, wanted = tuple(driver.get_version()), _toolkit()
    if version[0] < wanted:
        raise UnavailableError(Reason.OLD_DRIVER, f"it knows CUDA {version[0]}.{version[1]}, but not {wanted}")
    return version


def _has_package() -> bool:
    return importlib.util.find_spec("numba_cuda") is not None


def _numba_driver() -> Any:
    from numba.cuda.cudadrv.driver import driver

    return driver


def _toolkit() -> int:
    """The major version of CUDA that kernels are compiled by."""
    from cuda import bindings

    return int(bindings.__version__.split(".")[0])


def _memory() -> Any:
    return cuda.current_context().get_memory_info()


def free_bytes() -> int:
    """Memory of the device that is free now."""
    if IS_SIMULATED:
        return SIMULATED_BYTES
    with translated():
        cuda.current_context().deallocations.clear()  # what nobody holds any more waits there
        return int(_memory().free)


def new_stream() -> Any:
    return cuda.stream()


def new_event() -> Any:
    return cuda.event()


def handle(stream: Any) -> int:
    """A stream, or the recording of a graph, as libraries want it."""
    return id(stream) if IS_SIMULATED else int(stream.__cuda_stream__()[1])


def address(array: Any) -> int:
    """Where an array on the device begins, as libraries want it."""
    return int(array.ctypes.data if IS_SIMULATED else array.device_ctypes_pointer.value)


def empty(elements: int, dtype: Any) -> Any:
    """An array on the device with anything in it; one element where none is asked for."""
    with translated():
        return cuda.device_array(max(int(elements), 1), np.dtype(dtype))


def upload(array: np.ndarray, dtype: Any, stream: Any) -> Any:
    """A copy of an array on the device, flat."""
    flat = np.ascontiguousarray(array, dtype).reshape(-1)
    out = empty(flat.size, dtype)
    if flat.size:
        put(flat, out, stream)
    return out


def zeros(elements: int, dtype: Any, stream: Any) -> Any:
    """An array of zeros on the device."""
    from numba.cuda.cudadrv.driver import device_memset

    out = empty(elements, dtype)
    with translated():
        device_memset(out, 0, out.nbytes, stream)
    return out


def put(array: Any, out: Any, stream: Any) -> None:
    """Enqueue a copy into an array on the device, of the same size and dtype, from the host or from the device."""
    with translated():
        out.copy_to_device(array, stream=stream)


def fetch(array: Any, stream: Any, out: np.ndarray | None = None) -> np.ndarray:
    """A copy of an array from the device, after all that is enqueued on the stream."""
    with translated():
        copy = array.copy_to_host(out, stream=stream)
        wait_for(stream)
    return copy


def fetch_later(array: Any, out: np.ndarray, stream: Any) -> None:
    """Enqueue a copy into an array in pinned memory."""
    with translated():
        array.copy_to_host(out, stream=stream)


def pinned(elements: int, dtype: Any) -> np.ndarray:
    """An array on the host that copies go from and to while the processor does something else."""
    with translated():
        return cuda.pinned_array(max(int(elements), 1), np.dtype(dtype))


def wait_for(one: Any) -> None:
    """Wait until all that is enqueued on a stream, or was before an event, is done."""
    with translated():
        one.synchronize()


def recorded(launch: Callable[[Any], None], stream: Any) -> Callable[[], None]:
    """A function that enqueues on the stream what launch(stream) enqueues, as one graph; launch must have run before.

    Without cuda.core, and in the simulator, it launches one by one.
    """
    core = None if IS_SIMULATED else _core_stream(stream)
    if core is None:
        return partial(launch, stream)
    builder = core.create_graph_builder().begin_building()
    launch(builder)
    graph = builder.end_building().complete()
    return partial(graph.launch, core)


def _core_stream(stream: Any) -> Any:
    try:
        from cuda.core import Stream
    except ImportError:
        return None
    return Stream.from_handle(int(stream.handle))
