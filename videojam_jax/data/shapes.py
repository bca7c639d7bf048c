"""The bodies' outlines, as signed distances.

A shape is given about its centre for a circumradius of 1: the smallest circle
about the centre that holds it. At angle 0 the triangle and the star point up
(towards negative y) and the square stands on a side.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from videojam_jax.data.figures import AREA

RING_HOLE = 0.45  # inner radius of the ring

Points = Float[np.ndarray, "..."]


@dataclasses.dataclass(frozen=True)
class Shape:
    """An outline of circumradius 1.

    Attributes:
      name: as captions say it.
      distance: `(x, y) -> d`, below 0 inside; exact near straight edges and
        circles, too small beyond corners, but at least the distance from the
        circumcircle.
      area: for masses.
      below: how far it reaches below its centre at angle 0.
      ahead: how far it reaches in the direction that it meets others with.
      facing: the angle that turns this direction to the right.
      spread: circumradius of the shape that looks as large as a disc of radius 1.
      round: turning it about its centre changes its outline nowhere.
      inertia: `I / (m r^2)` of a round shape, else 0.
    """

    name: str
    distance: Callable[[Points, Points], Points]
    area: float
    below: float
    ahead: float
    facing: float
    spread: float
    round: bool = False
    inertia: float = 0.0


def _disc(x: Points, y: Points) -> Points:
    # The pointed shapes take the greater of this and their own distance: lines
    # alone would put half a pixel of edge far ahead of a sharp tip.
    return np.sqrt(x * x + y * y) - np.float32(1)


def _ring(x: Points, y: Points) -> Points:
    radius = np.sqrt(x * x + y * y)
    return np.maximum(radius - np.float32(1), np.float32(RING_HOLE) - radius)


def _square(x: Points, y: Points) -> Points:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(math.sqrt(0.5))


def _sides(x: Points, y: Points, count: int, first: float, away: float) -> list[Points]:
    """Signed distances from `count` lines around the centre, each `away` from it."""
    angles = [first + 2 * math.pi * i / count for i in range(count)]
    return [
        np.float32(math.cos(a)) * x + np.float32(math.sin(a)) * y - np.float32(away) for a in angles
    ]


def _triangle(x: Points, y: Points) -> Points:
    a, b, c = _sides(x, y, 3, math.pi / 2, 0.5)
    return np.maximum(np.maximum(np.maximum(a, b), c), _disc(x, y))


def _star(x: Points, y: Points) -> Points:
    # A pentagram holds the points that lie outside at most one of its five
    # lines: the second largest of the five distances decides.
    first, *others = _sides(x, y, 5, -math.pi / 2, math.cos(math.radians(72)))
    largest, second = first, np.full_like(first, -np.inf)
    for side in others:
        second = np.maximum(second, np.minimum(largest, side))
        largest = np.maximum(largest, side)
    return np.maximum(second, _disc(x, y))


_STAR_AREA = (
    10
    * 0.5
    * math.sin(math.radians(36))
    * (math.cos(math.radians(72)) / math.cos(math.radians(36)))
)

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("disc", _disc, math.pi, 1.0, 1.0, 0.0, 1.0, True, 0.5),
        Shape(
            "ring", _ring, math.pi * (1 - RING_HOLE**2), 1.0, 1.0, 0.0, 1.08, True,
            (1 + RING_HOLE**2) / 2,
        ),
        Shape("square", _square, 2.0, math.sqrt(0.5), math.sqrt(0.5), 0.0, 1.2),
        Shape("triangle", _triangle, 0.75 * math.sqrt(3), 0.5, 1.0, math.pi / 2, 1.35),
        Shape("star", _star, _STAR_AREA, math.cos(math.radians(36)), 1.0, math.pi / 2, 1.4),
    )
}  # fmt: skip

# Not among the bodies' shapes, as each has a motion of its own: a disc with quarters, whose turn
# is seen, and a figure, whose outline is its limbs' (`figures.LIMBS`); its radius is half its
# height, and its centre the hips.
WHEEL = Shape("wheel", _disc, math.pi, 1.0, 1.0, 0.0, 1.0, True, 0.5)
FIGURE = Shape("figure", _disc, 4 * AREA, 1.0, 1.0, 0.0, 1.0)
