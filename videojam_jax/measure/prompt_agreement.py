"""Does a clip show what its caption says?"""

import functools

import numpy as np
from jaxtyping import Float

from videojam_jax.data.scenes import ALONE
from videojam_jax.data.shapes import FIGURE, SHAPES, WHEEL
from videojam_jax.measure.gait import legs_alternate
from videojam_jax.measure.prompt import Prompt
from videojam_jax.measure.shades import Shades
from videojam_jax.measure.tracked import QUANTILES, Body, Tracked
from videojam_jax.measure.trajectory import TRAVEL, travels
from videojam_jax.measure.turning import steady_turn, turns_of

# Radius, of a disc of its area, of a body whose shape can be told, pixels.
RESOLVED = 4.5
CLEAR = 0.97  # visible share of a body whose shape is read
LASTING = 0.5  # share of the frames in which a body that is told of is there
# Of the frame's shorter side: a turn of a way, a fall of a slope, a pan of the camera.
TURN, DESCENT, PAN = 0.02, 0.01, 0.05
TOUCH = 0.1
POSED = 0.5  # of a measure of poses: what does as the verb says
# Least radius that holds 96 % of a figure, of that of a disc of its area: figures have 1.65 and
# more, and of the five shapes the star has most, 1.39.
LANKY = 1.5


def prompt_agreement(tracked: Tracked, prompt: Prompt, shades: Shades | None = None) -> float:
    """The share of what the caption says that is so in the clip.

    Args:
      tracked: the bodies of the clip.
      prompt: what its caption says.
      shades: of the largest body, for captions that tell of a figure or a wheel.

    Its statements, each worth the same:
    - how many bodies there are: `1 - |seen - said| / max(seen, said)`;
    - of each body, its colour: there is a body of that colour in at least half of the frames
      that do not hide it;
    - of each body, its shape: the one of the five whose radial profile is nearest to the
      body's median. Left out where no frame shows the body nearly whole or where it is
      smaller than a disc of a radius of 4.5 pixels. A wheel is a disc, and a figure is what
      reaches further than any of the five;
    - their motion: the share of the named bodies that do as the verb says. Falling ends at
      least 1/10 of the frame's shorter side below its start. Bouncing and swinging go down
      and up again. Rolling goes 1/10 of the side along, down a slope if said. Drifting goes
      1/10 of the side. Colliding bodies come together; before a wall a body turns round. A
      wheel has a steady turn of at least 0.5, and its axle stays within 1/10 of the side.
      Walking and jogging, which are not told apart, go 1/10 of the side along with legs that
      alternate by at least 0.5, and do not turn over. Jumping goes 1/10 of the side up and down
      again. A cartwheel goes as far along, with a steady turn of at least 0.5 that way;
    - "to the left", "to the right": the share of the named bodies that go there; of a wheel,
      which way it turns;
    - the camera's pan, or that it stands: by at least 5 % of the side. Left out where the
      background is too plain to show it.

    From 0 to 1; 1 is ideal, and a clip without a body has 0. It sees reverse ("falls", "to
    the left", "down a slope", the pan), shuffle and freeze (what stands does not do it), and
    of vanish and deform only what is strong: bodies that are there in less than half of the
    frames, shapes that are others. It is blind to jitter.
    """
    if not tracked.bodies:
        return 0.0
    lasting = [body for body in tracked.bodies if _lasts(body)]
    said, seen = len(prompt.names), len(lasting)
    statements = [1 - abs(seen - said) / max(seen, said)]
    named: list[Body | None] = []
    for colour, shape in prompt.names:
        body = next((body for body in lasting if body.colour == colour), None)
        if body is None:
            statements += [0.0, 0.0]
        else:
            lasting.remove(body)
            fits = _fits(body, shape)
            statements += [1.0] + ([] if fits is None else [float(fits)])
        named.append(body)
    found = [body for body in named if body is not None]
    if prompt.kind in ALONE:
        pose = shades if shades and found == [tracked.bodies[0]] else None
        statements.append(float(pose is not None and _poses(tracked, prompt, found[0], pose)))
    else:
        statements.append(sum(_does(tracked, prompt, body, found) for body in found) / said)
    if prompt.kind == "wheel":
        statements.append(float(pose is not None and _sense(pose, found[0]) == prompt.direction))
    elif prompt.direction:
        gone = [_way(tracked, body)[0] * prompt.direction for body in found]
        statements.append(sum(way >= TRAVEL * tracked.side for way in gone) / said)
    if tracked.camera is not None:
        pan = tracked.camera * (tracked.frames - 1) / tracked.side
        if any(prompt.pan):
            statements.append(float(pan @ np.array(prompt.pan) >= PAN))
        else:
            statements.append(float(np.abs(pan).max() < PAN))
    return float(np.mean(statements))


def _lasts(body: Body) -> bool:
    return bool(body.seen.sum() >= LASTING * (body.seen | body.missing).sum())


def _way(tracked: Tracked, body: Body) -> Float[np.ndarray, "2"]:
    """From its first place on the background to its last."""
    path = tracked.path(body)[body.seen]
    return path[-1] - path[0]


def _turns(line: Float[np.ndarray, "n"], least: float) -> bool:
    """Whether it grows by `least` and then gets smaller by as much."""
    before = line - np.minimum.accumulate(line)
    after = line - np.minimum.accumulate(line[::-1])[::-1]
    return bool((np.minimum(before, after) >= least).any())


def _does(tracked: Tracked, prompt: Prompt, body: Body, found: list[Body]) -> bool:
    """Whether a body does what the caption's verb says."""
    side = tracked.side
    path = tracked.path(body)[body.seen]
    way = _way(tracked, body)
    match prompt.kind:
        case "fall":
            return bool(way[1] >= TRAVEL * side)
        case "bounce" | "swing":
            return travels(tracked, body) and _turns(path[:, 1], TURN * side)
        case "roll":
            level = way[1] >= DESCENT * side if prompt.slope else abs(way[1]) <= TRAVEL * side
            return bool(abs(way[0]) >= TRAVEL * side and level)
        case "collide" if len(prompt.names) > 1:
            others = [other for other in found if other is not body]
            return any(_meet(body, other, TOUCH * side) for other in others)
        case "collide":
            return _turns(path[:, 0], TURN * side) or _turns(-path[:, 0], TURN * side)
        case _:
            return travels(tracked, body)


def _sense(shades: Shades, body: Body) -> int:
    """1 where a body turns clockwise in most of its steps, -1 against it, 0 where in neither."""
    turns = turns_of(shades, body)
    return int(np.sign(np.median(turns[np.isfinite(turns)]))) if np.isfinite(turns).any() else 0


def _poses(tracked: Tracked, prompt: Prompt, body: Body, shades: Shades) -> bool:
    """Whether a figure or a wheel does what the caption's verb says."""
    far = TRAVEL * tracked.side
    across, down = _way(tracked, body)
    match prompt.kind:
        case "wheel":
            return not travels(tracked, body) and steady_turn(shades, body) >= POSED
        case "jump":
            return _turns(-tracked.path(body)[body.seen][:, 1], far)
        case "cartwheel":
            turns = steady_turn(shades, body) >= POSED
            return bool(abs(across) >= far and turns and _sense(shades, body) == np.sign(across))
        case _:
            upright = abs(across) >= far >= abs(down) and steady_turn(shades, body) < POSED
            return bool(upright and legs_alternate(shades, body) >= POSED)


def _meet(first: Body, second: Body, apart: float) -> bool:
    """Whether the circles around two bodies come within `apart` of each other."""
    both = first.seen & second.seen
    distance = np.linalg.norm(first.centre - second.centre, axis=1)[both]
    reach = sum(float(np.median(body.profile[body.seen, -1])) * body.radius
                for body in (first, second))  # fmt: skip
    return bool(distance.min(initial=np.inf) <= reach + apart)


def _fits(body: Body, shape: str) -> bool | None:
    """Whether a body is of the shape that is said; None where it cannot be told."""
    seems = shape_of(body)
    if seems is None:
        return None
    if shape == FIGURE.name:
        return float(np.median(body.profile[body.seen, -1])) >= LANKY
    return seems == ("disc" if shape == WHEEL.name else shape)


def shape_of(body: Body) -> str | None:
    """The shape whose radial profile is nearest to the body's; None where it cannot be told."""
    clear = body.seen & (body.share >= CLEAR)
    if not clear.any() or body.radius < RESOLVED:
        return None
    profile = np.median(body.profile[clear], axis=0)
    return min(SHAPES, key=lambda name: float(np.abs(_profiles()[name] - profile).sum()))


@functools.cache
def _profiles() -> dict[str, Float[np.ndarray, "q"]]:
    """`Body.profile` of each shape, from its signed distance."""
    axis = np.linspace(-1, 1, 401, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    radius = np.hypot(x, y)
    profiles = {}
    for name, shape in SHAPES.items():
        inside = shape.distance(x, y) < 0
        profiles[name] = np.quantile(radius[inside], QUANTILES) / np.sqrt(shape.area / np.pi)
    return profiles
