"""Do bodies stay? Neither appear out of nothing nor vanish."""

import numpy as np

from videojam_jax.measure.tracked import Tracked


def body_permanence(tracked: Tracked) -> float:
    """The share of frames in which a body is seen, of those in which it should be.

    Mean over the bodies that are ever seen. A body need not be seen in a frame when it is
    excused: when, at the place on the line between where it was seen before and after (or
    straight on, at the constant speed of its last or first two steps, past the last or the
    first time), other bodies and the frame's border leave less than 40 % of it to be seen.

    From 0 to 1; 1 is ideal, and a clip without a body has 0. It sees bodies that vanish. It
    is blind to where they are and what they look like: jitter, teleport, freeze, reverse,
    shuffle, and deform as long as the bodies stay large enough to be seen.
    """
    return float(
        np.mean([body.seen.sum() / (body.seen | body.missing).sum() for body in tracked.bodies])
        if tracked.bodies
        else 0.0
    )
