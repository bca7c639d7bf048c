"""Do bodies keep their size and their shape?

Both measures compare each frame of a body with the median of all its frames, leave alone
what antialiasing, a turn or a partly hidden body can change, and count a frame in which
the body is missing as 0: what is not there has no size. A body is judged in the frames
that show enough of it, or else in the two that show most of it; one that never shows 40 %
of itself in two frames is left out, and a clip that has none to judge has the worst value.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from videojam_jax.measure.tracked import HIDDEN, Body, Tracked

# Visible share that is enough to judge a body's size, and its shape.
SIZE_SHARE, SHAPE_SHARE = 0.6, 0.9
# A deviation beyond the tolerance by this much is the worst: of the logarithm of the area
# (half or double), of that of length over width, of the radial profile.
SIZE_WORST, ASPECT_WORST, PROFILE_WORST = np.log(2), 0.5, 0.15


def size_constancy(tracked: Tracked, slack: float = 0.0) -> float:
    """How nearly bodies keep their area.

    For each body and frame, `1 - (|log(area / median area)| - tolerance) / log 2`, from 0 to
    1; mean over frames, then over bodies. The tolerance is 0.12, and more where the body is
    partly hidden (0.3 of the hidden share) or small (0.1 of a pixel over its radius). `slack`
    is added to it, for a figure, whose limbs hide each other.

    From 0 to 1; 1 is ideal, and a clip without a body has 0. It sees deform and vanish. It
    is blind to jitter, teleport, freeze, reverse and shuffle.
    """

    def score(body: Body, used: Bool[np.ndarray, "t"]) -> Float[np.ndarray, "n"]:
        area = np.log(np.maximum(body.area[used], 1e-3))
        tolerance = 0.12 + 0.3 * (1 - body.share[used]) + 0.1 / max(body.radius, 1) + slack
        return _excess(area - np.median(area), tolerance, SIZE_WORST)

    return _mean(tracked, SIZE_SHARE, score)


def shape_constancy(tracked: Tracked) -> float:
    """How nearly bodies keep their outline, whatever way it is turned.

    For each body and frame, the worse of two, from 0 to 1: `1 - (|log(aspect / median
    aspect)| - tolerance) / 0.5`, where the aspect is length over width by second moments, and
    `1 - (d - tolerance) / 0.15`, where d is the mean difference from the median radial
    profile: the radii that hold 10, 25, ... 96 % of the area, as shares of the radius of a
    disc of that area. Neither depends on a turn or on the size. Mean over frames, then over
    bodies.

    From 0 to 1; 1 is ideal, and a clip without a body has 0. It sees deform and vanish. It
    is blind to jitter, teleport, freeze, reverse and shuffle.
    """

    def score(body: Body, used: Bool[np.ndarray, "t"]) -> Float[np.ndarray, "n"]:
        radius, hidden = max(body.radius, 1), 1 - body.share[used]
        aspect, profile = body.aspect[used], body.profile[used]
        apart = np.abs(profile - np.median(profile, 0)).mean(1)
        return np.minimum(
            _excess(aspect - np.median(aspect), 0.04 + 0.25 / radius + 0.6 * hidden, ASPECT_WORST),
            _excess(apart, 0.02 + 0.06 / radius + 0.2 * hidden, PROFILE_WORST),
        )

    return _mean(tracked, SHAPE_SHARE, score)


def _excess(
    deviation: Float[np.ndarray, "n"], tolerance: Float[np.ndarray, "n"], worst: float
) -> Float[np.ndarray, "n"]:
    return np.clip(1 - (np.abs(deviation) - tolerance) / worst, 0, 1)


def _mean(
    tracked: Tracked,
    share: float,
    score: Callable[[Body, Bool[np.ndarray, "t"]], Float[np.ndarray, "n"]],
) -> float:
    scores = []
    for body in tracked.bodies:
        second = np.sort(np.where(body.seen, body.share, 0))[-2:][0]
        used = body.seen & (body.share >= np.clip(second, HIDDEN, share))
        if used.sum() >= 2:
            scores.append(score(body, used).sum() / (used | body.missing).sum())
    return float(np.mean(scores)) if scores else 0.0
