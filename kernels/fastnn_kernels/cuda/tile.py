"""The tiles that a product on the device is divided into, and which of them a product gets.

c (m, n) = a (m, depth) @ b (depth, n) is divided into tiles of rows x columns, one a block. A thread has own_rows x
own_columns of them in registers, in strips of 4. The threads of a block are `groups` teams: each adds up another part
of the depth, `depth` elements a step, so that a small product keeps a processor busy too; their sums meet in the end,
in order.

The choice is by a model of the time that a product takes (cycles, below). Its constants are estimates from public
descriptions of the hardware, not measurements.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fastnn_kernels.cuda.driver import IS_SIMULATED
from fastnn_kernels.cuda.native import VECTOR

# Of one multiprocessor, a cycle.
ISSUED = 4  # instructions, each of a warp
TRAFFIC = 32  # bytes from the second cache
PARTIALS = 16  # bytes of partial sums to memory and back

WARP = 32
PASSES = 2  # cycles of shared memory for vectors of 16 bytes that several lanes read together
OTHERS = 70  # instructions of a step that are neither multiplications nor reads of strips

# Cycles.
LATENCY = 700  # from the request of a step's numbers to the end of its barrier: the second cache and what is around it
START = 1500  # of a block: its first numbers, its layer's row of the table
SLICE = 100  # of a row of every thread's tile on its way out

SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SHORTEST = 32  # rows of a part


class Shape(NamedTuple):
    rows: int
    columns: int
    depth: int
    own_rows: int
    own_columns: int
    groups: int
    resident: int  # blocks that a processor holds at once

    @property
    def strips_down(self) -> int:
        """Threads of a group below each other."""
        return self.rows // self.own_rows

    @property
    def strips_across(self) -> int:
        return self.columns // self.own_columns

    @property
    def team(self) -> int:
        """Threads of a group."""
        return self.strips_down * self.strips_across

    @property
    def threads(self) -> int:
        return self.team * self.groups

    @property
    def span(self) -> int:
        """What all groups add up in a step."""
        return self.depth * self.groups

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}x{self.groups}"


_SHAPES = {
    4: (
        Shape(128, 128, 8, 8, 8, 1, 2),
        Shape(64, 64, 16, 8, 4, 2, 2),
        Shape(32, 32, 16, 4, 4, 4, 2),
        Shape(16, 16, 8, 4, 4, 16, 2),
    ),
    8: (
        Shape(64, 64, 8, 8, 4, 1, 3),
        Shape(32, 32, 8, 4, 4, 4, 2),
    ),
}
_SIMULATED = (Shape(8, 8, 4, 4, 4, 2, 1),)


def shapes(dtype: np.dtype) -> tuple[Shape, ...]:
    """All that products of that dtype are compiled for."""
    return _SIMULATED if IS_SIMULATED else _SHAPES[np.dtype(dtype).itemsize]


def tiles(shape: Shape, m: int, n: int) -> tuple[int, int]:
    """How many lie below and beside each other."""
    return max(1, -(-m // shape.rows)), max(1, -(-n // shape.columns))


def step_cycles(shape: Shape, itemsize: int, multiplications: int) -> float:
    """Of a block that has the processor to itself, for one step: what takes longest of arithmetic, issued instructions,
    shared memory and the way from the second cache.

    multiplications: that the processor does a cycle, each with its addition.
    """
    warps = -(-shape.threads // WARP)
    own = shape.own_rows * shape.own_columns
    strips = (shape.own_rows + shape.own_columns) // VECTOR * (VECTOR * itemsize // 16)
    return max(
        shape.span * shape.rows * shape.columns / multiplications,
        warps * (shape.depth * (own + strips) + OTHERS) / ISSUED,
        warps * shape.depth * strips * PASSES,
        (shape.rows + shape.columns) * shape.span * itemsize / TRAFFIC,
    )


def cycles(
    shape: Shape, m: int, n: int, depth: int, parts: int, processors: int, itemsize: int, multiplications: int
) -> float:
    """Estimate of a product whose depth is divided into `parts`, each with blocks of its own."""
    down, across = tiles(shape, m, n)
    steps = -(-max(1, -(-depth // parts)) // shape.span)
    blocks = -(-down * across * parts // processors)  # that the busiest processor gets
    each = step_cycles(shape, itemsize, multiplications)
    outside = START + SLICE * shape.own_rows
    whole, rest = divmod(blocks, shape.resident)
    total = whole * (steps * max(LATENCY, shape.resident * each) + outside)
    return total + (steps * max(LATENCY, rest * each) + outside if rest else 0.0)


@cache
def choose(m: int, n: int, depth: int, parts: int, processors: int, itemsize: int) -> Shape:
    """The tiles for a product on a device with so many processors."""
    lanes = 512 // itemsize

    def cost(shape: Shape) -> float:
        return cycles(shape, m, n, depth, parts, processors, itemsize, lanes)

    return min(shapes(np.dtype(f"f{itemsize}")), key=cost)


@cache
def splits(rows: int, n_in: int, n_out: int, processors: int, itemsize: int = 4) -> int:
    """Into how many parts the gradient of a layer's weights divides the rows of a batch: partial sums cost memory and
    time, idle processors cost time."""
    size = n_in * n_out * itemsize

    def cost(parts: int) -> float:
        shape = choose(n_in, n_out, rows, parts, processors, itemsize)
        product = cycles(shape, n_in, n_out, rows, parts, processors, itemsize, 512 // itemsize)
        return product + 2 * parts * size / (PARTIALS * processors)

    return min((parts for parts in SPLITS if parts == 1 or rows >= parts * SHORTEST), key=cost)
