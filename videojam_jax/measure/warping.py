"""Warping error: does the next frame, brought back along the flow, show this one again?

A clip in which surfaces keep their look while they move has a small one; noise, flicker
and shuffled frames have a large one, since no flow leads from one frame to the next.

Flow leads from a pixel of a frame to where that pixel is in the next. So the next frame, looked
up at the ends of the flow, shows this one again, except where what this one shows is hidden
there or has left the picture. OpenCV looks up, at places rounded to 1/32 pixel.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

# The most of a frame that may be excused as hidden. In simulated clips 6 % of a frame is
# hidden, or seems so to estimated flow; in noise it is half and more.
MOST_HIDDEN = 0.25


def hidden(
    forward: Float[np.ndarray, "s h w 2"], backward: Float[np.ndarray, "s h w 2"]
) -> Bool[np.ndarray, "s h w"]:
    """Pixels of each frame that the next one does not show, by going there and back.

    With `f` the flow of a pixel and `g` the backward flow where it arrives, a seen pixel
    returns to its place, `f + g = 0`. It counts as hidden where
    `|f + g|^2 >= 0.01 (|f|^2 + |g|^2) + 0.5` (Sundaram, Brox and Keutzer 2010, with their
    constants), or where it leaves the picture. With the two flows exchanged: pixels of each
    next frame that this one does not show.

    Args:
      forward: flow from frame i to i + 1, in pixels.
      backward: flow from frame i + 1 to i.
    """
    x, y = _ends(forward)
    _, height, width, _ = forward.shape
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    back = _look_up(backward, x, y)
    u, v = (forward[..., i] + back[..., i] for i in (0, 1))
    lengths = sum(flow[..., i] ** 2 for flow in (forward, back) for i in (0, 1))
    return outside | (u * u + v * v >= 0.01 * lengths + 0.5)


def weights(hidden: Bool[np.ndarray, "s h w"]) -> Float[np.ndarray, "s h w"]:
    """How much each pixel counts: 1 where it is seen; where it is hidden, 0 or more.

    With a share `q` of a frame hidden, its hidden pixels count `max(0, 1 - 0.25 / q)`
    each: as if a quarter of the frame were excused and no more. Else a clip without
    any order from frame to frame, most of which is "hidden", would be judged by the few
    pixels that happen to agree.
    """
    share = hidden.mean((1, 2), keepdims=True, dtype=np.float32)
    counts = 1 - MOST_HIDDEN / np.maximum(share, np.float32(MOST_HIDDEN))
    return np.where(hidden, counts, np.float32(1))


def residual(
    video: UInt8[np.ndarray, "t h w 3"], forward: Float[np.ndarray, "s h w 2"]
) -> Float[np.ndarray, "s h w"]:
    """What the flow leaves unexplained of each pixel: `|frame i + 1, warped, - frame i|`.

    Mean of the three channels, as a part of the pixels' range: in [0, 1].
    """
    frames = video.astype(np.float32) / 255
    away = np.abs(_look_up(frames[1:], *_ends(forward)) - frames[:-1])
    return (away[..., 0] + away[..., 1] + away[..., 2]) / 3


def warping_error(
    residual: Float[np.ndarray, "s h w"], weights: Float[np.ndarray, "s h w"]
) -> float:
    """Mean of the residual over what is not hidden, in [0, 1]; 0 is ideal.

    Finite for every clip: where more than a quarter of a frame is hidden, the rest of
    the hidden pixels counts as well (`weights`). A motionless clip has 0 whatever it
    shows, and a clip whose frames stand still a smaller one than when they moved:
    read it beside the dynamic degree.

    Means over 40 simulated clips (`Options()`, DIS), with a strength of 0.25, 0.5 and 1:
    real ones 0.005, shuffled 0.010, 0.014, 0.018, jittering bodies 0.006, 0.009, 0.014,
    noise of a deviation of 15, 30, 60 levels 0.057, 0.110, 0.209; noise alone 0.28. A
    body that jumps, vanishes or changes its shape does not raise it: where it was is
    hidden then, and the error small.
    """
    return float((weights * residual).sum(dtype=np.float64) / weights.sum(dtype=np.float64))


def _ends(
    flow: Float[np.ndarray, "s h w 2"],
) -> tuple[Float[np.ndarray, "s h w"], Float[np.ndarray, "s h w"]]:
    """Where each pixel's flow ends, `(x, y)`."""
    _, height, width, _ = flow.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _look_up(
    frames: Float[np.ndarray, "s h w c"],
    x: Float[np.ndarray, "s h w"],
    y: Float[np.ndarray, "s h w"],
) -> Float[np.ndarray, "s h w c"]:
    """Each frame at these places: bilinear, the border's pixels repeat."""
    found = [
        cv2.remap(*one, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for one in zip(frames, x, y, strict=True)
    ]
    return np.stack(found)
