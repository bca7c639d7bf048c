"""Does what turns keep its direction and its rate?"""

import cv2
import numpy as np
from jaxtyping import Float

from videojam_jax.measure.shades import Shades
from videojam_jax.measure.tracked import Body

ANGLES = 96  # places around a ring; a turn is read off between them
# A turn of more than this in a frame looks like one the other way: a wheel's quarters repeat
# after half a turn.
MOST = np.pi / 2.2
# Radians a frame: the least rate of what turns, and what of a rate the pixels may be off by.
LEAST, NOISE = 0.06, 0.02
SLACK = 0.2  # of the rate


def steady_turn(shades: Shades, body: Body) -> float:
    """How nearly a body turns in one direction, at one rate.

    The turn from each frame to the next is the one that lays the body best over itself. Those
    that differ from their median `m` by less than 20 % of it and 0.02 radians count 1, those
    that differ by `|m|` more 0; mean over the steps, where a step counts 0 if the body lacks at
    one of its ends. It is multiplied by how far the body gets in all as a share of its turns
    whatever their direction, and by `|m|` over 0.06 radians, where that is below 1.

    From 0 to 1; 1 is ideal. It sees turns back and forth, jumps of the angle, a body that does
    not turn, shuffle and freeze. It is blind to reverse and to where the body is.
    """
    turns = turns_of(shades, body)
    used = np.isfinite(turns)
    if not used.any():
        return 0.0
    rate = float(np.median(turns[used]))
    off = np.abs(turns[used] - rate) - SLACK * abs(rate) - NOISE
    steady = np.clip(1 - off / max(abs(rate), 1e-6), 0, 1)
    gone = body.missing[1:] | body.missing[:-1]
    far = abs(turns[used].sum()) / max(np.abs(turns[used]).sum(), 1e-6)
    return float(steady.sum() / (used | gone).sum() * far * min(1.0, abs(rate) / LEAST))


def turns_of(shades: Shades, body: Body) -> Float[np.ndarray, "s"]:
    """Radians from each frame to the next, clockwise on the screen; NaN where it is not seen.

    The greatest correlation of the shades on rings about the body's centre, refined by a
    parabola.
    """
    seen = np.flatnonzero(body.seen)
    outer = np.median(body.profile[seen, -1]) * body.radius
    radii = np.arange(1.0, max(float(outer), 2.0) + 0.5)[:, None]
    angles = 2 * np.pi * np.arange(ANGLES) / ANGLES
    rings = np.full((len(body.seen), 2, len(radii), ANGLES // 2 + 1), np.nan, np.complex64)
    for i in seen:
        x, y = body.centre[i]
        columns = (x + radii * np.cos(angles)).astype(np.float32)
        rows = (y + radii * np.sin(angles)).astype(np.float32)
        for channel, shade in enumerate((shades.cover, shades.bright)):
            # Times the radius: an outer ring has more pixels.
            around = cv2.remap(shade[i], columns, rows, cv2.INTER_LINEAR)
            rings[i, channel] = np.fft.rfft(around * np.sqrt(radii))
    rings[..., 0] *= 0  # the mean, which a turn leaves
    alike = np.fft.irfft((rings[:-1].conj() * rings[1:]).sum((1, 2)), ANGLES)
    half = int(MOST / (2 * np.pi) * ANGLES)
    near = np.roll(alike, half + 1, axis=-1)[:, : 2 * half + 3]  # one more on both sides
    turns = np.full(len(alike), np.nan)
    for i in np.flatnonzero(np.isfinite(near[:, 0])):
        at = 1 + int(np.argmax(near[i, 1:-1]))
        left, middle, right = near[i, at - 1 : at + 2]
        bend = left - 2 * middle + right
        turns[i] = at - half - 1 + (0.5 * (left - right) / bend if bend < 0 else 0.0)
    return turns * 2 * np.pi / ANGLES
