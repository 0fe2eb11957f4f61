"""Where a measurement runs: the processors and threads it may use, and the facts to print beside it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from fastnn_kernels.machine import processors

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
ON_DEVICE = 0
"""In place of a number of threads: the GPU."""

PACKAGES = ("fastnn-numba", "numba", "numba-cuda", "llvmlite", "numpy", "torch", "jax", "jaxlib", "scikit-learn")


@contextlib.contextmanager
def confined(threads: int) -> Iterator[None]:
    """Processes started inside are born on `threads` processors, with every library set to so many threads.

    It must be so from their start: libraries read the environment and count the processors when they are imported.
    Those that use the GPU keep all processors.
    """
    if threads == ON_DEVICE:
        yield
        return
    kept = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    if affinity is not None:
        os.sched_setaffinity(0, sorted(affinity)[:threads])
    try:
        yield
    finally:
        if affinity is not None:
            os.sched_setaffinity(0, affinity)
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def machine() -> dict[str, str | int]:
    """The processor and the system, in words."""
    return {
        "processor": processor_name(),
        "processors": processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
    }


def processor_name() -> str:
    """What the processor calls itself, with LLVM's name for its kind."""
    import llvmlite.binding as llvm

    name = platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    return f"{name} ({llvm.get_host_cpu_name()})"


def versions() -> dict[str, str]:
    """The version of every package that is measured or measures, if it is installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
