"""Augmentation of one sample on its way into the network: noise; images warped, with pixels dropped.

A warp takes the value of an output pixel from a point of the source, between four pixels of it:

    source = c + A^-1 (p - c - shift) + displacement(p),    A = rotation * shear * scale,    c: the image's middle

displacement is smooth: elastic * sum over the nodes of a coarse grid of by(y) bx(x) normal number. Outside of the image
lies `fill`: a border around a copy of the source, so that no pixel is tested. Random numbers follow from the sample's
index, the step and the seed.
"""

import numpy as np

from fastnn_kernels import rng
from fastnn_kernels.elementary import cos_sin_turns
from fastnn_kernels.jit import entry, kernel
from fastnn_kernels.native import address, fill, fma, lanes, load, maximum, minimum, pick, select, store

# Indices of the constants, float64.
ON = 0  # whether there is any augmentation
HEIGHT = 1
WIDTH = 2
WARPED = 3  # whether pixels move
ROTATE = 4  # turns, to both sides
SCALE_FROM = 5
SCALE_TO = 6
SHEAR = 7  # pixels to the side a pixel down, to both sides
SHIFT = 8  # pixels, to all sides
ELASTIC = 9  # deviation of the displacement, pixels
NODES_Y = 10
NODES_X = 11
DROP = 12  # probability that a pixel becomes FILL
FILL = 13
DEVIATION = 14  # of the noise
ROOM_SIZE = 15  # elements
SPACING = 16  # pixels between nodes: the four that bend pixel x are those from x / SPACING, rounded down, on
CONSTANTS = 17

MAP, NODES, DROPS, NOISE = (rng.AUGMENTATION + part for part in range(4))  # streams of random numbers
MAP_DRAWS = 5  # rotation, scale, shear, shift down, shift to the right
BORDER = 3  # one row or column before the image, two behind it: a point on its edge has a neighbour


def room_size(columns, height, width, nodes_y, nodes_x):
    """Elements that a thread needs: random numbers, the result, a bordered copy, lines of the warp."""
    return _places(columns, height, width, nodes_y, nodes_x)[-1]


@kernel
def whole_groups(count):
    """The count rounded up to whole GROUPs: room for random numbers, and for whole vectors."""
    return (count + rng.GROUP - 1) // rng.GROUP * rng.GROUP


@kernel
def _places(columns, height, width, nodes_y, nodes_x):
    """Where in the room the result, the bordered copy and the lines begin, and where it ends; draws come first."""
    result = whole_groups(max(columns, 2 * nodes_y * nodes_x))
    bordered = result + whole_groups(columns)
    lines = bordered + whole_groups((height + BORDER) * (width + BORDER))
    return result, bordered, lines, lines + 4 * whole_groups(width) + whole_groups(2 * nodes_x)


@kernel
def _draw_map(constants, draws, sample, t, seed):
    """A^-1 and the shift: (xx, xy, yx, yy, down, right), x_source = xx x + xy y, y_source = yx x + yy y."""
    rng.uniforms(draws, MAP_DRAWS, MAP, sample, t, seed)
    u = np.float64(draws[1])
    scale = constants[SCALE_FROM] + (constants[SCALE_TO] - constants[SCALE_FROM]) * u
    turns = constants[ROTATE] * (2.0 * np.float64(draws[0]) - 1.0)
    shear = constants[SHEAR] * (2.0 * np.float64(draws[2]) - 1.0)
    down = constants[SHIFT] * (2.0 * np.float64(draws[3]) - 1.0)
    right = constants[SHIFT] * (2.0 * np.float64(draws[4]) - 1.0)
    cosines, sines = cos_sin_turns(fill(draws, turns if turns >= 0.0 else turns + 1.0))
    store(draws, cosines)
    cosine = np.float64(draws[0]) / scale
    store(draws, sines)
    sine = np.float64(draws[0]) / scale
    return cosine - shear * sine, -sine - shear * cosine, sine, cosine, down, right


@kernel
def _add_border(x, out, height, width, value):
    """A copy of the image with a border of the value."""
    stride = width + BORDER
    for i in range(0, (height + BORDER) * stride, lanes(out)):
        store(out + i, fill(out, value))
    for y in range(height):
        line = out + ((y + 1) * stride + 1)
        for i in range(width):
            line[i] = x[y * width + i]


@kernel
def _displace(constants, basis, nodes, y, height, width, sums, right, down):
    """The lines right and down: the displacements of row y. sums: room for two numbers a column of nodes.

    basis: by (height, NODES_Y), then bx (NODES_X, width), with height * NODES_Y and width in whole GROUPs.
    nodes: normal numbers (NODES_Y, 2, NODES_X).
    """
    rows, columns = np.int64(constants[NODES_Y]), np.int64(constants[NODES_X])
    padded = whole_groups(width)
    by, bx = basis + y * rows, basis + whole_groups(height * rows)
    for j in range(0, 2 * columns, lanes(sums)):
        total = fill(sums, 0.0)
        for i in range(rows):
            total = fma(load(nodes + (i * 2 * columns + j)), by[i], total)
        store(sums + j, total)
    for x in range(0, width, lanes(right)):
        to_right, to_down = fill(right, 0.0), fill(right, 0.0)
        for j in range(columns):
            b = load(bx + (j * padded + x))
            to_right = fma(b, sums[j], to_right)
            to_down = fma(b, sums[columns + j], to_down)
        store(right + x, to_right * constants[ELASTIC])
        store(down + x, to_down * constants[ELASTIC])


@kernel
def _floor(x):
    """The largest whole number up to x, for x from 0 to 2^22"""
    shift = pick(x, 12582912.0, 6755399441055744.0)
    nearest = (x + shift) - shift
    return select(nearest > x, nearest - 1.0, nearest)


@kernel
def _interpolate(source, stride, index, right, down, out, width):
    """A line of the result: each pixel between the four at source + index, by the shares right and down."""
    for x in range(width):
        q = source + np.int64(index[x])
        above = q[0] + right[x] * (q[1] - q[0])
        below = q[stride] + right[x] * (q[stride + 1] - q[stride])
        out[x] = above + down[x] * (below - above)


@kernel
def _warp(constants, basis, source, draws, lines, out, sample, t, seed):
    height, width = np.int64(constants[HEIGHT]), np.int64(constants[WIDTH])
    middle_y, middle_x = 0.5 * (height - 1), 0.5 * (width - 1)
    stride, padded = width + BORDER, whole_groups(width)
    xx, xy, yx, yy, down, right = _draw_map(constants, draws, sample, t, seed)
    elastic = constants[ELASTIC] > 0.0
    if elastic:
        rng.normals(draws, 2 * np.int64(constants[NODES_Y] * constants[NODES_X]), NODES, sample, t, seed)
    ramp, index, share_x, share_y, sums = (
        lines,
        lines + padded,
        lines + 2 * padded,
        lines + 3 * padded,
        lines + 4 * padded,
    )
    for x in range(width):
        ramp[x] = x - middle_x - right
    for y in range(height):
        if elastic:
            _displace(constants, basis, draws, y, height, width, sums, share_x, share_y)
        from_middle = y - middle_y - down
        for x in range(0, width, lanes(out)):
            r = load(ramp + x)
            at_x = fma(r, xx, fill(out, middle_x + 1.0 + xy * from_middle))
            at_y = fma(r, yx, fill(out, middle_y + 1.0 + yy * from_middle))
            if elastic:
                at_x, at_y = at_x + load(share_x + x), at_y + load(share_y + x)
            at_x = minimum(fill(out, width + 1.0), maximum(fill(out, 0.0), at_x))
            at_y = minimum(fill(out, height + 1.0), maximum(fill(out, 0.0), at_y))
            whole_x, whole_y = _floor(at_x), _floor(at_y)
            store(share_x + x, at_x - whole_x)
            store(share_y + x, at_y - whole_y)
            store(index + x, whole_y * np.float64(stride) + whole_x)
        _interpolate(source, stride, index, share_x, share_y, out + y * width, width)


@kernel
def augmented(constants, basis, room, x, columns, sample, t, seed):
    """Where the sample x, augmented, lies in the room. sample: its index; t: the step."""
    height, width = np.int64(constants[HEIGHT]), np.int64(constants[WIDTH])
    nodes_y, nodes_x = np.int64(constants[NODES_Y]), np.int64(constants[NODES_X])
    result, bordered, lines, _ = _places(columns, height, width, nodes_y, nodes_x)
    draws, out, n = room, room + result, lanes(room)
    if constants[WARPED] != 0.0:
        _add_border(x, room + bordered, height, width, constants[FILL])
        _warp(constants, basis, room + bordered, draws, room + lines, out, sample, t, seed)
    else:
        for j in range(columns):
            out[j] = x[j]
    if constants[DROP] > 0.0:
        rng.uniforms(draws, columns, DROPS, sample, t, seed)
        for j in range(0, columns, n):
            store(out + j, select(load(draws + j) < constants[DROP], fill(out, constants[FILL]), load(out + j)))
    if constants[DEVIATION] > 0.0:
        rng.normals(draws, columns, NOISE, sample, t, seed)
        for j in range(0, columns, n):
            store(out + j, fma(load(draws + j), constants[DEVIATION], load(out + j)))
    return out


@entry
def apply(constants, basis, room, X, t, seed, out):
    """All samples of X augmented: out, float as X (samples, columns)."""
    columns = X.shape[1]
    for sample in range(X.shape[0]):
        row = augmented(
            address(constants, 0),
            address(basis, 0),
            address(room, 0),
            address(X, sample * columns),
            columns,
            sample,
            t,
            seed,
        )
        for j in range(columns):
            out[sample, j] = row[j]
