"""Who is where at which time. One cycle of the traffic light at the crossing lasts as long as the whole show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sage_fusion_ros.sources.street.layout import ZEBRA
from sage_fusion_ros.sources.street.people import Look, random_look
from sage_fusion_ros.sources.street.vehicles import CarLook, random_car

CYCLE_S = 15.0
_STOP_Z = 17.2
_KERB = 6.6
_PAVEMENT = 2.2
"""How far beyond the kerb people come from and go to, where the camera no longer sees them."""
_NEAREST, _FARTHEST = -1.0, 90.0
"""Between which z cars are: those beside the camera are still partly seen."""
_STARTS = (-0.4, 1.0, 2.4, 3.6, 5.0, 5.6)
"""When people step onto the crossing."""
_TRACKS = (
    # x and z at the start, speed, heading, from, to
    (3.25, 4.4, 4.6, 0.0, 0.4, 14.0),
    (-3.25, 62.0, 4.2, np.pi, 1.0, 15.2),
    (9.0, 13.7, 3.0, -np.pi / 2, 4.8, 10.9),
)
_FRAMES = ((0.4, 0.05, 0.04), (0.04, 0.12, 0.35), (0.05, 0.05, 0.05), (0.5, 0.45, 0.1))


@dataclass(frozen=True)
class Person:
    """Someone on foot; without a phase of the stride (in radians) they stand."""

    look: Look
    x: float
    z: float
    heading: float
    phase: float | None


@dataclass(frozen=True)
class Cyclist:
    """Someone on a bicycle."""

    look: Look
    colour: tuple[float, float, float]
    x: float
    z: float
    heading: float
    phase: float


@dataclass(frozen=True)
class Car:
    """A driven car."""

    look: CarLook
    x: float
    z: float
    heading: float
    braking: bool


Actor = Person | Cyclist | Car


@dataclass(frozen=True)
class _Cast:
    """Who appears in one cycle."""

    walkers: tuple[tuple[Look, float, float], ...]
    """Look, speed, z."""
    oncoming: tuple[CarLook, ...]
    leaving: tuple[CarLook, ...]
    riders: tuple[tuple[Look, tuple[float, float, float]], ...]


class Choreography:
    """Positions of all moving actors at any time; a function of the seed and the time alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._casts: dict[int, _Cast] = {}
        random = np.random.default_rng([seed, 4])
        self._strollers = [
            (
                random_look(random),
                side * float(random.uniform(7.3, 8.7)),
                float(random.uniform(0, 46)),
                float(random.uniform(1.1, 1.5)) * (1 if random.random() < 0.5 else -1),
            )
            for side in (-1, 1, -1, 1)
        ]
        places = ((-4.35, 8.9, 1.1), (-3.85, 9.1, -1.9), (4.9, 11.3, -1.4))
        self._waiting = [(random_look(random), x, z, heading) for x, z, heading in places]

    def actors(self, time: float) -> list[Actor]:
        """Everyone at a time in seconds, from far to near."""
        found: list[Actor] = [*self._on_pavement(time), *self._standing(time)]
        cycle = int(time // CYCLE_S)
        for number in (cycle - 1, cycle, cycle + 1):
            cast, local = self._cast(number), time - number * CYCLE_S
            found += [*_crossing(cast, local), *_oncoming(cast, local), *_leaving(cast, local), *_cyclists(cast, local)]
        return sorted(found, key=lambda actor: -actor.z)

    def _cast(self, number: int) -> _Cast:
        """The people and cars of a cycle; kept, since they are asked for with every pair."""
        if number not in self._casts:
            random = np.random.default_rng([self._seed, 5, number + 1000])
            self._casts[number] = _Cast(
                tuple(_walker(random) for _ in _STARTS),
                tuple(random_car(random, 1.0) for _ in range(2)),
                tuple(random_car(random, 1.0) for _ in range(2)),
                tuple(_rider(random) for _ in _TRACKS),
            )
        return self._casts[number]

    def _on_pavement(self, time: float) -> Iterator[Actor]:
        for look, x, start, speed in self._strollers:
            z = 11.5 + (start + speed * time) % 46.0
            yield Person(look, x, z, 0.0 if speed > 0 else np.pi, _stride(look, abs(start + speed * time)))

    def _standing(self, time: float) -> Iterator[Actor]:
        for look, x, z, heading in self._waiting:
            sway = 0.02 * float(np.sin(0.7 * time + x))
            yield Person(look, x + sway, z, heading + 0.15 * float(np.sin(0.4 * time + z)), None)


def _walker(random: np.random.Generator) -> tuple[Look, float, float]:
    return random_look(random), float(random.uniform(1.2, 1.5)), float(random.uniform(ZEBRA[0] + 0.2, ZEBRA[1] - 0.3))


def _rider(random: np.random.Generator) -> tuple[Look, tuple[float, float, float]]:
    return random_look(random, helmet=bool(random.random() < 0.6)), _FRAMES[int(random.integers(len(_FRAMES)))]


def _stride(look: Look, way: float) -> float:
    """Phase of the stride after so many metres."""
    return 2 * np.pi * way / (1.45 * look.height / 1.75)


def _crossing(cast: _Cast, time: float) -> Iterator[Actor]:
    """People on the zebra, from either side."""
    for place, (look, speed, z) in enumerate(cast.walkers):
        side = -1 if place % 2 else 1
        way = (time - _STARTS[place]) * speed
        if -_PAVEMENT <= way <= 2 * _KERB + _PAVEMENT:
            yield Person(look, side * (_KERB - way), z, -side * np.pi / 2, _stride(look, way + _PAVEMENT))


def _oncoming(cast: _Cast, time: float) -> Iterator[Actor]:
    """Cars that brake for the red light, wait, and go."""
    for place, look in enumerate(cast.oncoming):
        stop, arrival, go = _STOP_Z + place * 6.9, 3.6 + 1.1 * place, 13.6 + 0.7 * place
        braking = False
        if time < arrival - 4:
            z = stop + 18 + 9 * (arrival - 4 - time)
        elif time < arrival:
            z, braking = stop + 1.125 * (arrival - time) ** 2, True
        elif time < go:
            z = stop
        else:
            z = stop - 1.6 * (time - go) ** 2
        if _NEAREST < z < _FARTHEST:
            yield Car(look, -1.95, z, np.pi, braking)


def _leaving(cast: _Cast, time: float) -> Iterator[Actor]:
    """Cars that come from behind the camera."""
    for place, look in enumerate(cast.leaving):
        since = time + 3.2 - 2.3 * place
        z = _NEAREST + 6.5 * since + 0.45 * since**2
        if since > 0 and z < _FARTHEST:
            yield Car(look, 1.95, z, 0.0, False)


def _cyclists(cast: _Cast, time: float) -> Iterator[Actor]:
    for (look, colour), (x, z, speed, heading, begin, end) in zip(cast.riders, _TRACKS, strict=True):
        way = speed * (time - begin)
        if begin <= time <= end:
            place = x + way * float(np.sin(heading)), z + way * float(np.cos(heading))
            yield Cyclist(look, colour, place[0], place[1], heading, 2 * np.pi * way / 5.2)
