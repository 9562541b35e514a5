"""How long a run will still take."""

from __future__ import annotations

import time

from tqdm import tqdm

_RECENT = 0.02  # share of the newest duration in the mean, once there are many


class Pace:
    """Mean duration of something done again and again; after fifty times the recent ones count more."""

    def __init__(self) -> None:
        self.mean, self._count = 0.0, 0

    def add(self, seconds: float) -> None:
        """Takes in a duration."""
        self._count += 1
        self.mean += (seconds - self.mean) * max(1 / self._count, _RECENT)

    def __bool__(self) -> bool:
        return self._count > 0


class Forecast:
    """Seconds until the last step: steps and validations at the pace of this process, each counted on its own.

    What was done before a resume is not counted as done now. The first step stands for the start-up, which is not to
    come again, and is left out.

    Args:
        steps: Of the run.
        validate_every: Steps between validations, or 0.
    """

    def __init__(self, steps: int, validate_every: int) -> None:
        self._steps, self._every = steps, validate_every
        self._step_pace, self._validation_pace, self._started = Pace(), Pace(), False

    def stepped(self, seconds: float) -> None:
        """A step took this long, saving and logging included."""
        if self._started:
            self._step_pace.add(seconds)
        self._started = True

    def validated(self, seconds: float) -> None:
        """A validation took this long."""
        self._validation_pace.add(seconds)

    def seconds_left(self, step: int) -> float | None:
        """After so many steps; None while nothing is known. Validations count from the first one on."""
        if not self._step_pace:
            return None
        validations = self._steps // self._every - step // self._every if self._every else 0
        return (self._steps - step) * self._step_pace.mean + validations * self._validation_pace.mean


class Bar:
    """A progress bar on stderr with the forecast.

    Args:
        name: In front of it.
        step: Steps done.
        steps: Of the run.
        validate_every: Steps between validations, or 0.
        may_end_early: Whether the run may end before its last step; the forecast is then an upper bound and says so.
        shown: Whether it is drawn.
    """

    def __init__(self, name: str, step: int, steps: int, validate_every: int, may_end_early: bool, shown: bool) -> None:
        form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar = tqdm(total=steps, initial=step, desc=name, unit="step", disable=not shown, bar_format=form)
        self._forecast = Forecast(steps, validate_every)
        self._step, self._at_most = step, "at most " if may_end_early else ""
        self._mark = time.monotonic()

    def stepped(self, words: str) -> None:
        """A step is done; the words come after the forecast."""
        self._step += 1
        self._forecast.stepped(self._since())
        left = self._forecast.seconds_left(self._step)
        text = "?" if left is None else tqdm.format_interval(left)
        self._bar.set_postfix_str(f"{self._at_most}{text} left, {words}", refresh=False)
        self._bar.update()

    def validated(self) -> None:
        """A validation is done."""
        self._forecast.validated(self._since())

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def _since(self) -> float:
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        return seconds
