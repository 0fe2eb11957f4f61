"""Augmentation in plain float64 NumPy, pixel by pixel: the oracle of augment.py."""

import math

import numpy as np

from fastnn_kernels.reference_noise import normals, uniforms

# What random numbers are drawn for, in the place of a layer's number.
MAP, NODES, DROPS, NOISE = range(4)


def spline(x):
    """The cubic B-spline, 4 at 0, zero from 2 on."""
    x = abs(x)
    return 4 - 6 * x**2 + 3 * x**3 if x < 1 else max(2 - x, 0.0) ** 3


def field(a, sample, t, seed):
    """Displacement (height, width, 2) to the right and down, of deviation a.elastic everywhere."""
    spacing = a.smooth * math.sqrt(3)
    rows, columns = (math.floor((n - 1) / spacing) + 4 for n in (a.height, a.width))
    nodes = normals(2 * rows * columns, "augmentation", NODES, sample, t, seed).reshape(rows, 2, columns)
    out = np.zeros((a.height, a.width, 2))
    for y in range(a.height):
        for x in range(a.width):
            b = np.outer(
                [spline(y / spacing - i + 1) for i in range(rows)],
                [spline(x / spacing - j + 1) for j in range(columns)],
            )
            out[y, x] = a.elastic * np.einsum("ij,ikj->k", b, nodes) / np.sqrt((b**2).sum())
    return out


def inverse_map(a, sample, t, seed):
    """A^-1 and the shift (right, down)."""
    u = uniforms(5, "augmentation", MAP, sample, t, seed)
    angle = math.radians(a.rotate) * (2 * u[0] - 1)
    scale = a.scale[0] + (a.scale[1] - a.scale[0]) * u[1]
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shear = np.array([[1, a.shear * (2 * u[2] - 1)], [0, 1]])
    right, down = a.shift * (2 * u[4] - 1), a.shift * (2 * u[3] - 1)
    return np.linalg.inv(rotation @ shear * scale), np.array([right, down])


def pixel(image, x, y, value):
    """The value at a point between pixels: bilinear, `value` outside."""
    x0, y0 = math.floor(x), math.floor(y)
    total = 0.0
    for i in (0, 1):
        for j in (0, 1):
            inside = 0 <= y0 + i < image.shape[0] and 0 <= x0 + j < image.shape[1]
            share = (y - y0 if i else y0 + 1 - y) * (x - x0 if j else x0 + 1 - x)
            total += share * (image[y0 + i, x0 + j] if inside else value)
    return total


def warp(a, image, sample, t, seed):
    """The image (height, width) moved as `a` says."""
    inverse, shift = inverse_map(a, sample, t, seed)
    bent = field(a, sample, t, seed) if a.elastic else np.zeros((*image.shape, 2))
    middle = np.array([(a.width - 1) / 2, (a.height - 1) / 2])
    out = np.empty(image.shape)
    for y in range(a.height):
        for x in range(a.width):
            source = middle + inverse @ (np.array([x, y]) - middle - shift) + bent[y, x]
            out[y, x] = pixel(image, source[0], source[1], a.fill)
    return out


def augment(a, X, t, seed):
    """All samples of X (samples, height * width), augmented by a, which has the fields of fastnn.augment.Image."""
    out = np.empty(X.shape)
    for sample, x in enumerate(X):
        moved = warp(a, x.reshape(a.height, a.width), sample, t, seed).ravel()
        dropped = uniforms(len(x), "augmentation", DROPS, sample, t, seed)[: len(x)] < a.drop
        moved[dropped] = a.fill
        out[sample] = moved + a.noise * normals(len(x), "augmentation", NOISE, sample, t, seed)
    return out
