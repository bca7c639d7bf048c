"""Dynamic degree: is there large motion in a clip at all?

VBench's definition (Huang et al. 2024, `vbench/dynamic_degree.py`), with any flow.
"""

import numpy as np
from jaxtyping import Float

from videojam_jax.measure.velocity import speed

SAMPLED = 8.0  # frames a second, about
FASTEST = 0.05  # the share of a frame's pixels that is looked at
THRESHOLD = 6.0 / 256  # of the frame's shorter side, a sampled frame
MOVING = 4 / 16  # of the sampled frames


def interval(fps: float) -> int:
    """Every how many frames the clip is looked at: at about 8 frames a second.

    >>> interval(24.0), interval(16.0), interval(8.0), interval(4.0)
    (3, 2, 1, 1)
    """
    return max(1, round(fps / SAMPLED))


def dynamic_degree(flow: Float[np.ndarray, "s h w 2"], fps: float) -> float:
    """1 for a clip with large motion, else 0; a motionless clip has 0.

    A pair of sampled frames passes when the mean speed of its fastest 5 % of pixels is
    above `6 min(h, w) / 256` pixels. The clip is dynamic when at least `round(4 n / 16)`
    pairs do, of its `n = s + 1` sampled frames, and at least one. Below 8 frames a
    second the threshold is larger by `8 / fps`.

    Neither value is better. Noise has large flow: read it beside the smoothness.

    Args:
      flow: between the frames `[::interval(fps)]` of the clip, in pixels.
      fps: of the clip itself.
    """
    count, height, width, _ = flow.shape
    speeds = speed(flow).reshape(count, -1)
    fastest = max(1, int(FASTEST * height * width))
    top = np.partition(speeds, -fastest, axis=1)[:, -fastest:].mean(1)
    threshold = max(1.0, SAMPLED / fps) * THRESHOLD * min(height, width)
    needed = max(1, round(MOVING * (count + 1)))
    return float(np.count_nonzero(top > threshold) >= needed)
