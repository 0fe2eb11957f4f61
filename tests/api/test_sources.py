"""Sources: what is read back is what was written, and every broken source says what is wrong with it."""

import gzip
import struct

import numpy as np
import pytest

from fastnn.data import digits, load, read_idx
from fastnn.data.idx import DTYPES
from fastnn.errors import FileError, InputError


def idx_bytes(array, code=0x08):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(DTYPES[code]).tobytes()


@pytest.fixture
def images():
    return np.random.Generator(np.random.Philox(1)).integers(0, 256, (5, 3, 4), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    """Training images gzipped, their labels not; the test part with dots in its names."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([3, 1, 4, 1, 5])))
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(images[:2]))
    (tmp_path / "t10k-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.array([2, 7]))))
    return tmp_path


def test_digits():
    dataset = load("digits")
    np.testing.assert_array_equal(dataset.X, digits()[0])
    assert (dataset.name, dataset.X_test, dataset.image_shape, dataset.columns) == ("digits", None, (8, 8), ())


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path, code, shape, pack):
    array = np.arange(np.prod(shape)).reshape(shape)
    (tmp_path / "a").write_bytes(pack(idx_bytes(array, code)))
    result = read_idx(tmp_path / "a")
    np.testing.assert_array_equal(result, array)
    assert result.dtype == np.dtype(DTYPES[code]).newbyteorder("=")
    assert result.flags.writeable


def test_idx_folder(folder, images):
    dataset = load(folder)
    assert (dataset.X.dtype, dataset.X.flags.c_contiguous, dataset.image_shape) == (np.float32, True, (3, 4))
    np.testing.assert_array_equal(dataset.X, images.reshape(5, 12).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.X_test, dataset.X[:2])
    assert (dataset.y.tolist(), dataset.y_test.tolist(), dataset.y.dtype) == ([3, 1, 4, 1, 5], [2, 7], np.int64)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte", None, "lacks its partner: the folder .* holds no train-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", None, "lacks its partner: .* holds no t10k-images-idx3-ubyte"),
        ("train-labels-idx1-ubyte", b"hello there", "is not an IDX file: .* begins with 68 65 6c 6c"),
        ("train-labels-idx1-ubyte", b"", "is not an IDX file: .* begins with nothing"),
        ("train-labels-idx1-ubyte", b"\0\0\x08\x03\0\0", "is truncated: its header should have 16 bytes"),
        ("train-labels-idx1-ubyte", idx_bytes(np.arange(5))[:-1], "is truncated: 5 numbers make 13 bytes, .* has 12"),
        ("train-labels-idx1-ubyte", idx_bytes(np.arange(5)) + b"x", "has bytes after its end"),
        ("train-labels-idx1-ubyte", idx_bytes(np.arange(4)), "holds 5 images, but .* holds 4 labels"),
        ("train-labels-idx1-ubyte", idx_bytes(np.ones((5, 1))), "should hold one integer per image"),
        ("train-labels-idx1-ubyte", gzip.compress(idx_bytes(np.arange(5)), mtime=0)[:-9], "truncated: its gzip stream"),
        ("train-labels-idx1-ubyte", b"\x1f\x8b" + bytes(30), "is damaged"),
        ("train-images-idx3-ubyte", idx_bytes(np.arange(5)), "should hold images"),
        ("t10k-images.idx3-ubyte", idx_bytes(np.ones((2, 4, 4))), "differ in size: 3 x 4 to train, 4 x 4 to test"),
    ],
)
def test_broken_idx_folders(folder, name, content, message):
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(FileError, match=message):
        load(folder)


def test_mnist(mnist):
    dataset = load(mnist)
    assert (dataset.X.shape, dataset.X_test.shape, dataset.image_shape) == ((60000, 784), (10000, 784), (28, 28))
    assert dataset.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert 255 * dataset.X.mean(dtype=np.float64) == pytest.approx(33.318, abs=1e-3)  # MNIST's well-known mean, 0.1307


@pytest.mark.parametrize("names", [("x_train", "y_train", "x_test", "y_test"), ("X", "y", "X_test", "y_test")])
def test_npz_images(tmp_path, images, names):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (images, np.arange(5), images[:1], np.array([4])), strict=True)))
    dataset = load(tmp_path / "a.npz")
    assert (dataset.X.dtype, dataset.X.max(), dataset.image_shape) == (
        np.float32,
        np.float32(images.max() / 255),
        (3, 4),
    )
    assert (dataset.X_test.shape, dataset.y_test.tolist()) == ((1, 12), [4])


@pytest.mark.parametrize(("given", "kept"), [("u1", "f4"), ("f4", "f4"), ("i4", "f8"), ("i8", "f8"), (">f8", "f8")])
def test_npz_tables_are_not_scaled(tmp_path, given, kept):
    X = np.asfortranarray(np.arange(6).reshape(3, 2).astype(given))
    np.savez(tmp_path / "a.npz", X=X, y=np.array([[0.5], [1.5], [2.5]]))
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.X, X)
    assert (dataset.X.dtype, dataset.X.flags.c_contiguous, dataset.y.shape) == (np.dtype(kept), True, (3,))
    assert dataset.image_shape is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones(3)}, "should hold arrays X and y, .* it holds a"),
        ({"X": np.ones((3, 2))}, "should hold arrays X and y"),
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "3 samples, but 4 targets"),
        ({"X": np.ones(3), "y": np.ones(3)}, r"X must be numbers, .* it is float64 \(3,\)"),
        ({"X": np.ones((3, 2)), "y": np.array([None] * 3)}, "not an .npz file of plain arrays"),
        ({"X": np.ones((3, 2)), "y": np.ones((3, 2, 2))}, "y must be numbers or strings"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, r"X holds no numbers; its shape is \(0, 2\)"),
        ({"X": np.ones((3, 0)), "y": np.ones(3)}, r"X holds no numbers; its shape is \(3, 0\)"),
    ],
)
def test_broken_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileError, match=message):
        load(tmp_path / "a.npz")


def test_npz_that_is_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(FileError, match=r"cannot read .*a.npz as an .npz file"):
        load(tmp_path / "a.npz")


def test_damaged_compression(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", X=np.eye(50), y=np.ones(50))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"1,2\n3,4\n"))
    for name, start in (("a.npz", 60), ("a.csv.gz", 10)):  # behind the headers: no deflate block begins with ones
        content = bytearray((tmp_path / name).read_bytes())
        content[start : start + 4] = b"\xff" * 4
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=f"cannot read .*{name}.*decompressing"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "target", "X", "y", "columns"),
    [
        ("a,b,c\n1,2,0\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1], ("a", "b")),
        ("1,2,0\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1], ()),
        ("a,b,c\n1,2,0\n3,4,1\n", "a", [[2, 0], [4, 1]], [1, 3], ("b", "c")),
        ("a,b,c\n1,2,0\n3,4,1\n", -2, [[1, 0], [3, 1]], [2, 4], ("a", "c")),
        ("1,2,0\n3,4,1\n", "0", [[2, 0], [4, 1]], [1, 3], ()),
        ("1,2,cat\n3,4,dog\n", None, [[1, 2], [3, 4]], ["cat", "dog"], ()),
        ("x;y\n1e-3;0.5\n\n -2 ;1\n", None, [[1e-3], [-2]], [0.5, 1.0], ("x",)),
        ("0,1,kind\n5,6,cat\n", "kind", [[5, 6]], ["cat"], ("0", "1")),
        ('\ufeff"a ""b""",c\r\n1,2\r\n', None, [[1]], [2], ('a "b"',)),
        ("a,9\n1,2\n", None, [[1]], [2], ("a",)),
    ],
)
def test_csv(tmp_path, text, target, X, y, columns):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    dataset = load(tmp_path / "a.csv", target)
    np.testing.assert_array_equal(dataset.X, X)
    np.testing.assert_array_equal(dataset.y, y)
    assert (dataset.X.dtype, dataset.y.dtype.kind, dataset.columns) == (np.float64, np.array(y).dtype.kind, columns)


def test_a_class_may_be_called_none(tmp_path):
    (tmp_path / "a.csv").write_text("1,none\n2,mild\n3,na\n")
    assert load(tmp_path / "a.csv").y.tolist() == ["none", "mild", "na"]


def test_csv_of_features_alone(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    features_alone, with_target = load(path, features=2), load(path, features=1)
    assert (features_alone.X.tolist(), features_alone.y, features_alone.columns) == ([[1, 2]], None, ("a", "b"))
    assert (with_target.X.tolist(), with_target.y.tolist()) == ([[1]], [2])


@pytest.mark.parametrize(
    ("text", "target", "error", "message"),
    [
        ("", None, FileError, "is empty"),
        ("a,b\n", None, FileError, "a header and no rows"),
        ("1\n2\n", None, FileError, "has one column"),
        ("1,2,0\n3,4\n", None, FileError, "line 2: 2 columns, where the first line has 3"),
        ("id,color,c\n1,red,0\n", None, FileError, "line 2: column 'color' holds 'red', which is not a number"),
        ("1,2,0\n3,red,1\n", 0, FileError, r"line 2: column 1 \(counted from 0\) holds 'red'"),
        ("1,2,0\n3,,1\n", None, FileError, r"line 2: column 1 \(counted from 0\) is empty"),
        ("NA,2,0\n3,4,1\n", None, FileError, r"line 1: column 0 \(counted from 0\) holds 'NA'"),
        ("a,b,c\n1,2,0\n3,nan,1\n", 0, FileError, "column 'b' holds nan in row 2 of the data; features must be finite"),
        ("1,2,0\n3,1e999,1\n", None, FileError, r"column 1 \(counted from 0\) holds inf in row 2 of the data"),
        ("1,2,0\n3,4,\n", None, FileError, "the column to predict is empty in row 2"),
        (
            "1,2,0\n3,4,NA\n5,6,1\n",
            None,
            FileError,
            "the column to predict holds 'NA' in row 2 of the data, where others",
        ),
        ("1,2\n3,4\n", 1.5, InputError, "target must be the name of a column, or its place, got 1.5"),
        ("price,area\n1,2\n", "prize", InputError, "unknown target column 'prize'; did you mean 'price'"),
        ("1,2\n3,4\n", "price", InputError, "the table has no header.* a place from 0 to 1"),
        ("1,2\n3,4\n", 2, InputError, "the table has 2 columns"),
        ("1,2\n3,4\xff\n", None, FileError, "is not a CSV file in UTF-8"),
    ],
)
def test_broken_csv(tmp_path, text, target, error, message):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(error, match=message):
        load(tmp_path / "a.csv", target)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.csv", r"there is no '.*nowhere.csv'; a source is 'digits', a folder"),
        ("a.txt", "is not a source that can be read"),
        (".", "holds no train-images-idx3-ubyte"),
    ],
)
def test_what_is_no_source(tmp_path, name, message):
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileError, match=message):
        load(tmp_path / name)


def test_target_is_for_tables():
    with pytest.raises(InputError, match="for CSV tables only, got target 'a' for 'digits'"):
        load("digits", "a")
