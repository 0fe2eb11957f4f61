"""Where data comes from: the embedded digits, a folder of IDX files, an .npz archive, a CSV table."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn.data import idx, tables
from fastnn.data.digits import IMAGE_SHAPE, digits
from fastnn.errors import FileError, InputError

KINDS = "'digits', a folder of IDX files, a .npz file or a .csv file"


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a source holds.

    X: float32 or float64 (samples, features). y: (samples,) or (samples, outputs): integers or strings for classes,
    floats for regression; None only where a table of features alone was asked for.
    X_test, y_test: the source's own test part, None where it has none.
    image_shape: (height, width) where the rows of X are images. columns: the names of X's columns, () where unnamed.
    """

    name: str
    X: np.ndarray
    y: np.ndarray | None
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    image_shape: tuple[int, int] | None = None
    columns: tuple[str, ...] = ()


def load(path: str | os.PathLike[str], target: str | int | None = None, features: int | None = None) -> Dataset:
    """Read a source.

    path: "digits"; or a folder of IDX files named as MNIST's are, images of bytes become 0 to 1; or an .npz file with
        arrays X and y, or x_train, y_train, x_test and y_test, images of bytes likewise; or a .csv (or .csv.gz) file.
    target: for CSV, the column to predict: its name or its place; the last one if not given.
    features: for data to predict, how many features the model has: then a CSV table of just so many columns, or an
        .npz file without y, is accepted, and y is None.

    Raises FileError for a source that is missing or not what its name says, InputError for a target that does not fit.
    """
    where = Path(path)
    if str(path) != "digits" and not where.exists():
        raise FileError(f"there is no {str(path)!r}; a source is {KINDS}")
    is_table = where.name.lower().endswith((".csv", ".csv.gz")) and not where.is_dir()
    if target is not None and not is_table:
        raise InputError(f"a target column can be named for CSV tables only, got target {target!r} for {str(path)!r}")
    if is_table:
        X, y, columns = tables.read_table(where, target, features)
        return Dataset(where.name, X, y, columns=columns)
    if where.is_dir():
        return _from_idx(where)
    if str(path) == "digits":
        return Dataset("digits", *digits(), image_shape=IMAGE_SHAPE)
    if where.suffix.lower() == ".npz":
        return _from_npz(where, y_needed=features is None)
    raise FileError(f"{str(path)!r} is not a source that can be read; a source is {KINDS}")


def _from_idx(folder: Path) -> Dataset:
    images, labels, test_images, test_labels = idx.read_folder(folder)
    X, image_shape = _as_rows(folder.name, images)
    X_test = None if test_images is None else _as_rows(folder.name, test_images)[0]
    y_test = None if test_labels is None else test_labels.astype(np.int64)
    return Dataset(folder.resolve().name, X, labels.astype(np.int64), X_test, y_test, image_shape)


def _from_npz(path: Path, y_needed: bool) -> Dataset:
    arrays = _read_npz(path)
    names = ("x_train", "y_train", "x_test", "y_test") if "x_train" in arrays else ("X", "y", "X_test", "y_test")
    found = [arrays.get(name) for name in names]
    if found[0] is None or (found[1] is None and y_needed) or (found[2] is None) != (found[3] is None):
        raise FileError(f"{path} should hold arrays X and y, or x_train, y_train, x_test and y_test; "
                        f"it holds {', '.join(sorted(arrays)) or 'none'}")  # fmt: skip
    X, image_shape = _as_rows(str(path), found[0])
    X_test = None if found[2] is None else _as_rows(str(path), found[2])[0]
    y, y_test = (None if part is None else _as_targets(str(path), part) for part in (found[1], found[3]))
    for data, targets in ((X, y), (X_test, y_test)):
        if data is not None and targets is not None and len(data) != len(targets):
            raise FileError(f"{path}: {len(data)} samples, but {len(targets)} targets")
    return Dataset(path.name, X, y, X_test, y_test, image_shape)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"cannot read {path} as an .npz file: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise FileError(f"{path} is not an .npz file of plain arrays of numbers or strings") from error


def _as_rows(source: str, data: np.ndarray) -> tuple[np.ndarray, tuple[int, int] | None]:
    """X as floats (samples, features), and the shape of the images it held. Images of bytes are scaled to 0..1."""
    if data.ndim not in (2, 3) or data.dtype.kind not in "fiub":
        raise FileError(f"{source}: X must be numbers, (samples, features) or (samples, height, width); "
                        f"it is {data.dtype} {data.shape}")  # fmt: skip
    if data.size == 0:
        raise FileError(f"{source}: X holds no numbers; its shape is {data.shape}")
    image_shape = (data.shape[1], data.shape[2]) if data.ndim == 3 else None
    rows = data.reshape(len(data), -1)
    if image_shape and data.dtype == np.uint8:
        scaled = np.empty(rows.shape, np.float32)
        return np.divide(rows, np.float32(255), out=scaled, dtype=np.float32), image_shape
    return np.ascontiguousarray(rows, np.float32 if np.can_cast(data.dtype, np.float32) else np.float64), image_shape


def _as_targets(source: str, y: np.ndarray) -> np.ndarray:
    """y as int64, floats or strings; a single column becomes 1-D."""
    if y.ndim not in (1, 2) or y.dtype.kind not in "fiubU":
        raise FileError(f"{source}: y must be numbers or strings, (samples,) or (samples, outputs); "
                        f"it is {y.dtype} {y.shape}")  # fmt: skip
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    return y.astype(np.int64) if y.dtype.kind in "iub" else y
