"""Which device does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastnn import checks
from fastnn.engine import Engine
from fastnn.errors import DeviceError, InputError, MissingExtraError, unknown_name
from fastnn.processor import Processor

DEVICES = ("cpu", "cuda", "auto")
PRODUCTS = ("loops", "cublas")
MOST_THREADS = 1024
WORTH = 2e8  # floating point operations at a time, from which "auto" takes a GPU: some 4 us for each of its launches


@dataclass(frozen=True)
class Cuda:
    """An NVIDIA GPU, and what multiplies matrices there; device="cuda" is Cuda().

    products: "loops", fastnn's own kernels, or "cublas", NVIDIA's library (extra `cublas`). tf32: whether cuBLAS may
    round the factors of float32 products to TF32, 10 bits behind the point instead of 23, which tensor cores multiply.

    Raises InputError for other products, and for tf32 without cuBLAS.
    """

    products: str = "loops"
    tf32: bool = False

    def __post_init__(self) -> None:
        if self.products not in PRODUCTS:
            raise unknown_name("products", self.products, PRODUCTS)
        if checks.flag("tf32", self.tf32) and self.products != "cublas":
            raise InputError('tf32=True needs products="cublas": fastnn\'s own loops compute in full float32')


def choose(device: Any, work: float, threads: Any = None, report: Callable[[str], None] = lambda text: None) -> Engine:
    """The engine that was asked for.

    work: floating point operations at a time; threads: of the processor, None for as many as the work is worth; report:
    is told what "auto" took, and why. Raises InputError, and DeviceError where "cuda" cannot be used.
    """
    check(device)
    processor = Processor(None if threads is None else _threads(threads))
    if device == "cpu":
        return processor
    if device == "cuda" or isinstance(device, Cuda):
        if threads is not None:
            raise InputError(f'threads are of the processor: device="cuda" goes without, got {threads!r}')
        return _cuda(Cuda() if device == "cuda" else device)
    engine, why = _automatic(processor, work, threads is not None)
    report(f"device {why}")
    return engine


def check(device: Any) -> str | Cuda:
    """One of DEVICES, or a Cuda. Raises InputError."""
    if not isinstance(device, Cuda) and device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    return device


def why_not_cuda(work: float) -> str | None:
    """Why "auto" leaves work of so many operations at a time to the processor, or None where it does not."""
    if work < WORTH:
        return f"{work / 1e6:,.1f} MFLOP at a time are less than the {WORTH / 1e6:,.0f} that are worth a GPU's launches"
    try:
        device = _cuda(Cuda()).device
    except (DeviceError, MissingExtraError) as error:
        return str(error)
    return f"{device.name} is no GPU" if device.is_simulated else None


def _automatic(processor: Processor, work: float, has_threads: bool) -> tuple[Engine, str]:
    reason = "threads were given" if has_threads else why_not_cuda(work)
    if reason is not None:
        return processor, f"cpu: {reason}"
    engine = _cuda(Cuda())
    return engine, f"cuda: {engine.device.name}"


def _cuda(asked: Cuda) -> Any:
    from fastnn.cuda import CudaEngine

    return CudaEngine(asked)


def _threads(given: Any) -> int:
    count = checks.whole("threads", given)
    if count > MOST_THREADS:
        raise InputError(f"threads must be at most {MOST_THREADS}, got {count}")
    return count
