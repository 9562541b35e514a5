"""What stands in the street: buildings, trees, lamps and parked cars, chosen by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROAD_HALF = 6.0
"""Half the road's width between the kerbs; the outer two metres are for parking."""
FACADE = 9.5
"""Distance of the facades from the middle of the road."""
STREET_END = 130.0
ZEBRA = (9.8, 12.8)
"""The crossing's extent in z."""

# Linear albedo of plaster and brick.
_COLOURS = (
    (0.42, 0.17, 0.11),
    (0.55, 0.44, 0.29),
    (0.36, 0.34, 0.32),
    (0.58, 0.52, 0.44),
    (0.30, 0.13, 0.09),
    (0.50, 0.36, 0.20),
    (0.40, 0.42, 0.40),
    (0.62, 0.58, 0.52),
)


@dataclass(frozen=True)
class Building:
    """A house in the row.

    Attributes:
        near: Where it begins (z).
        far: Where it ends (z).
        height: In metres.
        colour: Linear albedo of the wall.
        brick: Whether the wall shows courses of bricks.
        bay: Distance of the windows in metres.
        awning: Linear albedo of the band above the ground floor.
    """

    near: float
    far: float
    height: float
    colour: tuple[float, float, float]
    brick: bool
    bay: float
    awning: tuple[float, float, float]


@dataclass(frozen=True)
class Tree:
    """A tree on the pavement."""

    x: float
    z: float
    height: float
    seed: int


@dataclass(frozen=True)
class Street:
    """Everything that does not move.

    Attributes:
        left: Houses of the left side, from near to far.
        right: Houses of the right side.
        trees: From far to near.
        lamps: (x, z) of the street lamps.
        parked: (x, z, heading in radians, appearance seed) of parked cars.
    """

    left: tuple[Building, ...]
    right: tuple[Building, ...]
    trees: tuple[Tree, ...]
    lamps: tuple[tuple[float, float], ...]
    parked: tuple[tuple[float, float, float, int], ...]


def build_street(seed: int) -> Street:
    """The street of a seed."""
    random = np.random.default_rng([seed, 1])
    sides = [_row(random), _row(random)]
    trees = [
        Tree(
            side * (7.0 + random.uniform(-0.2, 0.3)),
            z + random.uniform(-1.5, 1.5),
            random.uniform(5.6, 7.4),
            int(random.integers(1 << 30)),
        )
        for side in (-1, 1)
        for z in (20.0, 36.0, 52.0, 70.0, 90.0)
        if random.random() < 0.85
    ]
    lamps = tuple((side * 6.5, z) for z in (15.0, 33.0, 51.0, 69.0, 87.0) for side in (-1, 1))
    parked = []
    for side in (-1, 1):
        z = 17.0 + random.uniform(0.0, 3.0)
        while z < 80.0:
            if random.random() < 0.7:
                heading = np.pi if side < 0 else 0.0
                parked.append((side * (4.95 + random.uniform(-0.1, 0.1)), z, heading, int(random.integers(1 << 30))))
            z += random.uniform(5.6, 8.0)
    far_first = tuple(sorted(trees, key=lambda tree: -tree.z))
    return Street(sides[0], sides[1], far_first, lamps, tuple(sorted(parked, key=lambda car: -car[1])))


def _row(random: np.random.Generator) -> tuple[Building, ...]:
    houses = []
    near, last = 4.0 - random.uniform(0, 6), -1
    while near < STREET_END:
        far = near + random.uniform(10.0, 17.0)
        colour = int(random.integers(len(_COLOURS)))
        colour = (colour + 1) % len(_COLOURS) if colour == last else colour
        last = colour
        floors = int(random.integers(2, 5))
        awning = random.uniform(0.05, 0.35, 3)
        houses.append(
            Building(
                near,
                far,
                3.7 + 3.1 * floors + 0.7,
                _COLOURS[colour],
                colour in (0, 4),
                float(random.uniform(2.3, 3.2)),
                (float(awning[0]), float(awning[1]), float(awning[2])),
            )
        )
        near = far
    return tuple(houses)
