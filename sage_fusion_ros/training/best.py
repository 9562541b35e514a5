"""Which weights of a run are its best, and when it has stopped getting better."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Best:
    """The lowest score so far.

    A score is better if it is lower than all before it; of equal ones the earlier counts, and one that is no number is
    never better.

    Attributes:
        score: Infinite before the first one.
        step: Steps done when it was reached.
        without: Validations since then.
    """

    score: float = math.inf
    step: int = 0
    without: int = 0

    def judge(self, step: int, score: float) -> bool:
        """Takes in a score; whether it is the best."""
        better = score < self.score
        if better:
            self.score, self.step, self.without = score, step, 0
        else:
            self.without += 1
        return better

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints; `Best(**values)` reads them back."""
        return asdict(self)
