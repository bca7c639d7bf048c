"""Momentum and energy: does velocity change only where something pushes?"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from videojam_jax.data.scenes import OF_FIGURES
from videojam_jax.measure.laws import Fit
from videojam_jax.measure.prompt import Prompt
from videojam_jax.measure.tracked import Body, Tracked
from videojam_jax.measure.trajectory import judgeable

# Of the frame's shorter side: what two bodies may be apart that touch, and what of a change
# of velocity the tracking may have made, or the limbs of a figure, which shake its middle.
TOUCH, NOISE, LIMBS = 0.08, 0.02, 0.04
SHARE = 0.6  # visible share of a body whose velocity is judged
SLACK = 0.1  # what masses and velocities, measured on pixels, may be wrong by


def velocity_jumps(tracked: Tracked, prompt: Prompt, fits: Sequence[Fit]) -> float:
    """How much of the bodies' motion is changes of velocity that nothing explains.

    For each three frames in a row that show at least 60 % of a body, the change of its
    velocity, less the change that its law makes there (gravity, the rod, a contact with
    the ground); 2 % of the frame's shorter side are allowed for the tracking, 4 % for a figure,
    whose middle its limbs shake. In a
    collision of two bodies the law explains a change only if they touch then: if the
    circles around them come within 8 % of the shorter side. The error of a body is
    `jumps / (way + jumps)`, the sums of those changes and of its law's steps. Frames in which
    it is missing, bodies that go nowhere and bodies that lack count as in `trajectory_error`.

    From 0, the ideal, to 1. It sees shuffle, jitter, vanish, teleport and freeze. It is
    blind to reverse, and to a deform as long as it moves no body's middle or hides no other.
    """
    noise = LIMBS if prompt.kind in OF_FIGURES else NOISE
    explained = prompt.kind != "collide" or len(prompt.names) < 2 or _touch(tracked, fits)
    errors = []
    for body, fit in zip(tracked.bodies, fits, strict=True):
        if not judgeable(tracked, body, prompt):
            errors.append(1.0)
            continue
        by_law = np.diff(fit.path, 2, axis=0) if explained else 0.0
        path = tracked.path(body)
        change = np.linalg.norm(np.diff(path, 2, axis=0) - by_law, axis=1)
        clear = body.seen & (body.share >= SHARE)
        three = clear[:-2] & clear[1:-1] & clear[2:]
        jumps = np.maximum(change - noise * tracked.side, 0)[three].sum()
        steps = np.linalg.norm(np.diff(fit.path, axis=0), axis=1)
        way = steps[clear[:-1] & clear[1:]].sum()
        missing = float(body.missing.mean())
        errors.append((1 - missing) * jumps / max(way + jumps, 1e-9) + missing)
    errors += [1.0] * (len(prompt.names) - len(errors))
    return float(np.mean(errors))


def _reach(body: Body) -> float:
    """Radius of the circle around it, pixels."""
    used = body.seen & (body.share >= SHARE)
    outermost = body.profile[used, -1] if used.any() else np.ones(1)
    return float(np.median(outermost)) * body.radius


def _touch(tracked: Tracked, fits: Sequence[Fit]) -> bool:
    """Whether the first two bodies are together when their velocities change."""
    if len(tracked.bodies) < 2 or fits[0].contact is None:
        return False
    first, second = tracked.bodies[:2]
    apart = np.linalg.norm(first.centre - second.centre, axis=1)
    near = np.abs(np.arange(tracked.frames) - fits[0].contact) <= 1.0
    gap = apart[near].min(initial=math.inf) - _reach(first) - _reach(second)
    # The contact is between two frames: in the nearer one they are up to half a step apart.
    step = 0.5 * np.abs(np.diff(apart)).max(initial=0)
    return bool(gap <= TOUCH * tracked.side + step)


def contact_error(tracked: Tracked, prompt: Prompt, fits: Sequence[Fit]) -> float:
    """What a contact gains of energy or loses of momentum, where the caption has a contact.

    - bounce: `1 - 1 / e^2`, the energy gained as a share of that after the bounce, for the
      restitution `e` of the best fit if that is above 1; mean over the bodies that are seen
      to bounce.
    - two bodies collide: the greater of two. Of momentum, `|m1 dv1 + m2 dv2| / (m1 |dv1| +
      m2 |dv2|)` with the changes of velocity of the fit and masses as areas. Of energy, the
      gain as a share of that after it. 10 % are allowed for masses and velocities measured
      on pixels. 1 if they do not touch when their velocities change.
    - one body meets a wall: the gain of its energy.

    A body that goes nowhere, or lacks, has 1.

    From 0, the ideal, to 1, and 1 for a clip without a body. Not a number for captions of
    other kinds, and where every body may bounce yet but none has until the last frame but
    one. It sees reverse (of bounces), jitter, vanish, teleport and freeze, and shuffle, but
    not how many frames of it. It is nearly blind to deform (0.03 at full strength).
    """
    if prompt.kind not in ("bounce", "collide"):
        return math.nan
    if len(tracked.bodies) < len(prompt.names):
        return 1.0
    good = [judgeable(tracked, body, prompt) for body in tracked.bodies]
    if prompt.kind == "bounce":
        errors = []
        for fit, moving in zip(fits, good, strict=True):
            if not moving:
                errors.append(1.0)
            elif fit.gain is not None:
                errors.append(max(0.0, 1 - 1 / fit.gain**2) if fit.gain > 1 else 0.0)
        return float(np.mean(errors)) if errors else math.nan
    if not any(good):
        return 1.0
    if len(prompt.names) > 1 and not _touch(tracked, fits):
        return 1.0
    count = len(prompt.names)
    masses = np.array([body.size for body in tracked.bodies[:count]])
    before = np.stack([fit.before for fit in fits[:count]])
    after = np.stack([fit.after for fit in fits[:count]])
    gained = _gain(masses, before, after)
    return max(gained, _lost(masses, after - before) if count > 1 else 0.0)


def _gain(
    masses: Float[np.ndarray, "k"],
    before: Float[np.ndarray, "k 2"],
    after: Float[np.ndarray, "k 2"],
) -> float:
    energies = [(masses * (v**2).sum(-1)).sum() for v in (before, after)]
    gain = (energies[1] - energies[0]) / max(energies[1], 1e-9)
    return float(np.clip((gain - SLACK) / (1 - SLACK), 0, 1))


def _lost(masses: Float[np.ndarray, "k"], change: Float[np.ndarray, "k 2"]) -> float:
    pushes = masses[:, None] * change
    both = np.linalg.norm(pushes, axis=1).sum()
    share = np.linalg.norm(pushes.sum(0)) / max(both, 1e-9)
    return float(np.clip((share - SLACK) / (1 - SLACK), 0, 1))
