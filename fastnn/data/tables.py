"""Tables of numbers in CSV files: a header or none, one column to predict, all others features.

A table is read line by line into one flat float64 array; only the column to predict is kept as text until its type is
known: integers where every value is one, else floats, else strings.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastnn.errors import FileError, InputError, unknown_name

Table = tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]
MISSING = {"", "?", "-", "na", "n/a", "nan", "null", "none"}
DELIMITERS = ",;\t"


def read_table(path: Path, target: str | int | None, features: int | None = None) -> Table:
    """X float64 (rows, features), y (rows,) and the names of X's columns, () without a header, of a CSV file.

    target: the column to predict by name or by place (from 0, or from the end: -1); None means the last.
    features: a table of exactly so many columns is all features, unless target says otherwise; its y is None.

    Raises FileError for what is no table, and for a feature that is not a finite number, naming column and line or row;
    InputError for a target that no column is.
    """
    with _open(path) as stream:
        try:
            return _read(path, stream, target, features)
        except UnicodeDecodeError as error:
            raise FileError(f"{path} is not a CSV file in UTF-8: {error}") from error
        except csv.Error as error:
            raise FileError(f"{path} is not a CSV file: {error}") from error
        except (EOFError, OSError, zlib.error) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"cannot read {path}: {error}") from error


def _read(path: Path, stream: io.TextIOBase, target: str | int | None, features: int | None) -> Table:
    rows = _rows(stream)
    first = list(itertools.islice(rows, 2))
    if not first:
        raise FileError(f"{path} is empty")
    names = tuple(cell.strip() for cell in first[0][1]) if _begins_with_header(first, target) else ()
    width = len(first[0][1])
    place = None if target is None and width == features else _target_place(target, names, width)
    if place is not None and width < 2:
        raise FileError(f"{path} has one column; it needs at least one feature and the column to predict")
    numbers, answers = array("d"), []
    for line, cells in itertools.chain(first[1:] if names else first, rows):
        if len(cells) != width:
            raise FileError(f"{path}, line {line}: {len(cells)} columns, where the first line has {width}")
        if place is not None:
            answers.append(cells.pop(place))
        try:
            numbers.extend(map(float, cells))
        except ValueError:
            raise _not_a_number(path, line, cells, names, place) from None
    if not numbers:
        raise FileError(f"{path} holds a header and no rows")
    X = np.frombuffer(numbers, np.float64).reshape(-1, width if place is None else width - 1)
    if not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        name = _column_name(names, _before(column, place))
        raise FileError(
            f"{path}: column {name} holds {X[row, column]} in row {row + 1} of the data; features must be finite"
        )
    y = None if place is None else _typed(path, answers)
    return X, y, names if place is None else names[:place] + names[place + 1 :]


def _open(path: Path) -> io.TextIOBase:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error


def _rows(stream: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, cells) of each line that is not blank."""
    first_line = next((line for line in stream if line.strip()), "")
    delimiter = next((mark for mark in DELIMITERS if mark in first_line), ",")
    reader = csv.reader(itertools.chain([first_line], stream), delimiter=delimiter)
    return ((reader.line_num, cells) for cells in reader if cells)


def _begins_with_header(first: list[tuple[int, list[str]]], target: str | int | None) -> bool:
    """A header holds the target's name, or a word where the next line holds a number."""
    cells = [cell.strip() for cell in first[0][1]]
    if isinstance(target, str) and target in cells and not _is_place(target):
        return True
    is_name = [not _is_number(cell) and cell.lower() not in MISSING for cell in cells]
    if len(first) < 2:
        return all(is_name)
    return any(name and _is_number(below) for name, below in zip(is_name, first[1][1], strict=False))


def _target_place(target: str | int | None, names: tuple[str, ...], width: int) -> int:
    if target is None:
        return width - 1
    if isinstance(target, bool) or not isinstance(target, int | str):
        raise InputError(f"target must be the name of a column, or its place, got {target!r}")
    if target in names:
        return names.index(str(target))
    if not _is_place(target):
        if names:
            raise unknown_name("target column", target, names)
        raise InputError(f"the table has no header, so its columns have no names: got target {target!r}, "
                         f"give a place from 0 to {width - 1}")  # fmt: skip
    place = int(target)
    if not -width <= place < width:
        raise InputError(
            f"target {place}: the table has {width} columns, places go from 0 to {width - 1} (or -1: the last)"
        )
    return place % width


def _typed(path: Path, answers: list[str]) -> np.ndarray:
    texts = [answer.strip() for answer in answers]
    if "" in texts:
        raise FileError(f"{path}: the column to predict is empty in row {texts.index('') + 1} of the data")
    for kind in (np.int64, np.float64):
        try:
            return np.array(texts, dtype=str).astype(kind)
        except (ValueError, OverflowError):
            continue
    known = [text for text in texts if text.lower() not in MISSING]
    if known and all(map(_is_number, known)):
        row = next(i for i, text in enumerate(texts) if text.lower() in MISSING)
        raise FileError(
            f"{path}: the column to predict holds {texts[row]!r} in row {row + 1} of the data, where others are numbers"
        )
    return np.array(texts, dtype=str)


def _not_a_number(path: Path, line: int, cells: list[str], names: tuple[str, ...], place: int | None) -> FileError:
    at = next(i for i, cell in enumerate(cells) if not _is_number(cell))
    name = _column_name(names, _before(at, place))
    value = f"holds {cells[at].strip()!r}, which is not a number" if cells[at].strip() else "is empty"
    return FileError(f"{path}, line {line}: column {name} {value}; features must be numbers")


def _before(feature: int, place: int | None) -> int:
    """The column of a feature, before the one to predict was taken out."""
    return feature if place is None or feature < place else feature + 1


def _column_name(names: tuple[str, ...], column: int) -> str:
    return f"{names[column]!r}" if names else f"{column} (counted from 0)"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_place(target: str | int) -> bool:
    return isinstance(target, int) or target.lstrip("-").isdecimal()
