"""What of a data set can't be read: an error before the first step, or left out, counted and listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sage_fusion_ros.errors import SourceError

T = TypeVar("T")


class DamageLog:
    """Reads files that may be damaged.

    Attributes:
        skip: As given.
        entries: "pair's name: reason" of what was left out.

    Args:
        skip: Whether damaged files are left out and listed; else the first one is an error.
        setting: What the error calls the setting that would skip; empty where there is none.
    """

    def __init__(self, skip: bool = False, setting: str = "") -> None:
        self.skip, self._setting = skip, setting
        self.entries: list[str] = []

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` gives, or None where it raises a SourceError and that is to be left out.

        Args:
            name: The pair it is for.
            read: Reads one file or the files of one pair; its errors name the file and what to do about it.

        Raises:
            SourceError: What `read` raised, with the setting that would skip.
        """
        try:
            return read()
        except SourceError as error:
            if not self.skip:
                otherwise = f"; {self._setting}: true leaves out what is damaged" if self._setting else ""
                raise SourceError(f"{error}{otherwise}") from error
            self.entries.append(f"{name}: {error}")
            return None

    def lines(self) -> list[str]:
        """The list for the user, one line each; empty where nothing was damaged."""
        if not self.entries:
            return []
        return [f"{len(self.entries)} damaged, left out:", *(f"  {entry}" for entry in self.entries)]
