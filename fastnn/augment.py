"""Augmentation: every step sees its samples changed at random, so that the network learns what does not matter.

fit(augment=...) changes the raw data, before normalization, in training only. The changes follow from the network's
seed, the step and the sample, on any number of threads. When to use: few samples, and changes that leave the target as
it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks, inputs
from fastnn.errors import InputError
from fastnn_kernels import augment as kernels

MOST_PIXELS = 1 << 22  # up to which float32 counts
LEAST_SCALE, MOST_SCALE = 1e-3, 1e3  # beyond them nothing is left of an image


@dataclass(frozen=True)
class Plan:
    """What the kernels need. constants: float64; basis: the elastic grid's functions; room: a row a thread."""

    constants: np.ndarray
    basis: np.ndarray
    room: np.ndarray

    @classmethod
    def none(cls, dtype: np.dtype) -> Plan:
        return cls(np.zeros(kernels.CONSTANTS), np.zeros(0, dtype), np.zeros(0, dtype))


class Augmentation:
    """Base of all augmentations."""

    def check_columns(self, columns: int) -> None:
        """Raises InputError where data of so many columns cannot be augmented like this."""

    def apply(self, X: Any, seed: int = 0) -> np.ndarray:
        """(samples, columns), X as a training step might see it; float64 where X is, else float32."""
        array = inputs.numeric("X", X)
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(f"X must have the shape (samples, columns), got {array.shape}")
        dtype = np.dtype(np.float64 if array.dtype == np.float64 else np.float32)
        array = inputs.converted("X", array, dtype)
        self.check_columns(array.shape[1])
        plan, out = self.plan(array.shape[1], dtype, 1), np.empty_like(array)
        seed = checks.whole("seed", seed, least=0)
        kernels.apply(plan.constants, plan.basis, plan.room, array, 0, seed, out)
        return out

    def plan(self, columns: int, dtype: np.dtype, rooms: int) -> Plan:
        """Everything laid out for data of so many columns, for so many threads."""
        constants = self.constants()
        shape = [int(constants[i]) for i in (kernels.HEIGHT, kernels.WIDTH, kernels.NODES_Y, kernels.NODES_X)]
        size = kernels.room_size(columns, *shape)
        constants[kernels.ROOM_SIZE] = size
        return Plan(constants, self.basis(dtype), np.zeros(rooms * size, dtype))

    def constants(self) -> np.ndarray:
        """As fastnn_kernels.augment numbers them."""
        values = np.zeros(kernels.CONSTANTS)
        values[kernels.ON] = 1
        return values

    def basis(self, dtype: np.dtype) -> np.ndarray:
        """The functions of the elastic grid; empty without one."""
        return np.zeros(0, dtype)


@dataclass(frozen=True)
class Noise(Augmentation):
    """x + deviation * n, n standard normal (Bishop 1995: with half_mse as a penalty on the outputs' slopes).

    deviation: in the data's units. For measured data, at about the error of the measurement.
    """

    deviation: float = 0.1

    def __post_init__(self) -> None:
        checks.real("deviation", self.deviation, least=0.0)

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.DEVIATION] = self.deviation
        return values


@dataclass(frozen=True)
class Image(Augmentation):
    """Images of height x width pixels, row by row: each sample rotated, scaled, sheared, shifted and bent at random.

    rotate: up to so many degrees, to both sides. scale: factors (from, to). shear: up to so many pixels to the side a
    pixel down. shift: up to so many pixels, to all sides. elastic: deviation, in pixels, of a displacement that is
    smooth over some `smooth` pixels (as Simard, Steinkraus, Platt 2003; theirs are about elastic=1.4, smooth=4). All
    uniform, but for the displacement, which is normal. Between pixels the value is bilinear, outside it is `fill`, the
    background's. Then pixels are dropped, set to fill with probability `drop`, and Gaussian noise of deviation `noise`
    is added, in the data's units.
    """

    height: int
    width: int
    rotate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    smooth: float = 4.0
    drop: float = 0.0
    noise: float = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        checks.whole("height", self.height)
        checks.whole("width", self.width)
        if (self.height + kernels.BORDER) * (self.width + kernels.BORDER) > MOST_PIXELS:
            raise InputError(f"an image may have some {MOST_PIXELS:,} pixels, got {self.height} x {self.width}")
        checks.real("rotate", self.rotate, least=0.0)
        if self.rotate > 180:
            raise InputError(f"rotate must be from 0 to 180 degrees, got {self.rotate!r}")
        self._check_scale()
        for name in ("shear", "shift", "elastic"):
            checks.real(name, getattr(self, name), least=0.0, below=MOST_PIXELS)
        checks.real("noise", self.noise, least=0.0)
        checks.real("smooth", self.smooth, least=1.0)
        checks.real("drop", self.drop, least=0.0, below=1.0)
        checks.real("fill", self.fill)

    def _check_scale(self) -> None:
        if not isinstance(self.scale, tuple) or len(self.scale) != 2:
            raise InputError(f"scale must be a pair of factors as (0.9, 1.1), got {self.scale!r}")
        low, high = (checks.real("scale", factor, least=LEAST_SCALE, below=MOST_SCALE) for factor in self.scale)
        if low > high:
            raise InputError(f"scale must be a pair (from, to), the smaller factor first, got {self.scale!r}")

    def check_columns(self, columns: int) -> None:
        if self.height * self.width != columns:
            raise InputError(f"the data has {columns} columns: it is no image of {self.height} x {self.width} pixels")

    def constants(self) -> np.ndarray:
        values = super().constants()
        values[kernels.HEIGHT], values[kernels.WIDTH] = self.height, self.width
        moved = self.rotate > 0 or self.shear > 0 or self.shift > 0 or self.elastic > 0
        values[kernels.WARPED] = moved or self.scale != (1.0, 1.0)
        values[kernels.ROTATE] = self.rotate / 360
        values[kernels.SCALE_FROM], values[kernels.SCALE_TO] = self.scale
        values[kernels.SHEAR], values[kernels.SHIFT], values[kernels.ELASTIC] = self.shear, self.shift, self.elastic
        values[kernels.DROP], values[kernels.FILL], values[kernels.DEVIATION] = self.drop, self.fill, self.noise
        if self.elastic > 0:
            values[kernels.NODES_Y], values[kernels.NODES_X] = (self._nodes(n) for n in (self.height, self.width))
            values[kernels.SPACING] = self._spacing
        return values

    def _nodes(self, pixels: int) -> int:
        """Nodes of the elastic grid along a side: four around every pixel."""
        return math.floor((pixels - 1) / self._spacing) + 4

    @property
    def _spacing(self) -> float:
        """Pixels between nodes: a cubic B-spline of this spacing is as wide as a Gaussian of deviation `smooth`."""
        return self.smooth * math.sqrt(3)

    def basis(self, dtype: np.dtype) -> np.ndarray:
        if self.elastic == 0:
            return super().basis(dtype)
        by = self._splines(self.height)
        bx = np.zeros((self._nodes(self.width), kernels.whole_groups(self.width)))
        bx[:, : self.width] = self._splines(self.width).T
        head = np.zeros(kernels.whole_groups(by.size))
        head[: by.size] = by.ravel()
        return np.concatenate([head, bx.ravel()]).astype(dtype)

    def _splines(self, pixels: int) -> np.ndarray:
        """(pixels, nodes): cubic B-splines, scaled so that the squares at each pixel add up to 1."""
        distance = abs(np.arange(pixels)[:, None] / self._spacing - np.arange(-1, self._nodes(pixels) - 1))
        near, far = 4 - 6 * distance**2 + 3 * distance**3, np.maximum(2 - distance, 0) ** 3
        values = np.where(distance < 1, near, far)
        return values / np.sqrt((values**2).sum(axis=1, keepdims=True))


def check(given: Any, columns: int) -> Augmentation | None:
    """What fit was given. Raises InputError for what is none, or cannot augment data of so many columns."""
    if given is None:
        return None
    if not isinstance(given, Augmentation):
        raise InputError(f"augment must be None, fastnn.augment.Noise or fastnn.augment.Image, got {given!r}")
    given.check_columns(columns)
    return given
