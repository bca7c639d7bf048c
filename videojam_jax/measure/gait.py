"""Do the legs of a figure that walks take turns? The paper's own failure is the same leg twice."""

import numpy as np
from jaxtyping import Float

from videojam_jax.data.figures import FAR, NEAR
from videojam_jax.data.stage import LONGEST_EVENT
from videojam_jax.measure.shades import Shades
from videojam_jax.measure.tracked import Body

# Of the height: how much of a figure, from its feet up, is looked at, and the root mean square
# of the legs' distance, to which a gait comes at least.
LOWER, LEAST = 0.4, 0.09
# Of a figure's cover, from the top: where its height begins and ends.
ENDS = 0.01, 0.985
# Both steps in the frames of an event: a little more and less than what the simulator draws.
RATES = np.arange(0.7, 1.61, 0.05)
# Shares of the energy that count as nothing and as all.
NOTHING, ALL = 0.4, 0.92


def legs_alternate(shades: Shades, body: Body) -> float:
    """How nearly the near leg and the far leg of a figure take turns in front.

    Near limbs are bright and far ones dark, so that pixels tell which leg is which. In the
    lowest 40 % of the figure, `s(t)` is how far the bright pixels' mean is to the right of the
    dark ones', in heights of the figure; less where one of both is hardly seen. A gait makes a
    wave of it that has no offset. The share of the energy of `s` that the best of such waves
    explains (0.7 to 1.6 of them in a clip, or in 24 frames of a longer one) counts from 0 at
    40 % to 1 at 92 %; what is left is the knees' and the tracking's. It is multiplied by the
    root mean square of `s` over 0.09, where that is below 1, and by the share of the frames in
    which the figure does not lack.

    From 0 to 1; 1 is ideal. It sees the same leg twice (a wave of one sign), legs that stand,
    shuffle and freeze. It is blind to reverse and jitter, to teleport as long as the figure is
    in sight, and to which leg is first.
    """
    signal = leg_signal(shades, body)
    used = np.isfinite(signal)
    energy = float((signal[used] ** 2).sum())
    if used.sum() < 5 or energy == 0:
        return 0.0
    time = np.arange(len(signal))[used] / max(min(len(signal) - 1, LONGEST_EVENT), 1)
    angles = 2 * np.pi * RATES[:, None] * time
    waves = np.stack([np.cos(angles), np.sin(angles)], -1)
    fitted = waves @ (np.linalg.pinv(waves) @ signal[used][:, None])
    left = ((signal[used] - fitted[..., 0]) ** 2).sum(-1).min()
    share = np.clip((1 - left / energy - NOTHING) / (ALL - NOTHING), 0, 1)
    strength = min(1.0, float(np.sqrt(energy / used.sum())) / LEAST)
    return float(share * strength * (1 - body.missing.mean()))


def leg_signal(shades: Shades, body: Body) -> Float[np.ndarray, "t"]:
    """`s(t)` of `legs_alternate`; NaN where the figure is not seen."""
    frames, height, width = shades.cover.shape
    rows, columns = np.arange(height), np.arange(width)
    far, near = shades.parts(FAR, NEAR)
    ends = np.full((frames, 2), np.nan)
    for i in np.flatnonzero(body.seen):
        filled = np.cumsum(shades.cover[i].sum(1))
        if filled[-1] > 0:
            ends[i] = np.interp(np.array(ENDS) * filled[-1], filled, rows)
    seen = np.flatnonzero(np.isfinite(ends[:, 0]))
    signal = np.full(frames, np.nan)
    if not len(seen):
        return signal
    tall = max(float(np.median(ends[seen, 1] - ends[seen, 0])), 1.0)
    for i in seen:
        legs = np.clip(rows - (ends[i, 1] - LOWER * tall) + 0.5, 0, 1)
        bright, dark = legs @ near[i], legs @ far[i]
        less, more = sorted((float(bright.sum()), float(dark.sum())))
        signal[i] = 0.0
        if less > 0:
            apart = (bright @ columns) / bright.sum() - (dark @ columns) / dark.sum()
            signal[i] = apart / tall * min(1.0, 2 * less / more)
    return signal
