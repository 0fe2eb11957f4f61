"""What the options of the command line say, as values; typer.BadParameter (exit code 2) for what cannot be read."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fastnn import optimizers
from fastnn.augment import Augmentation, Image, Noise
from fastnn.clipping import ClipNorm
from fastnn.errors import FileError, InputError
from fastnn.files.atomic import target_of
from fastnn.optimizers import Optimizer
from fastnn.penalties import L1, L2, Penalty

Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where it is worth it")]


def hidden_sizes(text: str) -> list[int]:
    """ "512,512" -> [512, 512]; "" -> []."""
    try:
        sizes = [int(size) for size in text.split(",")] if text.strip() else []
    except ValueError:
        sizes = [0]
    if any(size < 1 for size in sizes):
        raise typer.BadParameter(
            f"{text!r} are no layer sizes; give positive integers as in 512,512", param_hint="--layers"
        )
    return sizes


def batch_size(text: str) -> int | str:
    """ "128" -> 128; "full" and "auto" as they are."""
    if text in ("full", "auto"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(
            f"{text!r} is no batch size; give a positive integer, full or auto", param_hint="--batch-size"
        )
    return int(text)


def penalty(text: str | None) -> Penalty | None:
    """ "l2=1e-4" -> L2(1e-4), "l1=1e-5" -> L1(1e-5)."""
    if text is None or text == "none":
        return None
    name, _, value = text.partition("=")
    kinds = {"l1": L1, "l2": L2}
    try:
        strength = float(value)
    except ValueError:
        strength = -1.0
    if name.lower() not in kinds or not strength >= 0:
        raise typer.BadParameter(f"{text!r} is no penalty; give l2=1e-4 or l1=1e-5", param_hint="--penalty")
    return kinds[name.lower()](strength)


def clip(limit: float | None) -> ClipNorm | None:
    """Clipping by that norm."""
    if limit is not None and not 0 < limit < math.inf:
        raise typer.BadParameter(f"{limit} is no norm; give a number above 0", param_hint="--clip-norm")
    return None if limit is None else ClipNorm(limit)


AUGMENTATIONS = ("rotate", "shear", "shift", "elastic", "smooth", "drop", "noise", "fill")


def numbers(text: str | None) -> dict[str, float]:
    """ "rotate=10,shift=1" -> {"rotate": 10.0, "shift": 1.0}, for --augment."""
    found = {}
    for part in text.split(",") if text and text != "none" else []:
        name, _, value = part.strip().partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            name = ""
        if name not in AUGMENTATIONS:
            known = ", ".join(AUGMENTATIONS)
            raise typer.BadParameter(
                f"{part!r} is no augmentation; give rotate=10 or another of {known}", param_hint="--augment"
            )
    return found


def augmentation(changes: dict[str, float], image_shape: tuple[int, int] | None) -> Augmentation | None:
    """What fit's augment should be: noise alone for any data, everything else for images."""
    if not changes:
        return None
    if image_shape is not None:
        return Image(*image_shape, **changes)  # type: ignore[arg-type]
    if set(changes) != {"noise"}:
        raise InputError("the data holds no images: --augment can only be noise=..., in the data's units")
    return Noise(changes["noise"])


def optimizer(name: str, learning_rate: float | None) -> Optimizer:
    """The optimizer of that name, with its own learning rate or the given one."""
    chosen = optimizers.family.get(name)
    return chosen if learning_rate is None else replace(chosen, lr=learning_rate)


def share(value: float, option: str) -> float:
    """A share of the samples, 0 (none) to below 1."""
    if not 0 <= value < 1:
        raise typer.BadParameter(f"{value} is no share; give a number from 0 to below 1", param_hint=option)
    return value


def output_path(path: Path) -> Path:
    """path, if a file can be written there. Raises FileError before any work is done for it."""
    folder = target_of(path).parent
    if not folder.is_dir():
        raise FileError(f"cannot write {path}: there is no folder {path.parent}")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def check_apart(written: dict[str, Path], read: dict[str, str | Path]) -> None:
    """Raises InputError where a file to write is one that is read, or another one to write; by the options' names."""
    taken = {os.path.realpath(path): name for name, path in read.items()}
    for name, path in written.items():
        if (other := taken.setdefault(os.path.realpath(path), name)) != name:
            raise InputError(f"{name} would overwrite {other}: {path}")
