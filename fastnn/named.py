"""Families of small frozen dataclasses with names: "adam" is short for Adam(), and files hold name and constants."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Generic, TypeVar

from fastnn.errors import InputError, unknown_name

Member = TypeVar("Member")


class Family(Generic[Member]):
    """All members of one kind, by name. what: the kind in the user's words ("activation"); base: their class, which may
    be abstract.
    """

    def __init__(self, what: str, base: Any, members: dict[str, type[Member]]) -> None:
        self.what, self._base, self._members = what, base, members
        self._names = {member: name for name, member in members.items()}

    def get(self, given: Any) -> Member:
        """The member that a name or an object stands for. Raises InputError for anything else."""
        if isinstance(given, self._base):
            return given
        if isinstance(given, str):
            if given.lower() not in self._members:
                raise unknown_name(self.what, given, self._members)
            return self._members[given.lower()]()
        known = ", ".join(sorted(self._members))
        raise InputError(f"{self.what} must be a name or a {self._base.__name__}, got {given!r}. Known names: {known}")

    @property
    def names(self) -> list[str]:
        """All names, in the order of the family."""
        return list(self._members)

    def name(self, member: Member) -> str:
        return self._names[type(member)]

    def describe(self, member: Member) -> dict[str, Any]:
        """Name and constants, for files."""
        return {"name": self.name(member), **asdict(member)}  # type: ignore[call-overload]

    def build(self, description: dict[str, Any]) -> Member:
        """The member that was described. Raises InputError where name or constants are unknown."""
        constants = dict(description)
        name = constants.pop("name", None)
        if name not in self._members:
            raise unknown_name(self.what, name, self._members)
        try:
            return self._members[name](**constants)
        except TypeError as error:
            raise InputError(f"{self.what} {name!r}: {error}") from error
