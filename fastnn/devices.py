"""Which device does the work."""

from __future__ import annotations

from typing import Any

from fastnn import checks
from fastnn.engine import Engine
from fastnn.errors import InputError
from fastnn.processor import Processor

MOST_THREADS = 1024


def choose(device: Any, threads: Any = None) -> Engine:
    """The engine that was asked for. threads: of the processor, None for as many as the work is worth."""
    if device != "cpu":
        raise InputError(f'device must be "cpu", got {device!r}; other devices are not supported yet')
    return Processor(None if threads is None else _threads(threads))


def _threads(given: Any) -> int:
    count = checks.whole("threads", given)
    if count > MOST_THREADS:
        raise InputError(f"threads must be at most {MOST_THREADS}, got {count}")
    return count
