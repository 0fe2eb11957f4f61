"""Clipping of gradients, the penalty's included, before the optimizer sees them. Source: Pascanu et al. 2013."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import checks
from fastnn.errors import InputError
from fastnn_kernels import optimizer as kernels


@dataclass(frozen=True)
class Clip:
    """Base of both. limit: above 0."""

    limit: float

    def __post_init__(self) -> None:
        checks.real("limit", self.limit, above=0.0)


@dataclass(frozen=True)
class ClipValue(Clip):
    """g = min(max(g, -limit), limit), element by element. Costs nothing, but turns the gradient."""


@dataclass(frozen=True)
class ClipNorm(Clip):
    """g = g limit / |g| where |g| > limit, the norm over all weights and biases. Keeps the direction.

    The whole gradient must be in memory before the first weight changes: one more pass over the parameters.
    """


def check(given: Any) -> Clip | None:
    """The clipping. Raises InputError for anything else."""
    if given is not None and not isinstance(given, ClipValue | ClipNorm):
        raise InputError(f"clip must be None, ClipValue(limit) or ClipNorm(limit), got {given!r}")
    return given


def fill(constants: np.ndarray, clip: Clip | None) -> None:
    """Write what the kernels must know of it into the optimizer's constants."""
    if clip is not None:
        constants[kernels.CLIP_NORM if isinstance(clip, ClipNorm) else kernels.CLIP_VALUE] = clip.limit
