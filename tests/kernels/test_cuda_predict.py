"""The model of a step on GPUs that are not there: against arithmetic by hand, and the launches of the step itself."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn_kernels import layout
from fastnn_kernels.activation import RELU
from fastnn_kernels.cuda import budget, dense, output, predict, step, tile, update
from fastnn_kernels.cuda.predict import GPUS, Gpu
from fastnn_kernels.cuda.work import DEVICE, workspace
from fastnn_kernels.layout import NOISE, NORM
from fastnn_kernels.optimizer import ADAM, AMSGRAD, MOMENTUM, SGD
from fastnn_kernels.work import LAYERS, NUMBERS

FREE = 1e30  # bytes/s: memory costs nothing
TOY = Gpu("toy", 1, 1e9, 128, 64, FREE, 1 << 20, 8 << 30)
MNIST = (784, 512, 512, 10)


def by_name(prediction):
    return {kernel.name: kernel for kernel in prediction.kernels}


@pytest.fixture
def tiled(monkeypatch):
    """Gives all products the tiles of a number of the shapes for float32."""

    def choose(number):
        monkeypatch.setattr(tile, "choose", lambda *sizes: tile.shapes(np.dtype(np.float32))[number])

    return choose


def test_cycles_of_one_layer_by_hand(tiled):
    """128 -> 16, 16 rows, one processor, a tile of 128 x 128 x 8 a product: 16 steps of the feed and 2 of the gradient.

    In a step each of 8 warps issues 8 times 64 multiply-adds and 4 reads, and the other instructions.
    """
    tiled(0)
    predicted = predict.step((128, 16), 16, ADAM, np.float32, TOY, launch=0.0)
    cycles = {name: kernel.seconds * 1e9 for name, kernel in by_name(predicted).items()}
    product, step = tile.START + 8 * tile.SLICE, 8 * (8 * (64 + 4) + tile.OTHERS) / tile.ISSUED
    assert cycles == pytest.approx(
        {
            "begin": tile.START,
            "gather": tile.START,
            "feed 1": product + 16 * step,
            "losses": tile.START + 5 * 16 * 16 / 256,
            "gradient 1": product + 2 * step,
            "update": tile.START + (2 + 2 * 5) * (128 * 16 + 16) / 256,
            "finish": tile.START + 16 / 256,
        }
    )
    assert predicted.seconds * 1e9 == pytest.approx(sum(cycles.values()))
    assert predicted.samples_per_second == pytest.approx(16e9 / sum(cycles.values()))


def test_flops_and_bytes_of_one_layer_by_hand():
    """30 -> 10, padded to 32 -> 12, 20 rows; a byte takes a second, and nothing else counts."""
    gpu = replace(TOY, bandwidth=1.0)
    kernels = by_name(predict.step((30, 10), 20, ADAM, np.float32, gpu))
    moved = {name: kernel.bytes for name, kernel in kernels.items()}
    assert moved == {
        "begin": 0,
        "gather": 4 * (20 * 30 + 20 * 32 + 20),
        "feed 1": 4 * (20 * 30 + 30 * 10 + 10 + 20 * 10),
        "losses": 4 * (3 * 20 * 10 + 20) + 8 * 20,
        "gradient 1": 4 * (20 * 32 + 20 * 12 + 32 * 12),
        "update": 28 * (32 * 12 + 12),
        "finish": 4 * 20,
    }
    assert kernels["feed 1"].flops == 2 * 20 * 30 * 10
    assert kernels["gradient 1"].flops == 2 * 20 * 32 * 12
    for kernel in kernels.values():
        assert kernel.seconds == pytest.approx(kernel.bytes, abs=1e-4)


def test_bytes_of_a_delta_by_hand():
    """D above (20, 10) and the weights (50, 10) are read, A of the layer too, and D (20, 50) is written."""
    kernel = by_name(predict.step((30, 50, 10), 20, ADAM, np.float32, TOY))["delta 1"]
    assert kernel.bytes == 4 * (20 * 10 + 50 * 10 + 2 * 20 * 50)
    assert kernel.flops == 2 * 20 * 50 * 10


@pytest.mark.parametrize(("optimizer", "moved"), [(SGD, 12), (MOMENTUM, 20), (ADAM, 28), (AMSGRAD, 36)])
def test_bytes_that_an_optimizer_moves_for_a_parameter(optimizer, moved):
    kernels = by_name(predict.step((256, 128), 16, optimizer, np.float32, TOY))
    assert kernels["update"].bytes == moved * (256 * 128 + 128)


def test_operands_that_exceed_the_cache_are_brought_for_every_wave(tiled):
    """4096 cubed, 1024 tiles of 128 x 128, two waves of a processor's two blocks: 512 waves, each with two tiles' rows
    of one operand and one tile's columns of the other."""
    tiled(0)
    kernel = by_name(predict.step((4096, 4096), 4096, SGD, np.float32, TOY))["feed 1"]
    assert (kernel.tile, kernel.blocks) == ("128x128x8x1", 1024)
    assert kernel.bytes == 4 * (512 * 3 * 128 * 4096 + 4096 * 4096 + 4096)
    large = by_name(predict.step((4096, 4096), 4096, SGD, np.float32, replace(TOY, cache=1 << 40)))["feed 1"]
    assert large.bytes == 4 * (3 * 4096 * 4096 + 4096)


def test_blocks_fill_whole_waves(tiled):
    """1024 tiles on 132 processors: 8 waves, the last of them of 100."""
    tiled(0)
    kernel = by_name(predict.step((4096, 4096), 4096, SGD, np.float32, GPUS["h100"]))["feed 1"]
    assert (kernel.tile, kernel.blocks) == ("128x128x8x1", 1024)
    assert kernel.filled == pytest.approx(1024 / (8 * 132))


def test_small_tiles_are_bound_by_the_second_cache(tiled):
    """64 x 64 in tiles of 16 x 16: sixteen blocks of 50 steps, each with 32 lines of 128 numbers."""
    tiled(3)
    kernel = by_name(predict.step((6400, 64), 64, SGD, np.float32, TOY, launch=0.0))["feed 1"]
    assert (kernel.blocks, kernel.bound) == (16, "cache")
    assert kernel.seconds * 1e9 == pytest.approx(16 * 50 * 32 * 128 * 4 / predict.CACHE)


@pytest.mark.parametrize("name", GPUS)
def test_bounds(tiled, name):
    tiled(0)
    gpu = GPUS[name]
    large = predict.step((8192, 8192, 8192), 8192, ADAM, np.float32, gpu)
    kernels = by_name(large)
    assert {kernels[product].bound for product in ("feed 1", "feed 2", "delta 1", "gradient 1")} == {"arithmetic"}
    assert kernels["update"].bound == kernels["gather"].bound == "memory"
    assert large.bound == "arithmetic"
    assert 0.75 < large.share < 1.0
    tiny = predict.step((8, 8, 2), 8, ADAM, np.float32, gpu, launch=predict.LAUNCH)
    assert {kernel.bound for kernel in tiny.kernels} == {"launches"}
    assert tiny.seconds > tiny.launches * predict.LAUNCH


def test_waiting_bounds_a_long_sum_where_it_takes_longer_than_a_step(monkeypatch):
    monkeypatch.setattr(tile, "LATENCY", 7000)
    assert by_name(predict.step((8192, 4), 4, SGD, np.float32, GPUS["h100"]))["feed 1"].bound == "latency"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GPUS)
def test_more_rows_take_longer(name, dtype):
    seconds = [predict.step(MNIST, 4**power, ADAM, dtype, GPUS[name]).seconds for power in range(1, 8)]
    assert seconds == sorted(set(seconds))


@pytest.mark.parametrize("faster", [{"clock": 4e9}, {"bandwidth": 1e13}, {"processors": 264}, {"lanes32": 256}])
def test_a_faster_device_takes_less(tiled, faster):
    tiled(0)
    gpu = GPUS["h100"]
    sizes, batch = (4096, 4096, 4096), 4096
    assert (
        predict.step(sizes, batch, ADAM, np.float32, replace(gpu, **faster)).seconds
        < predict.step(sizes, batch, ADAM, np.float32, gpu).seconds
    )


def test_launches_by_themselves_take_longer_by_their_difference():
    one, other = (predict.step(MNIST, 128, ADAM, np.float32, GPUS["t4"], launch) for launch in (1e-6, 3e-6))
    assert other.seconds - one.seconds == pytest.approx(one.launches * 2e-6)


def test_kernels_are_those_of_the_step(monkeypatch):
    """The launches of step.step, recorded in place of being done."""
    done = []

    def record(module, function, name):
        def recorder(p, *layer):
            done.append(" ".join([name, *(str(number) for number in layer if type(number) is int)]))

        monkeypatch.setattr(module, function, recorder)

    for module, functions in ((step, ("begin", "finish", "gather")), (dense, ("feed", "delta", "gradient"))):
        for function in functions:
            record(module, function, function)
    record(output, "losses", "losses")
    record(update, "update", "update")
    numbers = np.zeros(NUMBERS, np.int64)
    numbers[LAYERS] = len(MNIST) - 1
    p = SimpleNamespace(numbers=numbers, at=lambda layer, column: {NOISE: 0, NORM: 0}[column])
    step.step(p, None, True, True)
    assert done == [kernel.name for kernel in predict.step(MNIST, 128, ADAM, np.float32, GPUS["h100"]).kernels]


class Noted:
    """In place of the kernels of dense.py: kernels[itemsize, shape][grid, threads, stream](work, layer, ...)
    notes name, tile and blocks."""

    def __init__(self, name, launches, tile_name=None):
        self.name, self.launches, self.tile_name = name, launches, tile_name

    def __getitem__(self, key):
        if self.tile_name is None:
            return Noted(self.name, self.launches, key[1].name)
        blocks = int(np.prod(key[0]))
        return lambda work, layer, *others: self.launches.append((f"{self.name} {layer}", self.tile_name, blocks))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("rows", [1, 100, 5000])
def test_products_are_launched_as_predicted(monkeypatch, name, dtype, rows):
    """Tiles, blocks and parts of the gradient, against what dense.py launches on a device with so many processors."""
    gpu, launches, real, layers = GPUS[name], [], np.dtype(dtype), len(MNIST) - 1
    monkeypatch.setattr(dense, "processors", lambda: gpu.processors)
    for kernels, product in (("_FEED", "feed"), ("_DELTA", "delta"), ("_GRADIENT", "gradient")):
        monkeypatch.setattr(dense, kernels, Noted(product, launches))
    parameters = layout.parameters(MNIST, [RELU] * layers, real, None, DEVICE)
    splits = [dense.splits(rows, *pair, real) for pair in pairwise(MNIST)]
    space = workspace(parameters, max(rows, 2), splits)
    p = SimpleNamespace(
        work=SimpleNamespace(params=np.zeros(1, real), space=np.zeros(1, real)),
        dtype=real,
        library=None,
        rows=rows,
        stream=None,
        at=lambda layer, column: int(space.table[layer, column]),
    )
    for layer in range(1, layers + 1):
        dense.feed(p, layer)
    for layer in range(layers - 1, 0, -1):
        dense.delta(p, layer)
    for layer in range(1, layers + 1):
        dense.gradient(p, layer)
    predicted = predict.step(MNIST, rows, ADAM, real, gpu)
    assert launches == [(kernel.name, kernel.tile, kernel.blocks) for kernel in predicted.kernels if kernel.tile]
    assert predicted.memory.workspace == real.itemsize * space.count


def test_a_batch_in_passes_adds_up_gradients_and_updates_once():
    predicted = predict.step((64, 8), 3 * budget.MOST_ROWS - 1, SGD, np.float32, GPUS["h100"])
    assert predicted.rows == budget.MOST_ROWS
    assert {kernel.name: kernel.launches for kernel in predicted.kernels} == {
        "begin": 3,
        "gather": 3,
        "feed 1": 3,
        "losses": 3,
        "gradient 1": 3,
        "collect": 3,
        "update": 1,
        "finish": 3,
    }


def test_memory():
    gpu = GPUS["h100"]
    memory = predict.step(MNIST, 128, ADAM, np.float64, gpu).memory
    count = layout.parameters(MNIST, [0] * 3, np.dtype(np.float64), None, DEVICE).count
    assert count >= 784 * 512 + 512 * 512 + 512 * 10 + 512 + 512 + 10
    assert (memory.parameters, memory.state) == (3 * 8 * count, 2 * 8 * count)
    assert memory.workspace >= 8 * (128 * (784 + 2 * (512 + 512 + 10)) + count)
    assert memory.sample == 784 * 8 + 8
    assert memory.fixed + memory.samples * memory.sample <= gpu.memory
    with pytest.raises(budget.TooLargeError):
        predict.step(MNIST, 128, ADAM, np.float64, replace(gpu, memory=1 << 24))


@pytest.mark.parametrize(
    ("name", "float32", "float64"),
    [
        ("t4", 8.1, 0.254),
        ("a100", 19.5, 9.7),
        ("h100", 67.0, 34.0),
        ("b200", 75.0, 37.0),
        ("rtx4090", 82.6, 1.29),
        ("rtx5090", 104.8, 1.64),
    ],
)
def test_peaks_are_the_published_ones(name, float32, float64):
    """TFLOP/s of the vector units."""
    peaks = [GPUS[name].peak(itemsize) / 1e12 for itemsize in (4, 8)]
    assert peaks == pytest.approx([float32, float64], rel=0.02)
