"""Which device does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn import checks
from fastnn.engine import Engine
from fastnn.errors import DeviceError, InputError, MissingExtraError, unknown_name
from fastnn.processor import Processor

DEVICES = ("cpu", "cuda", "auto")
MOST_THREADS = 1024
WORTH = 2e8  # floating point operations at a time, from which "auto" takes a GPU: some 4 us for each of its launches


def choose(device: Any, work: float, threads: Any = None, report: Callable[[str], None] = lambda text: None) -> Engine:
    """The engine that was asked for.

    work: floating point operations at a time; threads: of the processor, None for as many as the work is worth; report:
    is told what "auto" took, and why. Raises InputError, and DeviceError where "cuda" cannot be used.
    """
    check(device)
    processor = Processor(None if threads is None else _threads(threads))
    if device == "cpu":
        return processor
    if device == "cuda":
        if threads is not None:
            raise InputError(f'threads are of the processor: device="cuda" goes without, got {threads!r}')
        return _cuda()
    engine, why = _automatic(processor, work, threads is not None)
    report(f"device {why}")
    return engine


def check(device: Any) -> str:
    """One of DEVICES. Raises InputError."""
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    return device


def why_not_cuda(work: float) -> str | None:
    """Why "auto" leaves work of so many operations at a time to the processor, or None where it does not."""
    if work < WORTH:
        return f"{work / 1e6:,.1f} MFLOP at a time are less than the {WORTH / 1e6:,.0f} that are worth a GPU's launches"
    try:
        device = _cuda().device
    except (DeviceError, MissingExtraError) as error:
        return str(error)
    return f"{device.name} is no GPU" if device.is_simulated else None


def _automatic(processor: Processor, work: float, has_threads: bool) -> tuple[Engine, str]:
    reason = "threads were given" if has_threads else why_not_cuda(work)
    if reason is not None:
        return processor, f"cpu: {reason}"
    engine = _cuda()
    return engine, f"cuda: {engine.device.name}"


def _cuda() -> Any:
    from fastnn.cuda import Cuda

    return Cuda()


def _threads(given: Any) -> int:
    count = checks.whole("threads", given)
    if count > MOST_THREADS:
        raise InputError(f"threads must be at most {MOST_THREADS}, got {count}")
    return count
