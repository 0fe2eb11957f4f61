"""The options that a layer has beside its units and its activation, found by asking it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from fastnn.errors import InputError
from fastnn.layers import Dense

TRIED: tuple[Any, ...] = ("batch", "layer", 0.2)
"""Values that an option may take: names of norms, and a probability."""


@dataclass(frozen=True)
class Variant:
    """A Dense layer with one option set, or none."""

    given: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.given.items()) or "plain"


def variants() -> list[Variant]:
    """The plain layer, and one for each value in TRIED that an option of Dense accepts."""
    names = [one.name for one in fields(Dense) if one.name not in ("units", "activation")]
    tried = [Variant({name: value}) for name in names for value in TRIED]
    return [Variant(), *(variant for variant in tried if _is_accepted(variant))]


def _is_accepted(variant: Variant) -> bool:
    try:
        Dense(1, **variant.given)
    except (InputError, TypeError):
        return False
    return True
