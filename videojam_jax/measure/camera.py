"""The camera's motion, from the background of a clip."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# Grey levels: a background that varies less shows no motion.
PLAIN = 3.0
# A shift counts when it leaves less than this share of the difference that no shift leaves:
# along the edge of plain ground every shift is as good as none.
BETTER = 0.8
LAG = 4  # frames between two that are compared, so that a slow pan is well above a pixel


def camera_speed(
    video: UInt8[np.ndarray, "t h w 3"], background: Bool[np.ndarray, "t h w"]
) -> Float[np.ndarray, "2"] | None:
    """The camera's constant velocity, `(x, y)` in pixels a frame.

    The shift along x or along y that turns the background of every frame into that of the
    frame `LAG` later: the whole number of pixels with the least mean difference,
    refined by a parabola.

    Args:
      video: any clip.
      background: the pixels that show neither a body nor its edge.

    Returns:
      Zero where the camera stands, and None where the background is too plain to tell, or
      is hardly seen, or there is but one frame.
    """
    frames, height, width, _ = video.shape
    lag = min(LAG, frames - 1)
    grey = video.astype(np.float32).mean(-1)
    if lag < 1 or background.mean() < 0.2 or grey[background].std() < PLAIN:
        return None
    grey = np.stack([cv2.GaussianBlur(frame, (3, 3), 0) for frame in grey])
    reach = max(2, int(0.12 * min(height, width)))
    best, speed = np.inf, np.zeros(2)
    for axis in range(2):
        costs = np.array([
            _difference(grey, background, lag, shift, axis) for shift in range(-reach, reach + 1)
        ])  # fmt: skip
        at = int(np.argmin(costs))
        if costs[at] < min(best, BETTER * costs[reach]):
            best = costs[at]
            found = float(at - reach)
            if 0 < at < 2 * reach:
                left, middle, right = costs[at - 1 : at + 2]
                bend = left - 2 * middle + right
                found += 0.5 * (left - right) / bend if bend > 0 else 0.0
            speed = np.zeros(2)
            speed[axis] = found / lag
    return speed


def _difference(
    grey: Float[np.ndarray, "t h w"],
    background: Bool[np.ndarray, "t h w"],
    lag: int,
    shift: int,
    axis: int,
) -> float:
    """Mean difference of frames `lag` apart, the camera gone by `shift` pixels."""
    size = grey.shape[2 - axis]
    later, earlier = slice(0, size - abs(shift)), slice(abs(shift), size)
    if shift < 0:
        later, earlier = earlier, later
    rows = (slice(None), earlier) if axis else (slice(None), slice(None), earlier)
    then = (slice(None), later) if axis else (slice(None), slice(None), later)
    both = background[:-lag][rows] & background[lag:][then]
    gap = (grey[:-lag][rows] - grey[lag:][then])[both]
    return float(np.abs(gap).mean()) if gap.size else np.inf
