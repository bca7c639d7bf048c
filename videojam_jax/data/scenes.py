"""Which bodies a simulated clip shows, and how they move: one function a kind.

Sizes and speeds follow from the frame's shorter side and the number of frames,
so that a clip of any size shows a whole, plainly visible motion.

All kinds stand in one file, since they share the stage and the cast and are read side by side.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from videojam_jax.data import figures, physics
from videojam_jax.data.shapes import FIGURE, SHAPES, WHEEL, Shape

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
    limbs: tuple[figures.Limb, ...] = ()

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
class _Stage:
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

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def sign(self) -> float:
        return 1.0 if self.rng.random() < 0.5 else -1.0

    def room(self, body: Body, part: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Corners of where a centre may be with `part` of its radius in the frame."""
        edge = min(part * body.radius, 0.49 * self.side)
        return np.full(2, edge), np.array([self.width, self.height]) - 1 - edge


def _crossing(stage: _Stage, bodies: tuple[Body, ...], reach: float) -> list[tuple[float, float]]:
    """First and last x of each body: a lane each, ended in another's lane."""
    ends = []
    count = len(bodies)
    lanes = stage.rng.permutation(count)
    for i, body in enumerate(bodies):
        (low, _), (high, _) = stage.room(body)
        if count == 1:
            start = stage.between(low, high)
            end = start + stage.between(-reach, reach) * stage.width
        else:
            start = (i + stage.between(0.3, 0.7)) / count * stage.width
            end = (lanes[i] + stage.between(0.3, 0.7)) / count * stage.width
        ends.append((float(np.clip(start, low, high)), float(np.clip(end, low, high))))
    return ends


def _turning(stage: _Stage, most: float) -> Float[np.ndarray, "t"]:
    """Angles of a constant spin by at most `most` radians in the whole clip."""
    rate = stage.between(-most, most) / stage.last
    return stage.between(0, 2 * math.pi) + rate * stage.times


def _fall(stage: _Stage, bodies: tuple[Body, ...]):
    last = stage.last
    gravity = 0.0
    tracks = []
    for body, (x0, x1) in zip(bodies, _crossing(stage, bodies, 0.35), strict=True):
        (_, low), (_, high) = stage.room(body)
        y0 = low + stage.between(0, 0.15) * (high - low)
        y1 = high - stage.between(0, 0.15) * (high - low)
        if not tracks:  # the first body's fall sets the gravity of all
            gravity = 2 * stage.between(0.6, 0.9) * (y1 - y0) / last**2
        start = np.array([x0, y0])
        velocity = np.array([(x1 - x0) / last, (y1 - y0) / last - 0.5 * gravity * last])
        position, velocity = physics.flight(start, velocity, gravity, stage.times)
        tracks.append(Track(position, velocity, _turning(stage, 1.5)))
    return tracks, (), {"gravity": gravity}


def _bounce(stage: _Stage, bodies: tuple[Body, ...]):
    ground = stage.between(0.8, 0.9) * stage.height
    restitution = stage.between(0.65, 0.9)
    gravity = 0.0
    tracks = []
    for body, (x0, x1) in zip(bodies, _crossing(stage, bodies, 0.3), strict=True):
        rest = ground - body.shape.below * body.radius
        height = stage.between(0.5, 0.95) * max(rest - 0.8 * body.radius, 0.1 * stage.side)
        if not tracks:
            falling = max(
                stage.between(0.35, 0.6) * stage.event, height * stage.event / (0.65 * stage.side)
            )
            gravity = 2 * height / falling**2
            up = 0.0
        else:
            up = stage.between(-0.3, 0.3) * math.sqrt(2 * gravity * height)
        heights, speeds = physics.bouncing(height, up, gravity, restitution, stage.times)
        across = (x1 - x0) / stage.last
        tracks.append(
            Track(
                np.stack([x0 + across * stage.times, rest - heights], -1),
                np.stack([np.full(stage.frames, across), -speeds], -1),
                # A body with corners stays upright, so that it meets the ground with its foot.
                _turning(stage, 2.0) if body.shape.round else np.zeros(stage.frames),
            )
        )
    solid = Solid((0.0, ground), (0.0, -1.0))
    return tracks, (solid,), {"gravity": gravity, "restitution": restitution, "ground": ground}


def _roll(stage: _Stage, bodies: tuple[Body, ...]):
    direction = stage.sign()
    slope = math.radians(stage.between(6, 16)) if stage.rng.random() < 0.6 else 0.0
    ground = stage.between(0.72, 0.85) * stage.height
    along = np.array([direction * math.cos(slope), math.sin(slope)])
    up = np.array([direction * math.sin(slope), -math.cos(slope)])
    middle = np.array([stage.width / 2, ground])
    gravity = 0.0
    tracks = []
    for body in bodies:
        free = (stage.width - 1 - 1.8 * body.radius) / math.cos(slope)
        # One behind the other, so that faster ones overtake.
        start = (stage.between(0, 0.2) + 0.4 * len(tracks) / len(bodies) - 0.5) * free
        way = stage.between(0.5 if tracks else 0.8, 1.0) * (0.5 * free - start)
        inertia = body.shape.inertia
        if not tracks and slope:
            share = stage.between(0.4, 0.7)
            pull = 2 * share * way / stage.last**2
            gravity = pull * (1 + inertia) / math.sin(slope)
        pull = physics.rolling_acceleration(gravity, slope, inertia)
        # A body that starts further on still rolls forwards from the start.
        speed = max(way / stage.last - 0.5 * pull * stage.last, 0.15 * way / stage.last)
        gone, speeds, turned = physics.rolling(speed, pull, body.radius, stage.times)
        centre = middle + up * body.radius
        tracks.append(
            Track(
                centre + (start + gone)[:, None] * along,
                speeds[:, None] * along,
                stage.between(0, 2 * math.pi) + direction * turned,
            )
        )
    laws = {"gravity": gravity, "slope": slope, "direction": direction, "ground": ground}
    return tracks, (Solid(tuple(middle), tuple(up)),), laws


def _collide(stage: _Stage, bodies: tuple[Body, ...]):
    """One body meets a wall, or the first body meets the second, elastically."""
    wall = len(bodies) == 1
    meeting = stage.between(0.4, 0.6) * stage.last
    heading = 0.0 if stage.sign() > 0 else math.pi
    heading += 0.0 if wall else stage.between(-0.5, 0.5)
    normal = np.array([math.cos(heading), math.sin(heading)])
    across = np.array([-normal[1], normal[0]])
    reach = [body.shape.ahead * body.radius for body in bodies]
    centre = np.array([stage.width - 1, stage.height - 1]) / 2
    if wall:
        touch = centre + normal * stage.between(0.34, 0.42) * stage.width
        touch += across * stage.between(-0.15, 0.15) * stage.height
        contacts, masses = [touch - normal * reach[0]], (bodies[0].mass, math.inf)
        before = [normal + across * stage.between(-0.5, 0.5)]
        after = [physics.collision(masses, before[0], np.zeros(2), normal, 1.0)[0]]
    else:
        # The pair as a whole is centred; the first body goes through more than half of the frame.
        touch = centre + normal * 0.5 * (reach[0] - reach[1]) + stage.between(-0.05, 0.05) * across
        contacts = [touch - normal * reach[0], touch + normal * reach[1]]
        masses = (bodies[0].mass, bodies[1].mass)
        both = stage.between(-0.2, 0.2) * across
        first, second = normal + both, both.copy()
        if stage.rng.random() < 0.5:
            second = second - stage.between(0.3, 0.9) * normal
        if all(body.shape.round for body in bodies):  # smooth discs may also meet off centre
            first = first + stage.between(-0.4, 0.4) * across
        before = [first, second]
        after = list(physics.collision(masses, first, second, normal, 1.0))
    # One factor on all speeds keeps the laws: as fast as the frame allows.
    fastest = stage.side / stage.event * (0.55 if wall else 0.5)
    for body, place, v0, v1 in zip(bodies, contacts, before, after, strict=True):
        low, high = stage.room(body, 0.75)
        for way in (-v0 * meeting, v1 * (stage.last - meeting)):
            for axis in range(2):
                space = (high if way[axis] > 0 else low)[axis] - place[axis]
                if abs(way[axis]) > 1e-9:
                    fastest = min(fastest, max(space / way[axis], 0.1))
    fastest *= stage.between(0.9, 1.0)
    tracks = []
    t = (stage.times - meeting)[:, None]
    for i, body in enumerate(bodies):
        velocity = fastest * np.where(t < 0, before[i], after[i])
        facing = heading + body.shape.facing + (math.pi if i else 0.0)
        angle = _turning(stage, 2.0) if body.shape.round else np.full(stage.frames, facing)
        tracks.append(Track(contacts[i] + velocity * t, velocity, angle))
    solids = (Solid(tuple(touch), tuple(-normal)),) if wall else ()
    return tracks, solids, {"restitution": 1.0, "meeting": meeting}


def _swing(stage: _Stage, bodies: tuple[Body, ...]):
    gravity = 0.0
    tracks = []
    for i, body in enumerate(bodies):
        # Pivots share the middle half, so that pendulums pass before each other.
        lane = 0.25 + 0.5 * (i + 0.5) / len(bodies) + stage.between(-0.06, 0.06)
        pivot = np.array([lane * stage.width, stage.between(-0.06, 0.06) * stage.height])
        room = stage.height - pivot[1] - 0.9 * body.radius
        rod = min(stage.between(0.5, 0.75) * stage.height, room)
        side = min(pivot[0], stage.width - pivot[0]) - 0.6 * body.radius
        widest = math.asin(min(max(side, 0.25 * stage.side) / rod, 0.85))
        swing = min(math.radians(stage.between(30, 55)), widest)
        if not tracks:
            period = stage.between(1.7, 2.4) * stage.event
            gravity = rod * (2 * math.pi / period) ** 2
        # Released at `swing` some time ago, now on the way: energy gives the rate.
        angle = stage.between(0.6, 1.0) * swing
        rate = -math.sqrt(2 * gravity / rod * (math.cos(angle) - math.cos(swing)))
        sign = stage.sign()
        angles, rates = physics.pendulum(sign * angle, sign * rate, gravity, rod, stage.times)
        sine, cosine = np.sin(angles), np.cos(angles)
        tracks.append(
            Track(
                pivot + rod * np.stack([sine, cosine], -1),
                (rod * rates)[:, None] * np.stack([cosine, -sine], -1),
                -angles,
                rod,
            )
        )
    return tracks, (), {"gravity": gravity}


def _spin(stage: _Stage, bodies: tuple[Body, ...]):
    """Free bodies: constant spin and constant drift."""
    tracks: list[Track] = []
    for body in bodies:
        low, high = stage.room(body)
        best, start, end = -math.inf, low, high
        for _ in range(8):
            a, b = (low + (high - low) * stage.rng.random(2) for _ in range(2))
            # About half of the frame to go, begun apart from the others.
            miss = abs(float(np.hypot(*(b - a))) - 0.45 * stage.side)
            apart = min(
                (float(np.hypot(*(a - other.position[0]))) for other in tracks), default=0.0
            )
            if apart - miss > best:
                best, start, end = apart - miss, a, b
        velocity = (end - start) / stage.last
        angle = stage.between(0, 2 * math.pi)
        angle = angle + stage.sign() * stage.between(0.12, 0.35) * stage.times
        position, velocity = physics.flight(start, velocity, 0.0, stage.times)
        tracks.append(Track(position, velocity, angle))
    return tracks, (), {}


def _wheel(stage: _Stage, bodies: tuple[Body, ...]):
    """A wheel turns about an axle that stands."""
    direction = stage.sign()
    rate = direction * stage.between(0.14, 0.4)
    (body,) = bodies
    low, high = stage.room(body, 1.0)
    place = low + (high - low) * (0.15 + 0.7 * stage.rng.random(2))
    angle = stage.between(0, 2 * math.pi) + rate * stage.times
    track = Track(np.tile(place, (stage.frames, 1)), np.zeros((stage.frames, 2)), angle)
    return [track], (), {"direction": direction, "rate": rate}


def figure_track(
    stage_times: Float[np.ndarray, "s"],
    pose: figures.Pose,
    hips: Float[np.ndarray, "s 2"],
    height: float,
    direction: float,
) -> Track:
    """A figure of `height` pixels from its pose and its hips' way at close times.

    `stage_times` are the times, in frames, of pose and hips; of those that are whole numbers
    the frames are made. A figure of direction -1 faces left.
    """
    mirror = np.array([direction, 1.0])
    whole = slice(None, None, figures.SUBSTEPS)
    velocity = np.gradient(hips, stage_times, axis=0)
    limbs = tuple(
        # Drawn angles are clockwise on the screen, a figure's are against it.
        LimbTrack((hips + height * joint * mirror)[whole], -direction * angle[whole])
        for joint, angle in figures.limb_places(pose)
    )
    return Track(
        hips[whole], velocity[whole], direction * pose.trunk[whole], limbs=limbs
    )


def _fine(stage: _Stage) -> Float[np.ndarray, "s"]:
    return np.arange(stage.last * figures.SUBSTEPS + 1) / figures.SUBSTEPS


def _crosses(
    stage: _Stage, hips: Float[np.ndarray, "s 2"], reach: float, direction: float
) -> Float[np.ndarray, "s 2"]:
    """The hips' way, mirrored for its direction and put where it fits across the frame."""
    hips = hips * np.array([direction, 1.0])
    low, high = hips[:, 0].min() - reach, hips[:, 0].max() + reach
    free = stage.width - 1 - (high - low)
    start = stage.between(min(free, 0.0), max(free, 0.0)) if free < 0 else free * stage.rng.random()
    return hips + np.array([start - low, 0.0])


def _go(stage: _Stage, bodies: tuple[Body, ...], jog: bool):
    """A figure on its feet: the leg that stands does not slip."""
    (body,), direction, times = bodies, stage.sign(), _fine(stage)
    height, ground = 2 * body.radius, stage.between(0.86, 0.95) * stage.height
    if jog:
        steps, swing, knee, arms, lean = stage.between(2.0, 2.6), 0.54, 1.5, 0.75, 0.22
    else:
        steps, swing, knee, arms, lean = stage.between(1.7, 2.3), 0.42, 0.6, 0.40, 0.04
    swing *= stage.between(0.85, 1.0)
    # A clip of many frames shows more steps, each as long as in a short one.
    rate = math.pi * steps / stage.event
    phase = stage.between(0, 2 * math.pi) + rate * times
    pose = figures.gait(phase, swing, knee, arms, lean)
    # The leg that goes backwards carries; the other passes it with its knee bent.
    hips = height * figures.planted(figures.tips(pose)[2:], np.where(np.cos(phase) < 0, 0, 1))
    hips = _crosses(stage, hips, 0.2 * height, direction)
    hips[:, 1] += ground - height * LIMB_END
    track = figure_track(times, pose, hips, height, direction)
    laws = {"ground": ground, "direction": direction, "phase": phase[0], "rate": rate}
    return [track], (Solid((0.0, ground), (0.0, -1.0)),), laws


def _walk(stage: _Stage, bodies: tuple[Body, ...]):
    return _go(stage, bodies, jog=False)


def _jog(stage: _Stage, bodies: tuple[Body, ...]):
    return _go(stage, bodies, jog=True)


def _jump(stage: _Stage, bodies: tuple[Body, ...]):
    """A figure squats, flies on a parabola and lands."""
    (body,), direction, times = bodies, stage.sign(), _fine(stage)
    height, ground = 2 * body.radius, stage.between(0.86, 0.95) * stage.height
    off = stage.between(0.18, 0.28) * stage.event
    down = stage.between(0.75, 0.85) * stage.event
    air = np.clip((times - off) / (down - off), 0, 1)
    # A squat before it leaves the ground and after it is back, legs drawn up in between.
    before = np.sin(np.pi * np.clip(times / off, 0, 1))
    after = np.sin(np.pi * np.clip((times - down) / (0.2 * stage.event), 0, 1))
    amount = 0.75 * before + 0.85 * np.sin(np.pi * air) + 0.75 * after
    raised = 2.4 * np.sin(np.pi * np.clip((times - 0.6 * off) / (down - 0.6 * off), 0, 1)) ** 2
    pose = figures.squat(amount, raised)
    reach = figures.tips(pose)[2:, :, 1].max(0)
    most = ground - height * (1.0 + LIMB_END)
    top = stage.between(0.6, 1.0) * max(most, 0.1 * stage.side)
    lift = 4 * top * air * (1 - air)
    # In the air it is the parabola of the feet of a figure that stands; the legs come to it.
    stand = reach[0]
    y = np.where((air > 0) & (air < 1), -stand * height - lift, -reach * height)
    wide = stage.between(0.15, 0.4) * stage.width
    hips = _crosses(stage, np.stack([wide * air, y], -1), 0.2 * height, direction)
    hips[:, 1] += ground - height * LIMB_END
    track = figure_track(times, pose, hips, height, direction)
    laws = {"ground": ground, "direction": direction, "off": off, "down": down}
    laws["gravity"] = 8 * top / (down - off) ** 2
    return [track], (Solid((0.0, ground), (0.0, -1.0)),), laws


def _cartwheel(stage: _Stage, bodies: tuple[Body, ...]):
    """A figure turns over hands and feet, each of which stands while it carries."""
    (body,), direction, times = bodies, stage.sign(), _fine(stage)
    height, ground = 2 * body.radius, stage.between(0.86, 0.95) * stage.height
    turn = stage.between(2.2, 3.0) * times / stage.event
    turn = turn + stage.between(-0.3, 0.3)
    pose = figures.cartwheel(turn)
    hips = height * figures.planted(figures.tips(pose))
    hips = _crosses(stage, hips, 0.25 * height, direction)
    hips[:, 1] += ground - height * LIMB_END
    track = figure_track(times, pose, hips, height, direction)
    laws = {"ground": ground, "direction": direction, "rate": turn[-1] / stage.last}
    return [track], (Solid((0.0, ground), (0.0, -1.0)),), laws


# How far a limb's end reaches past its joint, of the height.
LIMB_END = 0.05

KINDS = {
    "fall": _fall,
    "bounce": _bounce,
    "collide": _collide,
    "roll": _roll,
    "swing": _swing,
    "spin": _spin,
    "wheel": _wheel,
    "walk": _walk,
    "jog": _jog,
    "jump": _jump,
    "cartwheel": _cartwheel,
}
# Those that bodies of any shape show.
OF_BODIES = ("fall", "bounce", "collide", "roll", "swing", "spin")
OF_FIGURES = ("walk", "jog", "jump", "cartwheel")
# Kinds that one body shows, of a shape of its own.
ALONE = {"wheel": WHEEL, **dict.fromkeys(OF_FIGURES, FIGURE)}
# Whose captions say which way.
DIRECTED = ("roll", *ALONE)
_MOST_BODIES = {"collide": 2, **dict.fromkeys(ALONE, 1)}
# A figure's height, of the frame's shorter side: as large as leaves it room to move.
_HEIGHTS = {
    "walk": (0.66, 0.8),
    "jog": (0.54, 0.62),
    "jump": (0.48, 0.58),
    "cartwheel": (0.50, 0.56),
}


def _cast(
    kind: str, stage: _Stage, count: int, shapes: tuple[str, ...]
) -> tuple[Body, ...]:
    """Bodies of different colours, smaller where there are more of them."""
    rng = stage.rng
    names = [name for name in shapes if kind != "roll" or SHAPES[name].round]
    low, high = 0.165, 0.235
    if kind == "swing" or (kind == "collide" and count > 1):
        low, high = 0.14, 0.19  # these need room to move
    bodies = []
    for colour in rng.permutation(list(COLOURS))[:count]:
        if kind in OF_FIGURES:
            radius = 0.5 * stage.between(*_HEIGHTS[kind]) * stage.side
            bodies.append(Body(FIGURE, str(colour), "plain", radius, limbs=figures.LIMBS))
            continue
        if kind == "wheel":
            radius = stage.between(0.2, 0.3) * stage.side
            bodies.append(Body(WHEEL, str(colour), "quarters", radius))
            continue
        shape = SHAPES[names[rng.integers(len(names))]]
        radius = stage.between(low, high) * stage.side * count**-0.4
        radius = min(radius * shape.spread, 0.28 * stage.side)
        texture = TEXTURES[rng.integers(len(TEXTURES))]
        bodies.append(Body(shape, str(colour), texture, float(radius)))
    return tuple(bodies)


def _pan(stage: _Stage, fastest: float) -> Float[np.ndarray, "t 2"]:
    """The camera's place: still in half of the clips, else a constant speed along an axis.

    It goes at most 0.3 of the frame's shorter side, so that bodies stay in sight.
    """
    moves = stage.rng.random() < 0.5
    axis, sign = stage.rng.integers(2), stage.sign()
    speed = stage.between(0.4, 1.0) * fastest
    camera = np.zeros((stage.frames, 2))
    if moves and fastest > 0:
        speed = min(speed, 0.3 * stage.side / stage.last)
        camera[:, axis] = sign * speed * (stage.times - stage.last / 2)
    return camera


def make_scene(
    rng: np.random.Generator,
    kind: str,
    count: int,
    frames: int,
    height: int,
    width: int,
    pan: float,
    shapes: tuple[str, ...] = tuple(SHAPES),
) -> Scene:
    """Draw a scene of `count` bodies that move as `kind` says.

    Args:
      rng: the only source of chance.
      kind: a key of `KINDS`.
      count: number of bodies, at least 1 ("collide" shows two at most).
      frames: at least 2.
      height, width: of the image, in pixels.
      pan: the camera's greatest speed, in pixels a frame; 0 for a fixed camera.
      shapes: keys of `SHAPES` to choose from; "roll" needs a round one.
    """
    stage = _Stage(rng, frames, height, width)
    bodies = _cast(kind, stage, min(count, _MOST_BODIES.get(kind, count)), shapes)
    tracks, solids, laws = KINDS[kind](stage, bodies)
    bodies = tuple(
        dataclasses.replace(body, rod=track.rod) for body, track in zip(bodies, tracks, strict=True)
    )
    camera = _pan(stage, pan)
    if kind in OF_FIGURES:  # it follows them, so that they stay in sight
        way = laws["direction"] * np.abs(camera).max(1) * np.sign(stage.times - stage.last / 2)
        camera = np.stack([way, np.zeros(frames)], -1)
    return Scene(kind, bodies, tuple(tracks), camera, solids, laws)
