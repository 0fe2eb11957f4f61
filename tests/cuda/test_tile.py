"""The choice of tiles, as a device would get them."""

import numpy as np
import pytest

from fastnn_kernels.cuda import tile
from fastnn_kernels.cuda.native import VECTOR
from fastnn_kernels.cuda.tile import Shape


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    monkeypatch.setattr(tile, "IS_SIMULATED", False)
    monkeypatch.setattr(tile, "choose", tile.choose.__wrapped__)
    monkeypatch.setattr(tile, "splits", tile.splits.__wrapped__)


@pytest.mark.parametrize("itemsize", [4, 8])
def test_shapes_are_whole_vectors_of_every_thread(itemsize):
    for shape in tile.shapes(np.dtype(f"f{itemsize}")):
        vectors = shape.depth * shape.rows // VECTOR, shape.depth * shape.columns // VECTOR
        assert all(count % shape.team == 0 for count in vectors)
        assert shape.own_rows % VECTOR == shape.own_columns % VECTOR == 0
        assert shape.threads <= 1024


def test_a_large_product_gets_the_largest_tiles_and_a_small_one_enough_blocks():
    largest = tile.shapes(np.dtype(np.float32))[0]
    assert tile.choose(4096, 4096, 4096, 1, 132, 4) == largest
    down, across = tile.tiles(tile.choose(128, 512, 784, 1, 132, 4), 128, 512)
    assert down * across >= 66


def test_more_processors_never_make_a_product_slower():
    shape = tile.shapes(np.dtype(np.float32))[1]
    times = [tile.cycles(shape, 300, 700, 500, 1, processors, 4, 128) for processors in range(1, 200)]
    assert times == sorted(times, reverse=True)


def test_cycles_by_hand():
    """Two blocks on one processor that holds two: 3 steps of what both need, and what surrounds them."""
    shape = Shape(64, 64, 16, 8, 4, 2, 2)
    each = max(2 * 16 * 64 * 64 / 128, 8 * (16 * (32 + 3) + tile.OTHERS) / tile.ISSUED)
    assert tile.step_cycles(shape, 4, 128) == each
    expected = 3 * 2 * each + tile.START + 8 * tile.SLICE
    assert tile.cycles(shape, 128, 64, 96, 1, 1, 4, 128) == expected


@pytest.mark.parametrize("itemsize", [4, 8])
def test_rows_are_divided_where_blocks_are_few_and_rows_many(itemsize):
    assert tile.splits(100, 4096, 4096, 132, itemsize) == 1
    assert tile.splits(128, 1, 1, 132, itemsize) in tile.SPLITS
    parts = tile.splits(60_000, 64, 10, 132, itemsize)
    assert parts > 8
    assert 60_000 // parts >= tile.SHORTEST
