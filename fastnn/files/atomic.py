"""Writing a file so that a killed process leaves the old one or the new one, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.errors import FileError, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def as_path(path: str | os.PathLike[str]) -> Path:
    """Raises InputError for what names no file."""
    try:
        return Path(path)
    except TypeError:
        raise InputError(f"a path must be a string or a path object, got {path!r}") from None


def target_of(path: str | os.PathLike[str]) -> Path:
    """The file that writing to `path` replaces. Raises FileError for a folder, a device or a write-protected file."""
    given = as_path(path)
    try:
        target = Path(os.path.realpath(given))
        if target.is_dir():
            raise FileError(f"cannot write {path}: it is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            raise FileError(f"cannot write {path}: it is no file, but a device, pipe or socket")
        if target.exists() and not os.access(target, os.W_OK):
            raise FileError(f"cannot write {path}: the file is write-protected")
    except ValueError as error:  # a NUL within the name
        raise FileError(f"cannot write {path!r}: {error}") from error
    return target


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path`, flushed to disk and renamed to it when the block ends without an error.

    What a link points to is replaced, not the link. Raises FileError as `target_of` does, or where the folder cannot be
    written.
    """
    target = target_of(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise FileError(f"cannot write {target}: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, _permissions(target))
        os.replace(temporary, target)
    except OSError as error:
        raise FileError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """A whole file of text, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_png(path: str | os.PathLike[str], figure: Figure) -> None:
    """A picture, whatever the name ends in."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _permissions(target: Path) -> int:
    """Those of the file that is replaced, else what a new file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
