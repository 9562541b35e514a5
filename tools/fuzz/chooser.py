"""Where the cases of a fuzz run take their choices from: a seed and a number, or the bytes of a fuzzer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Chooser:
    """Choices by a seed and the number of the case alone, so that each case can be made again."""

    def __init__(self, seed: int, case: int) -> None:
        self._random = random.Random(seed << 48 | case)

    def below(self, limit: int) -> int:
        """A whole number from 0 to below the limit."""
        return int(self._random.random() * limit)

    def raw(self, count: int) -> bytes:
        """So many bytes."""
        return self._random.randbytes(count)

    def pick(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[self.below(len(values))]

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return not self.below(one_in)

    def number(self, around: int) -> int:
        """A whole number that breaks what takes it for a size: at an edge of its type, or near what it should be."""
        if self.chance(2):
            return self.pick(EDGES)
        return max(0, around + self.pick((-2, -1, 1, 2, around, -(around // 2), 7 * around)))


# Of uint8, int32 and uint32, and around the products that overflow them. Sizes that are allowed and take long are rare.
EDGES = (0, 1, 2, 3, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, 2**30, 65535, 46341, 715827883)


class FedChooser(Chooser):
    """Choices by the bytes that a coverage-guided fuzzer gives; at their end all choices are the first."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def below(self, limit: int) -> int:
        """See Chooser."""
        return int(self._provider.ConsumeIntInRange(0, limit - 1))

    def chance(self, one_in: int) -> bool:
        """See Chooser; at the end of the bytes what is rare does not happen."""
        return self.below(one_in) == one_in - 1

    def raw(self, count: int) -> bytes:
        """See Chooser."""
        given = bytes(self._provider.ConsumeBytes(count))
        return given + bytes(count - len(given))
