"""IDX files, the format of MNIST: a big-endian header of dtype and dimensions, then the numbers in C order.

Format: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from fastnn.errors import FileError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, plain or gzipped (told by its first bytes), in the native byte order.

    Raises FileError for a file that cannot be read, is not an IDX file, or has too few or too many bytes.
    """
    content = _read_bytes(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise FileError(f"{path} is not an IDX file: it must begin with two zero bytes and a type code, "
                        f"it begins with {content[:4].hex(' ') or 'nothing'}")  # fmt: skip
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise FileError(f"{path} is truncated: its header should have {header} bytes, the file has {len(content)}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    dtype = np.dtype(DTYPES[content[2]])
    size = header + math.prod(shape) * dtype.itemsize
    if len(content) != size:
        what = "is truncated" if len(content) < size else "has bytes after its end"
        shown = " x ".join(map(str, shape))
        raise FileError(f"{path} {what}: {shown} numbers make {size} bytes, the file has {len(content)}")
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Images, labels, test images and test labels of a folder of IDX files named as MNIST's are.

    The names are train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k for train, which may both be
    absent; gzipped ones end in .gz, and "images.idx3" is as good as "images-idx3".
    Raises FileError where a part or its partner is missing, or counts or dimensions are wrong.
    """
    train = _read_part(folder, "train")
    if train is None:
        raise FileError(
            f"the folder {folder} holds no train-images-idx3-ubyte[.gz] and no train-labels-idx1-ubyte[.gz]"
        )
    test = _read_part(folder, "t10k")
    if test is not None and test[0].shape[1:] != train[0].shape[1:]:
        sizes = [" x ".join(map(str, images.shape[1:])) for images, _ in (train, test)]
        raise FileError(f"the images in {folder} differ in size: {sizes[0]} to train, {sizes[1]} to test")
    return (*train, *(test or (None, None)))


def _read_part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    images_path, labels_path = _find(folder, part, "images", 3), _find(folder, part, "labels", 1)
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        there = images_path or labels_path
        missing = f"{part}-images-idx3-ubyte" if images_path is None else f"{part}-labels-idx1-ubyte"
        raise FileError(f"{there} lacks its partner: the folder {folder} holds no {missing}[.gz]")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim < 2:
        raise FileError(f"{images_path} should hold images, (samples, height, width); it holds shape {images.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise FileError(f"{labels_path} should hold one integer per image; it holds {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise FileError(f"{images_path} holds {len(images)} images, but {labels_path} holds {len(labels)} labels")
    return images, labels


def _find(folder: Path, part: str, content: str, dimensions: int) -> Path | None:
    names = (f"{part}-{content}{mark}idx{dimensions}-ubyte{ending}" for mark in "-." for ending in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except EOFError as error:
        raise FileError(f"{path} is truncated: its gzip stream has no end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
