"""Which bodies a simulated clip shows, and how they move: one function a kind.

Sizes and speeds follow from the frame's shorter side and the number of frames,
so that a clip of any size shows a whole, plainly visible motion.

All kinds but those of figures (`figure_motions.py`) stand in one file, since they share the
stage and the cast and are read side by side.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from videojam_jax.data import figure_motions, physics
from videojam_jax.data.figures import LIMBS
from videojam_jax.data.shapes import FIGURE, SHAPES, WHEEL
from videojam_jax.data.stage import COLOURS, TEXTURES, Body, Scene, Solid, Stage, Track


def _crossing(stage: Stage, bodies: tuple[Body, ...], reach: float) -> list[tuple[float, float]]:
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


def _turning(stage: Stage, most: float) -> Float[np.ndarray, "t"]:
    """Angles of a constant spin by at most `most` radians in the whole clip."""
    rate = stage.between(-most, most) / stage.last
    return stage.between(0, 2 * math.pi) + rate * stage.times


def _fall(stage: Stage, bodies: tuple[Body, ...]):
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


def _bounce(stage: Stage, bodies: tuple[Body, ...]):
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


def _roll(stage: Stage, bodies: tuple[Body, ...]):
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


def _collide(stage: Stage, bodies: tuple[Body, ...]):
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


def _swing(stage: Stage, bodies: tuple[Body, ...]):
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


def _spin(stage: Stage, bodies: tuple[Body, ...]):
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


def _wheel(stage: Stage, bodies: tuple[Body, ...]):
    """A wheel turns about an axle that stands."""
    direction = stage.sign()
    rate = direction * stage.between(0.14, 0.4)
    (body,) = bodies
    low, high = stage.room(body, 1.0)
    place = low + (high - low) * (0.15 + 0.7 * stage.rng.random(2))
    angle = stage.between(0, 2 * math.pi) + rate * stage.times
    track = Track(np.tile(place, (stage.frames, 1)), np.zeros((stage.frames, 2)), angle)
    return [track], (), {"direction": direction, "rate": rate}


KINDS = {
    "fall": _fall,
    "bounce": _bounce,
    "collide": _collide,
    "roll": _roll,
    "swing": _swing,
    "spin": _spin,
    "wheel": _wheel,
    **figure_motions.KINDS,
}
# Those that bodies of any shape show.
OF_BODIES = ("fall", "bounce", "collide", "roll", "swing", "spin")
OF_FIGURES = tuple(figure_motions.KINDS)
# Kinds that one body shows, of a shape of its own.
ALONE = {"wheel": WHEEL, **dict.fromkeys(OF_FIGURES, FIGURE)}
# Whose captions say which way.
DIRECTED = ("roll", *ALONE)
_MOST_BODIES = {"collide": 2, **dict.fromkeys(ALONE, 1)}


def _cast(kind: str, stage: Stage, count: int, shapes: tuple[str, ...]) -> tuple[Body, ...]:
    """Bodies of different colours, smaller where there are more of them."""
    rng = stage.rng
    names = [name for name in shapes if kind != "roll" or SHAPES[name].round]
    low, high = 0.165, 0.235
    if kind == "swing" or (kind == "collide" and count > 1):
        low, high = 0.14, 0.19  # these need room to move
    bodies = []
    for colour in rng.permutation(list(COLOURS))[:count]:
        if kind in OF_FIGURES:
            radius = 0.5 * stage.between(*figure_motions.HEIGHTS[kind]) * stage.side
            bodies.append(Body(FIGURE, str(colour), "plain", radius, limbs=LIMBS))
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


def _pan(stage: Stage, fastest: float) -> Float[np.ndarray, "t 2"]:
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
    stage = Stage(rng, frames, height, width)
    bodies = _cast(kind, stage, min(count, _MOST_BODIES.get(kind, count)), shapes)
    tracks, solids, laws = KINDS[kind](stage, bodies)
    bodies = tuple(
        dataclasses.replace(body, rod=track.rod) for body, track in zip(bodies, tracks, strict=True)
    )
    camera = _pan(stage, pan)
    if kind in OF_FIGURES:
        camera = figure_motions.following(stage, camera, tracks[0], laws["direction"])
    return Scene(kind, bodies, tuple(tracks), camera, solids, laws)
