"""Who is where at which time. One cycle of the traffic light at the crossing lasts as long as the whole show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sage_fusion_ros.sources.street.layout import ZEBRA
from sage_fusion_ros.sources.street.people import Look, random_look
from sage_fusion_ros.sources.street.vehicles import CarLook, random_car

CYCLE_S = 15.0
_STOP_Z = 17.2
_KERB = 6.6


@dataclass(frozen=True)
class Person:
    """Someone on foot; phase 0 stands."""

    look: Look
    x: float
    z: float
    heading: float
    phase: float
    kind: Literal["person"] = "person"


@dataclass(frozen=True)
class Cyclist:
    """Someone on a bicycle."""

    look: Look
    colour: np.ndarray
    x: float
    z: float
    heading: float
    phase: float
    kind: Literal["cyclist"] = "cyclist"


@dataclass(frozen=True)
class Car:
    """A driven car."""

    look: CarLook
    x: float
    z: float
    heading: float
    braking: bool
    kind: Literal["car"] = "car"


Actor = Person | Cyclist | Car


class Choreography:
    """Positions of all moving actors at any time; a function of the seed and the time alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
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
        self._waiting = [
            (random_look(random), x, z, heading)
            for x, z, heading in ((-4.35, 8.9, 1.1), (-3.85, 9.1, -1.9), (4.9, 11.3, -1.4))
        ]

    def actors(self, time: float) -> list[Actor]:
        """Everyone at a time in seconds, from far to near."""
        found: list[Actor] = [*self._on_pavement(time), *self._standing(time)]
        cycle = int(time // CYCLE_S)
        for number in (cycle - 1, cycle, cycle + 1):
            random = np.random.default_rng([self._seed, 5, number + 1000])
            local = time - number * CYCLE_S
            found += self._crossing(random, local)
            found += self._oncoming(random, local)
            found += self._leaving(random, local)
            found += self._cyclists(random, local)
        return sorted(found, key=lambda actor: -actor.z)

    def _on_pavement(self, time: float) -> list[Actor]:
        people: list[Actor] = []
        for look, x, start, speed in self._strollers:
            z = 11.5 + (start + speed * time) % 46.0
            stride = 1.45 * look.height / 1.75
            people.append(
                Person(look, x, z, 0.0 if speed > 0 else np.pi, 2 * np.pi * abs(start + speed * time) / stride + 0.1)
            )
        return people

    def _standing(self, time: float) -> list[Actor]:
        return [
            Person(
                look, x + 0.02 * float(np.sin(0.7 * time + x)), z, heading + 0.15 * float(np.sin(0.4 * time + z)), 0.0
            )
            for look, x, z, heading in self._waiting
        ]

    def _crossing(self, random: np.random.Generator, time: float) -> list[Actor]:
        """People on the zebra, some from either side."""
        people: list[Actor] = []
        for place, start in enumerate((1.2, 2.6, 4.0, 5.2, 6.6, 7.2)):
            look = random_look(random)
            side = -1 if place % 2 else 1
            speed = float(random.uniform(1.2, 1.5))
            z = float(random.uniform(ZEBRA[0] + 0.2, ZEBRA[1] - 0.3))
            way = (time - start + 1.6) * speed
            if 0 <= way <= 2 * _KERB:
                stride = 1.45 * look.height / 1.75
                x = side * (_KERB - way)
                people.append(Person(look, x, z, -side * np.pi / 2, 2 * np.pi * way / stride + 0.1))
        return people

    def _oncoming(self, random: np.random.Generator, time: float) -> list[Actor]:
        """Two cars that brake for the red light, wait, and go."""
        cars: list[Actor] = []
        for place in range(2):
            look = random_car(random, 1.0)
            stop = _STOP_Z + place * 6.9
            arrival, go = 3.6 + 1.1 * place, 13.6 + 0.7 * place
            braking = False
            if time < arrival - 4:
                z = stop + 18 + 9 * (arrival - 4 - time)
            elif time < arrival:
                z, braking = stop + 1.125 * (arrival - time) ** 2, True
            elif time < go:
                z = stop
            else:
                z = stop - 1.6 * (time - go) ** 2
            if 3.6 < z < 115:
                cars.append(Car(look, -1.95, z, np.pi, braking))
        return cars

    def _leaving(self, random: np.random.Generator, time: float) -> list[Actor]:
        cars: list[Actor] = []
        for place in range(2):
            look = random_car(random, 1.0)
            since = time + 2.6 - 2.3 * place
            z = 3.2 + 6.5 * since + 0.45 * since**2
            if since > 0 and z < 115:
                cars.append(Car(look, 1.95, z, 0.0, False))
        return cars

    def _cyclists(self, random: np.random.Generator, time: float) -> list[Actor]:
        riders: list[Actor] = []
        tracks = (
            # x, z at the start, speed, heading, from, to
            (3.25, 4.4, 4.6, 0.0, 0.4, 14.0),
            (-3.25, 62.0, 4.2, np.pi, 1.0, 14.4),
            (6.6, 13.7, 3.0, -np.pi / 2, 5.6, 10.0),
        )
        for x, z, speed, heading, begin, end in tracks:
            look = random_look(random, helmet=bool(random.random() < 0.6))
            colour = np.array(
                ((0.4, 0.05, 0.04), (0.04, 0.12, 0.35), (0.05, 0.05, 0.05), (0.5, 0.45, 0.1))[int(random.integers(4))]
            )
            way = speed * (time - begin)
            if begin <= time <= end:
                place = x + way * float(np.sin(heading)), z + way * float(np.cos(heading))
                riders.append(Cyclist(look, colour, place[0], place[1], heading, 2 * np.pi * way / 5.2))
        return riders
