"""How gradients are divided among the workers of a team: which units of work are whose.

A unit is a group of up to PIECE rows of one panel of a layer's weights. The units of all layers form one line, panel by
panel, and every worker owns a stretch of it; layers whose panels are divided in the feed, too, have a line each, so
that a worker updates about those weights which it reads.
"""

from fastnn_kernels import piece as pieces
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import BY_PANELS
from fastnn_kernels.work import LAYERS, at, share


@kernel
def units_of(work, layer):
    """How many units a layer has."""
    panels, groups = pieces.groups(work, layer)
    return panels * groups


@kernel
def line_of(work):
    """How many units the line has that layers share."""
    line = 0
    for layer in range(1, work.numbers[LAYERS] + 1):
        line += 0 if at(work, layer, BY_PANELS) else units_of(work, layer)
    return line


@kernel
def own_of(work, layer, line, before, owner, size):
    """Those units of a layer, first to last, that are a worker's own; before: units of the line that other layers have
    before this one."""
    units = units_of(work, layer)
    if at(work, layer, BY_PANELS):
        return share(units, owner, size)
    first, last = share(line, owner, size)
    return max(first - before, 0), min(last - before, units)


@kernel
def count_own(work, rank, size):
    """How many units are a worker's own."""
    first, last = share(line_of(work), rank, size)
    own = last - first
    for layer in range(1, work.numbers[LAYERS] + 1):
        if at(work, layer, BY_PANELS):
            first, last = share(units_of(work, layer), rank, size)
            own += last - first
    return own
