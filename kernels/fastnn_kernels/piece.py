"""The pieces of the parameters: what one worker computes the gradient of, and updates, at a time."""

from typing import NamedTuple

from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import BETA, DEPTH, GAMMA, N_IN, NO_NORM, NORM, WIDTH, B, W
from fastnn_kernels.machine import PIECE
from fastnn_kernels.native import lanes
from fastnn_kernels.work import at


class Piece(NamedTuple):
    """Up to PIECE rows of one panel of a layer's weights, or the panel's part of the bias, gain or shift: one row.

    column: the panel's first; columns: of the panel; row: the first; offset: in the flat parameters.
    """

    layer: int
    column: int
    columns: int
    row: int
    rows: int
    offset: int
    is_weight: bool


@kernel
def groups(work, layer):
    """How the weights of a layer are divided: panels of columns, and pieces in each."""
    panel = 2 * lanes(work.params)
    return (at(work, layer, WIDTH) + panel - 1) // panel, (at(work, layer, N_IN) + PIECE - 1) // PIECE


@kernel
def weights(work, layer, column, group):
    """A group of rows of the panel that begins at a column."""
    panel = 2 * lanes(work.params)
    columns, row = min(panel, at(work, layer, WIDTH) - column), group * PIECE
    offset = at(work, layer, W) + column * at(work, layer, DEPTH) + row * columns
    return Piece(layer, column, columns, row, min(PIECE, at(work, layer, N_IN) - row), offset, True)


@kernel
def vector(work, layer, column, which):
    """The part of a vector of parameters that goes with a panel; which: B, GAMMA or BETA."""
    columns = min(2 * lanes(work.params), at(work, layer, WIDTH) - column)
    return Piece(layer, column, columns, 0, 1, at(work, layer, which) + column, False)


@kernel
def count(work, layer):
    """How many pieces a layer has."""
    panels, rows = groups(work, layer)
    return panels * (rows + (1 if at(work, layer, NORM) == NO_NORM else 3))


@kernel
def piece(work, layer, number):
    """One of them."""
    panels, rows = groups(work, layer)
    each = count(work, layer) // panels
    column, one = number // each * 2 * lanes(work.params), number % each
    if one < rows:
        return weights(work, layer, column, one)
    which = B if one == rows else GAMMA if one == rows + 1 else BETA
    return vector(work, layer, column, which)
