"""Where compiled code is kept between processes.

One folder holds the code of one state of the sources, by their hash: a compiled function holds code from many files,
and Numba alone would only notice an edit of its own. Code for a matrix unit has one of its own: a system may refuse the
unit to one process and not to the next. A folder that cannot be written, and files that cannot be read, cost a
compilation, never an error.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

from numba.core import caching
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.misc.appdirs import AppDirs

from fastnn_kernels.machine import HAS_MATRIX


@cache
def source_hash() -> str:
    """A hash of every source file of the package: a compiled function holds code from several of them."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def cache_folder() -> Path:
    """Where compiled code is kept: FASTNN_CACHE_DIR, else NUMBA_CACHE_DIR, else the user's cache folder.

    Falls back to a temporary folder, with one warning, where that cannot be written.
    """
    chosen = os.environ.get("FASTNN_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    base = Path(chosen) if chosen else Path(AppDirs(appname="fastnn", appauthor=False).user_cache_dir)
    folder = base / f"kernels-{source_hash()}{'-matrix' if HAS_MATRIX else ''}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return folder
    except OSError as error:
        fallback = Path(tempfile.mkdtemp(prefix="fastnn-"))
        atexit.register(shutil.rmtree, fallback, ignore_errors=True)
        warnings.warn(
            f"the compile cache {folder} cannot be written ({error.strerror}); compiling into {fallback} for this "
            "process only. Set FASTNN_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=2,
        )
        return fallback


class _PackageLocator(caching._CacheLocator):
    """Tells Numba to keep all functions of the package in one folder, named by the hash of its sources."""

    def __init__(self, line: int) -> None:
        self._line = line

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return source_hash()

    def get_disambiguator(self):
        return str(self._line)

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func.__code__.co_firstlineno)


class _PackageCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = (_PackageLocator,)


class PackageCache(caching.FunctionCache):
    """Numba's function cache in the package's folder; what cannot be read is compiled again."""

    _impl_class = _PackageCacheImpl

    def load_overload(self, sig, target_context):
        """As Numba does it, without reading all that it could compile first: loaded code needs its runtime only."""
        rtsys.initialize(target_context)
        try:
            with self._guard_against_spurious_io_errors():
                return self._load_overload(sig, target_context)
        except Exception:  # a truncated or foreign file: whatever unpickling it raises, it is of no use
            self.flush()
            return None

    def holds(self, sig):
        """Whether there is compiled code for this signature."""
        try:
            return self._index_key(sig, cpu_target.target_context.codegen()) in self._cache_file._load_index()
        except Exception:  # as in load_overload
            return False

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as error:
            warnings.warn(f"compiled code could not be kept in {self.cache_path}: {error}", RuntimeWarning, 2)
