"""Do bodies move, and as the law says that the caption names?"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from videojam_jax.measure.laws import Fit, Way, fit_law
from videojam_jax.measure.prompt import Prompt
from videojam_jax.measure.tracked import HIDDEN, Body, Tracked

TRAVEL = 0.1  # of the frame's shorter side: the least way of a body that moves
# The least step of a body that does not stand, of its mean step and of the frame's shorter side;
# a figure's middle slows down at every step of its legs.
STEP, STEP_OF_FIGURE = (0.05, 0.004), (0.02, 0.002)


def travels(tracked: Tracked, body: Body) -> bool:
    """Whether two of its places on the background are 1/10 of the shorter side apart."""
    path = tracked.path(body)[body.seen]
    ways = np.linalg.norm(path[:, None] - path[None], axis=-1)
    return bool(ways.max() >= TRAVEL * tracked.side)


def moves(tracked: Tracked, asked: int = 0, figure: bool = False) -> float:
    """The share of bodies that go anywhere, times the share of steps in which one moves.

    A body goes somewhere when two of its places on the background are 1/10 of the frame's
    shorter side apart. It moves in a step when it is seen at both ends, and its way over
    the image as well as its way over the background is more than 1/20 of its mean step and
    more than 0.4 % of the shorter side; of a figure, 1/50 and 0.2 %.

    Args:
      tracked: the bodies of the clip.
      asked: how many bodies there should be; those that there are not do not move.
      figure: whether they are to be figures.

    From 0 to 1; 1 is ideal, and a clip without a body, or one that stands still, has 0. It
    sees freeze and vanish. It is blind to jitter, shuffle, teleport and reverse, and to
    deform as long as the bodies stay large enough to be seen.
    """
    if not tracked.bodies or tracked.frames < 2:
        return 0.0
    part, share = STEP_OF_FIGURE if figure else STEP
    moving = np.zeros(tracked.frames - 1, bool)
    for body in tracked.bodies:
        steps = [
            np.linalg.norm(np.diff(places, axis=0), axis=1)
            for places in (body.centre, tracked.path(body))
        ]
        least = [max(part * step.mean(), share * tracked.side) for step in steps]
        moving |= (
            (steps[0] > least[0]) & (steps[1] > least[1]) & body.seen[1:] & body.seen[:-1]
        )
    going = sum(travels(tracked, body) for body in tracked.bodies)
    return float(moving.mean() * going / max(asked, len(tracked.bodies)))


def fit_bodies(tracked: Tracked, prompt: Prompt) -> list[Fit]:
    """The way of each body on the background, by the prompt's law.

    A frame counts by the square of the share that it shows of the body. Where the
    background does not show the camera's motion, the law may have any along the axis of the
    caption's pan.
    """
    if tracked.camera is not None:
        prompt = dataclasses.replace(prompt, pan=(0, 0))
    ways = []
    for body in tracked.bodies:
        share = np.where(body.share >= HIDDEN, body.share, 0.1 * body.share)
        ways.append(Way(tracked.path(body), np.where(body.seen, share**2, 0.0)))
    return fit_law(prompt, ways)


def judgeable(tracked: Tracked, body: Body, prompt: Prompt) -> bool:
    """Whether it goes anywhere, or need not, and is seen in three frames: less fits any law."""
    return int(body.seen.sum()) >= 3 and (prompt.stays or travels(tracked, body))


def trajectory_error(tracked: Tracked, prompt: Prompt, fits: Sequence[Fit]) -> float:
    """How far bodies are from the best way that their law allows.

    The law is the one of the caption's kind, with constants of its own for each body (see
    `laws`): free flight under a gravity of 0 or more; parabolas between contacts with level
    ground that give back no more speed than they take; a line, at constant speed or down a
    slope with a constant acceleration; a pendulum; constant velocities; constant velocities
    that change once, for all bodies at the same time; one place for a wheel; for a figure's
    middle, a line with a bob at each step, or a parabola between standing and standing. The way
    is that over the background;
    where it is too plain to show the camera's motion, the camera may pan along the caption's
    axis. The error of a body is the root mean square of its distances from the
    fit, each frame weighted by the square of the visible share, as a share of the frame's
    shorter side, at most 1. A frame in which it is missing counts as 1. A body that goes
    nowhere (see `moves`), that is seen in fewer than three frames, or that the caption
    names and the clip lacks has 1. Mean over the bodies.

    From 0, the ideal, to 1. It sees shuffle, jitter, vanish, teleport and freeze. It is
    blind to reverse but for bounces, since the other laws hold backwards too, and nearly
    blind to deform (0.04 at full strength).
    """
    errors = []
    for body, fit in zip(tracked.bodies, fits, strict=True):
        if judgeable(tracked, body, prompt):
            missing = float(body.missing.mean())
            errors.append((1 - missing) * min(fit.error / tracked.side, 1.0) + missing)
        else:
            errors.append(1.0)
    errors += [1.0] * (len(prompt.names) - len(errors))
    return float(np.mean(errors))
