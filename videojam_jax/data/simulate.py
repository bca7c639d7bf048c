"""Simulated clips: textured bodies under known physics, drawn from a number.

A clip is a function of `(index, options, seed)` and of nothing else.
"""

import dataclasses
import difflib
import functools

import numpy as np
from jaxtyping import Float32, UInt8

from videojam_jax.data import scenes
from videojam_jax.data.describe import describe
from videojam_jax.data.render import render
from videojam_jax.data.shapes import SHAPES
from videojam_jax.errors import UserError
from videojam_jax.keys import check, config_key

KINDS = tuple(scenes.KINDS)
SMALLEST = 16  # pixels; a body of fewer would have no shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenery:
    """What simulated clips show: motions and shapes are drawn with equal chance.

    "collide" shows at most two bodies, and a single one collides with a wall; "roll" takes the
    round shapes, so it needs a disc or a ring. A wheel and a figure have shapes of their own and
    are alone. The camera moves in half of the clips, with a figure wherever there is one; in
    clips of more than 25 frames it keeps up with figures, whatever `pan` is. Classical flow
    needs textures; plain surfaces are easier to learn, and the exact flow is exact all the same.

    Raises:
      UserError: a value that cannot be used.
    """

    kinds: tuple[str, ...] = config_key(
        scenes.OF_BODIES,
        "of motion: those of bodies, wheel, and a figure's walk, jog, jump and cartwheel",
    )
    bodies: tuple[int, int] = config_key((1, 3), "fewest and most bodies in a clip", minimum=1)
    pan: float = config_key(1.0, "fastest camera, pixels a frame; 0 fixes it", minimum=0.0)
    shapes: tuple[str, ...] = config_key(tuple(SHAPES), "of the bodies")
    texture: float = config_key(
        1.0, "contrast of the textures; 0: plain surfaces", minimum=0.0, maximum=1.0
    )

    def __post_init__(self):
        for name in ("kinds", "shapes", "bodies"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.kinds:
            raise UserError(f"simulated clips: kinds is empty; choose from {', '.join(KINDS)}")
        for kind in self.kinds:
            if kind not in KINDS:
                near = difflib.get_close_matches(str(kind), KINDS, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UserError(
                    f"simulated clips: unknown kind {kind!r}; {hint}known: {', '.join(KINDS)}"
                )
        round_ones = [name for name, shape in SHAPES.items() if shape.round]
        if not self.shapes or not set(self.shapes) <= set(SHAPES):
            raise UserError(
                f"simulated clips: shapes is {self.shapes}; choose from {', '.join(SHAPES)}"
            )
        if "roll" in self.kinds and not set(self.shapes) & set(round_ones):
            raise UserError(
                f"simulated clips: shapes is {self.shapes}, but kind 'roll' needs one of "
                f"{', '.join(round_ones)}"
            )
        if len(self.bodies) != 2 or not 1 <= self.bodies[0] <= self.bodies[1] <= len(
            scenes.COLOURS
        ):
            raise UserError(
                f"simulated clips: bodies is {self.bodies}; it must be (least, most) with "
                f"1 <= least <= most <= {len(scenes.COLOURS)}"
            )
        check(self, "config.source")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatedOptions(Scenery):
    """A data set of simulated clips, `config.source` of the name simulated."""

    clips: int = config_key(4096, "how many", minimum=1)
    seed: int = config_key(0, "of the clips", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Scenery):
    """What one simulated clip is like.

    Attributes:
      frames, height, width: at least 2 frames of 16 x 16.
      fps: frames a second, a label only: all physics is in frames.

    Raises:
      UserError: a value that cannot be used.
    """

    frames: int = 16
    height: int = 64
    width: int = 64
    fps: float = 8.0

    def __post_init__(self):
        super().__post_init__()
        if self.frames < 2:
            raise UserError(f"simulated clips: frames is {self.frames}; it must be at least 2")
        for key in ("height", "width"):
            if getattr(self, key) < SMALLEST:
                raise UserError(
                    f"simulated clips: {key} is {getattr(self, key)}; "
                    f"it must be at least {SMALLEST}"
                )
        if not self.fps > 0:
            raise UserError(f"simulated clips: fps is {self.fps}; it must be above 0")


@dataclasses.dataclass(frozen=True)
class States:
    """What is true of the bodies of a clip, in the order they are drawn in.

    Attributes:
      position: of the centres in the image, `(x, y)` in pixels; pixel
        `[row, column]` has its centre at `(column, row)`.
      velocity: in the image, pixels a frame, at the frame's instant.
      angle: radians, clockwise on the screen is positive.
      visible_area: pixels in which the body is the topmost surface.
      identity: 0 where the background shows, i + 1 where body i does.
      radius: circumradius in pixels.
      mass: area in square pixels.
      rod: length of a pendulum's rod, else 0; its pivot is at
        `position + rod * (sin(angle), -cos(angle))`.
      shapes, colours: names.
      camera: the camera's place; a place in the world is `position + camera`.
      laws: the clip's constants, such as gravity (pixels a frame squared) and
        restitution; which there are depends on the kind.
    """

    position: Float32[np.ndarray, "t k 2"]
    velocity: Float32[np.ndarray, "t k 2"]
    angle: Float32[np.ndarray, "t k"]
    visible_area: Float32[np.ndarray, "t k"]
    identity: UInt8[np.ndarray, "t h w"]
    radius: Float32[np.ndarray, "k"]
    mass: Float32[np.ndarray, "k"]
    rod: Float32[np.ndarray, "k"]
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    camera: Float32[np.ndarray, "t 2"]
    laws: dict[str, float]


@dataclasses.dataclass(frozen=True)
class SimulatedClip:
    """A clip with its ground truth; `flow` is exact for every pixel of frame i."""

    video: UInt8[np.ndarray, "t h w 3"]
    flow: Float32[np.ndarray, "t-1 h w 2"]
    caption: str
    fps: float
    kind: str
    states: States


def draw_scene(
    index: int, options: Options, seed: int = 0
) -> tuple[scenes.Scene, np.random.Generator]:
    """What clip number `index` shows, and the chance that its textures are drawn from.

    `render(rng, scene, options.height, options.width, options.texture)` draws it. The
    tracks of the scene may be changed before: the background and the textures stay as
    they are.

    Raises:
      UserError: `index` or `seed` is below 0.
    """
    for name, value in (("index", index), ("seed", seed)):
        if value < 0:
            raise UserError(f"simulated clips: {name} is {value}; it must be 0 or more")
    chance = np.random.SeedSequence(int(seed), spawn_key=(int(index),))
    rng = np.random.Generator(np.random.Philox(chance))
    kind = options.kinds[rng.integers(len(options.kinds))]
    count = int(rng.integers(options.bodies[0], options.bodies[1] + 1))
    scene = scenes.make_scene(
        rng,
        kind,
        count,
        options.frames,
        options.height,
        options.width,
        options.pan,
        options.shapes,
    )
    return scene, rng


def simulate(index: int, options: Options, seed: int = 0) -> SimulatedClip:
    """Clip number `index` of the endless data set that `options` and `seed` name.

    Args:
      index: 0 or more.
      options: see `Options`.
      seed: 0 or more.

    Raises:
      UserError: `index` or `seed` is below 0.
    """
    scene, rng = draw_scene(index, options, seed)
    drawn = render(rng, scene, options.height, options.width, options.texture)
    stack = functools.partial(np.stack, axis=1)
    bodies, tracks = scene.bodies, scene.tracks
    speed = np.gradient(scene.camera, axis=0)
    states = States(
        position=(stack([t.position for t in tracks]) - scene.camera[:, None]).astype(np.float32),
        velocity=(stack([t.velocity for t in tracks]) - speed[:, None]).astype(np.float32),
        angle=stack([t.angle for t in tracks]).astype(np.float32),
        visible_area=stack(
            [np.count_nonzero(drawn.identity == i + 1, axis=(1, 2)) for i in range(len(bodies))]
        ).astype(np.float32),
        identity=drawn.identity,
        radius=np.array([b.radius for b in bodies], np.float32),
        mass=np.array([b.mass for b in bodies], np.float32),
        rod=np.array([b.rod for b in bodies], np.float32),
        shapes=tuple(b.shape.name for b in bodies),
        colours=tuple(b.colour for b in bodies),
        camera=scene.camera.astype(np.float32),
        laws=scene.laws,
    )
    return SimulatedClip(drawn.video, drawn.flow, describe(scene), options.fps, scene.kind, states)
