"""What every motion shares: bodies and their ways, the scene they make, the frame they fit into."""

import dataclasses

import numpy as np
from jaxtyping import Float

from videojam_jax.data.figures import Limb
from videojam_jax.data.shapes import Shape

COLOURS = {
    "red": (230, 25, 25),
    "orange": (250, 130, 10),
    "yellow": (240, 220, 15),
    "green": (30, 185, 40),
    "cyan": (15, 205, 215),
    "blue": (30, 70, 240),
    "purple": (145, 35, 225),
    "pink": (245, 30, 150),
}
TEXTURES = ("stripes", "dots", "noise")
# A bounce or a swing is over in about this many frames, however long the clip.
LONGEST_EVENT = 24
SUBSTEPS = 16  # a frame, of motions that have no closed form


@dataclasses.dataclass(frozen=True)
class Body:
    """How a body looks; `radius` is its circumradius in pixels, `rod` its pendulum's length.

    A figure's `limbs` are drawn instead of its shape; its radius is half its height.
    """

    shape: Shape
    colour: str
    texture: str
    radius: float
    rod: float = 0.0
    limbs: tuple[Limb, ...] = ()

    @property
    def mass(self) -> float:
        """Its area in square pixels: all bodies are as dense as each other."""
        return self.shape.area * self.radius**2


@dataclasses.dataclass(frozen=True)
class LimbTrack:
    """The way of a limb's joint in the world, its angle and, as a `Track` has it, its stretch."""

    position: Float[np.ndarray, "t 2"]
    angle: Float[np.ndarray, "t"]
    stretch: Float[np.ndarray, "t 2"] | None = None


@dataclasses.dataclass(frozen=True)
class Track:
    """One body's way in the world: position, velocity `[t, 2]`, angle `[t]`.

    `stretch`, where given, is how much wider and higher than itself, in its own axes, the
    body is drawn in each frame. No law does that: it is there for clips that are wrong on
    purpose, and the flow knows nothing of it. `limbs` are a figure's, one for each limb of its
    body; its own position is the hips', its angle the trunk's.
    """

    position: Float[np.ndarray, "t 2"]
    velocity: Float[np.ndarray, "t 2"]
    angle: Float[np.ndarray, "t"]
    rod: float = 0.0
    stretch: Float[np.ndarray, "t 2"] | None = None
    limbs: tuple[LimbTrack, ...] = ()


@dataclasses.dataclass(frozen=True)
class Solid:
    """A half-plane that is drawn as ground or wall: `(p - point) . outward < 0`."""

    point: tuple[float, float]
    outward: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that is true of a clip before it is drawn.

    World and image coordinates agree in the middle of the clip:
    `image = world - camera`.
    """

    kind: str
    bodies: tuple[Body, ...]
    tracks: tuple[Track, ...]
    camera: Float[np.ndarray, "t 2"]
    solids: tuple[Solid, ...]
    laws: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Stage:
    """The frame a motion is fitted into, and the source of chance."""

    rng: np.random.Generator
    frames: int
    height: int
    width: int

    @property
    def side(self) -> int:
        return min(self.height, self.width)

    @property
    def last(self) -> int:
        return self.frames - 1

    @property
    def event(self) -> int:
        return min(self.last, LONGEST_EVENT)

    @property
    def times(self) -> Float[np.ndarray, "t"]:
        return np.arange(self.frames, dtype=np.float64)

    @property
    def fine_times(self) -> Float[np.ndarray, "s"]:
        """`SUBSTEPS` a frame, from the first frame to the last."""
        return np.arange(self.last * SUBSTEPS + 1) / SUBSTEPS

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def sign(self) -> float:
        return 1.0 if self.rng.random() < 0.5 else -1.0

    def room(self, body: Body, part: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Corners of where a centre may be with `part` of its radius in the frame."""
        edge = min(part * body.radius, 0.49 * self.side)
        return np.full(2, edge), np.array([self.width, self.height]) - 1 - edge
