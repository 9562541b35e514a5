"""The street under one condition: everything that can be drawn ahead, and a pair for any time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sage_fusion_ros.sources.street.background import Geometry, bare_plate
from sage_fusion_ros.sources.street.body import FINE_SCALE
from sage_fusion_ros.sources.street.canvas import Area, Figure, Frame, darken, draw, window
from sage_fusion_ros.sources.street.choreography import Actor, Car, Choreography, Cyclist
from sage_fusion_ros.sources.street.conditions import SUN, Condition
from sage_fusion_ros.sources.street.cyclists import bicycle, rider
from sage_fusion_ros.sources.street.effects import Glare, Sensors, Smoke
from sage_fusion_ros.sources.street.light import ActorLight, haze_light, tone
from sage_fusion_ros.sources.street.people import POSES, walker
from sage_fusion_ros.sources.street.scenery import all_standing, tree_shadow
from sage_fusion_ros.sources.street.vehicles import car, random_car

PERSON_ID, RIDER_ID, CAR_ID, BICYCLE_ID = 11, 12, 13, 18
_SMALLEST_BOX = 12
"""Pixels of an actor that must be seen for it to have a box."""


@dataclass(frozen=True)
class _Seen:
    """Label of a box, and the part of the image in which its pixels are."""

    label: str
    area: Area


class Scene:
    """Draws pairs of one condition."""

    def __init__(self, geometry: Geometry, choreography: Choreography, condition: Condition, seed: int) -> None:
        self._view, self._street, self._condition = geometry.view, geometry.street, condition
        self._choreography = choreography
        self._light = ActorLight(self._street, condition)
        self._haze = haze_light(condition)
        self._sky = float(np.mean(self._haze)) if not condition.lamps else 0.02
        self._sensors = Sensors(self._view, condition, seed)
        self._smoke = Smoke(self._view, condition, seed) if condition.smoke else None
        self._glare = Glare(self._view) if condition.lamps else None
        self._parked: dict[int, _Seen] = {}
        self._plate = self._standing(bare_plate(geometry, condition))

    def render(
        self, time: float, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.uint8], list[tuple[str, list[float]]]]:
        """A pair.

        Args:
            time: Of the scene in seconds.
            index: Of the pair; chooses the noise.

        Returns:
            RGB uint8 HxWx3, thermal uint16 HxW in hundredths of a kelvin, mask uint8 HxW, and (label, box) of all seen.
        """
        frame = self._plate.copy()
        seen = dict(self._parked)
        actors = [actor for actor in self._choreography.actors(time) if self._in_view(actor)]
        if self._condition.lamps:
            for actor in actors:
                if isinstance(actor, Car) and actor.heading:
                    self._pool(frame, actor)
        instances: dict[int, Actor] = {}
        parked = len(self._street.parked)
        for place, actor in enumerate(actors):
            self._shadow(frame, actor)
            for figure, label in self._figures(actor, parked + 1 + 2 * place):  # a cyclist takes two numbers
                area = self._draw(frame, figure)
                if area is not None:
                    seen[figure.instance] = _Seen(label, area)
                    instances[figure.instance] = actor
        if self._glare is not None:
            for number, actor in instances.items():
                if isinstance(actor, Car):
                    self._shine(frame, actor, number)
        if self._smoke is not None:
            self._smoke.apply(frame, time)
        boxes = _boxes(frame, seen)
        return self._sensors.rgb(frame.rgb, index), self._sensors.thermal(frame.celsius, index), frame.label, boxes

    def smoke_amount(self, time: float) -> npt.NDArray[np.uint8]:
        """How much of what stands behind it the smoke hides, 0..255 a pixel; zeros without smoke."""
        if self._smoke is None:
            return np.zeros(self._plate.depth.shape, np.uint8)
        return self._smoke.amount(self._plate, time)

    def _in_view(self, actor: Actor) -> bool:
        reach = 2.6 if isinstance(actor, Car) else 1.2
        return abs(actor.x) - reach < actor.z * 0.5 * self._view.width / self._view.focal

    def _standing(self, plate: Frame) -> Frame:
        if any(self._condition.sun):
            for growth in self._street.trees:
                darken(plate, self._view.project(tree_shadow(growth)), 0.45, 0.9 * self._view.focal / growth.z)
        parked = []
        for number, (x, z, heading, seed) in enumerate(self._street.parked, 1):
            look = random_car(np.random.default_rng(seed), 0.0 if seed % 3 else 0.6)
            self._car_shadow(plate, x, z, look.warm)
            air = self._condition.air
            drawn = car(self._view, self._light, look, (x, z), heading, False, False, air, self._sky)
            if drawn:
                parked.append(Figure(*drawn, z, CAR_ID, number))
        figures = [*parked, *all_standing(self._view, self._light, self._condition, self._street)]
        for figure in sorted(figures, key=lambda figure: -figure.z):
            area = self._draw(plate, figure)
            if figure.instance and area is not None:
                self._parked[figure.instance] = _Seen("car", area)
        return plate

    def _draw(self, frame: Frame, figure: Figure) -> Area | None:
        seen = np.exp(-self._condition.haze * figure.z)
        grey = tone(figure.light * seen + self._haze * (1 - seen), self._condition.exposure)
        seen = np.exp(-self._condition.thermal_haze * figure.z)
        celsius = figure.celsius * seen + self._condition.air * (1 - seen)
        return draw(frame, Figure(figure.outline, figure.light, celsius, figure.z, figure.label, figure.instance), grey)

    def _figures(self, actor: Actor, number: int) -> list[tuple[Figure, str]]:
        air, where = self._condition.air, (actor.x, actor.z)
        if isinstance(actor, Car):
            drawn = car(
                self._view,
                self._light,
                actor.look,
                where,
                actor.heading,
                self._condition.lamps,
                actor.braking,
                air,
                self._sky,
            )
            return [(Figure(*drawn, max(actor.z, 0.5), CAR_ID, number), "car")] if drawn else []
        heading, fine = round(actor.heading, 2), self._view.focal / actor.z > FINE_SCALE
        pose = None if actor.phase is None else round(actor.phase / (2 * np.pi) * POSES) % POSES
        if isinstance(actor, Cyclist):
            bike = bicycle(actor.colour, heading, air).place(self._view, self._light, where)
            above = rider(actor.look, heading, pose or 0, air, fine).place(self._view, self._light, where)
            return [
                (Figure(*bike, actor.z, BICYCLE_ID, number), "bicycle"),
                (Figure(*above, actor.z - 0.01, RIDER_ID, number + 1), "rider"),
            ]
        drawn = walker(actor.look, heading, pose, air, fine).place(self._view, self._light, where)
        return [(Figure(*drawn, actor.z, PERSON_ID, number), "person")]

    def _shadow(self, frame: Frame, actor: Actor) -> None:
        if isinstance(actor, Car):
            self._car_shadow(frame, actor.x, actor.z, actor.look.warm)
            return
        if actor.z > 45:
            return
        around = np.arange(10) * (2 * np.pi / 10)
        foot = np.array((actor.x, 0.0, actor.z))
        ring = np.column_stack((np.cos(around), np.zeros(10), np.sin(around)))
        sunny, seen = self._light.sunlit(actor.x, actor.z), self._clearness(actor.z)
        scale = self._view.focal / actor.z
        if sunny:
            reach = np.array((-SUN[0] / SUN[1], 0.0, -SUN[2] / SUN[1])) * 1.6
            points = np.concatenate([foot + 0.16 * ring, foot + reach + 0.20 * ring])
            hull = cv2.convexHull(self._view.project(points).astype(np.float32))[:, 0]
            darken(frame, hull.astype(float), 0.42 * sunny * seen, 0.04 * scale)
        darken(frame, self._view.project(foot + ring * (0.34, 0, 0.26)), 0.38 * seen, 0.10 * scale, 0.4)

    def _car_shadow(self, frame: Frame, x: float, z: float, warm: float) -> None:
        corners = np.array(
            [(x + dx, 0.0, max(z + dz, 1.0)) for dx, dz in ((-0.95, -2.2), (0.95, -2.2), (0.95, 2.2), (-0.95, 2.2))]
        )
        scale = self._view.focal / max(z - 2, 2.0)
        sunny, seen = self._light.sunlit(x, z), self._clearness(z)
        if sunny:
            reach = np.array((-SUN[0] / SUN[1], 0.0, -SUN[2] / SUN[1])) * 1.15
            hull = cv2.convexHull(self._view.project(np.concatenate([corners, corners + reach])).astype(np.float32))[
                :, 0
            ]
            darken(frame, hull.astype(float), 0.45 * sunny * seen, 0.05 * scale)
        darken(frame, self._view.project(corners), 0.80 * seen, 0.10 * scale, 5.0 * warm)

    def _clearness(self, z: float) -> float:
        """Share of light that gets through the air from there; a shadow in fog is as faint as what casts it."""
        return float(np.exp(-self._condition.haze * max(z, 0.0)))

    def _pool(self, frame: Frame, actor: Car) -> None:
        """Headlights on the road before an oncoming car."""
        around = np.arange(16) * (2 * np.pi / 16)
        middle = np.array((actor.x, 0.0, max(actor.z - 8.5, 3.2)))
        ring = middle + np.column_stack((2.3 * np.cos(around), np.zeros(16), 5.6 * np.sin(around)))
        ring[:, 2] = np.maximum(ring[:, 2], 2.2)
        points = self._view.project(ring)
        blur = 0.5 * self._view.focal / middle[2]
        area = window(points, 2 * blur, frame)
        if area is None:
            return
        rows, columns = area
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        cv2.fillConvexPoly(mask, (points - (columns.start, rows.start)).astype(np.int32), 255)
        mask = cv2.blur(mask, (2 * int(blur) + 1,) * 2)
        region = frame.rgb[area]
        # Light multiplies what is there: paint on the road shines more than asphalt.
        lit = cv2.multiply(
            region, cv2.merge([cv2.convertScaleAbs(mask, alpha=a) for a in (0.95, 0.9, 0.8)]), scale=2.2 / 255
        )
        region[...] = cv2.add(region, lit)

    def _shine(self, frame: Frame, actor: Car, number: int) -> None:
        oncoming = actor.heading != 0
        if actor.z < 3.5:
            return  # the end with the lights is beside the camera already
        for side in (-0.6, 0.6):
            place = np.array((actor.x + side, 0.62 if oncoming else 0.77, actor.z - 2.22))
            u, v = (round(float(value)) for value in self._view.project(place))
            height, width = frame.depth.shape
            if not (0 <= u < width and 0 <= v < height):
                continue
            near = frame.instance[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3]
            seen = float(np.mean(near == number))
            if oncoming:
                strength = (0.12 + 0.88 * seen) * min(1.15, 24.0 / actor.z)
                self._glare.add(frame.rgb, (u, v), strength, min(1.0, 0.35 + 12.0 / actor.z))
            elif seen:
                tail = cv2.circle(np.zeros((25, 25, 3), np.uint8), (12, 12), 3, (190, 20, 16), -1)
                area = frame.rgb[max(v - 12, 0) : v + 13, max(u - 12, 0) : u + 13]
                if area.shape == tail.shape:
                    area[...] = cv2.add(area, cv2.GaussianBlur(tail, (25, 25), 5))


def _boxes(frame: Frame, seen: dict[int, _Seen]) -> list[tuple[str, list[float]]]:
    boxes = []
    for number, one in seen.items():
        shown = cv2.compare(frame.instance[one.area], number, cv2.CMP_EQ)
        if cv2.countNonZero(shown) < _SMALLEST_BOX:
            continue
        left, top, width, height = cv2.boundingRect(shown)
        left, top = left + one.area[1].start, top + one.area[0].start
        boxes.append((one.label, [float(left), float(top), float(left + width), float(top + height)]))
    return boxes
