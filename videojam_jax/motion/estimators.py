"""Optical flow of a clip, estimated on the CPU.

An estimator answers with float32 `[t - 1, h, w, 2]`: `(u, v)` in pixels from
frame i to frame i + 1, x to the right, y down. A source that knows its flow
(`Clip.flow`) needs none.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from videojam_jax.errors import UserError

DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

DIS_PRESET = "medium"

# OpenCV's DIS chooses its pyramid by the longer side. Where the shorter side is below
# 16 pixels or a fifth of the longer one, it refuses, or reads outside the image and
# brings the process down (seen in 5.0.0 for 24 x 500, say).
_SHORTEST_SIDE = 16
_LONGEST_TO_SHORTEST = 4

# The presets stop at a half or a quarter of the resolution, which is too coarse for
# small frames: on simulated clips of 64 x 64, full resolution takes the error of
# "medium" from 0.44 to 0.28 pixels (zero flow: 0.53), at four times the time.
_SMALL_FRAME = 128


def dis(
    video: UInt8[np.ndarray, "t h w 3"], preset: str = DIS_PRESET
) -> Float[np.ndarray, "s h w 2"]:
    """Dense inverse search (Kroeger et al. 2016, OpenCV) between consecutive frames.

    Runs on the calling thread alone, since `prepare` gives each thread its own clips.
    Any frame size is taken: narrow frames are widened by their own border first, and
    small frames are estimated down to their full resolution.

    Args:
      video: RGB, at least two frames.
      preset: "ultrafast", "fast" or "medium" (the best), OpenCV's own.
    """
    if preset not in DIS_PRESETS:
        known = [*DIS_PRESETS]
        raise UserError(f"config.motion.dis_preset = {preset!r} is unknown: use one of {known}")
    cv2.setNumThreads(1)
    height, width = video.shape[1:3]
    shortest = max(_SHORTEST_SIDE, -(-max(height, width) // _LONGEST_TO_SHORTEST))
    below, right = max(0, shortest - height), max(0, shortest - width)
    grey = [
        cv2.copyMakeBorder(
            cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 0, below, 0, right, cv2.BORDER_REPLICATE
        )
        for frame in video
    ]
    # One per call: it keeps buffers between its calls, which threads must not share.
    estimator = cv2.DISOpticalFlow_create(DIS_PRESETS[preset])
    if min(height, width) < _SMALL_FRAME:
        estimator.setFinestScale(0)
    flow = [estimator.calc(one, two, None) for one, two in zip(grey[:-1], grey[1:], strict=True)]
    return np.stack(flow)[:, :height, :width]
