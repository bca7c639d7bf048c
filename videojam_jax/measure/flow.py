"""What optical flow says of any clip: its flow is estimated once each way, for all measures.

Each measure's own module defines it and says what it sees and what it is blind to. On 40
simulated clips (`Options()`) with their exact flow as the prediction, by the strength of
a corruption (`measure.corruptions`; 0.25, 0.5, 1; noise has a deviation of 15, 30, 60
levels):

                  warping error          smoothness        agreement
    real          .005                   .98               .90
    shuffle       .010   .014   .018     .64   .39   .25   .57   .38   .14
    jitter        .006   .009   .014     .43   .32   .31   .44   .28   .24
    noise         .057   .110   .209     .89   .73   .52   .64   .44   .26
    deform        .005   .005   .006     .98   .97   .92   .86   .78   .61
    teleport      .005   .006   .006     .97   .97   .97   .68   .60   .57
    vanish        .005   .003   .001     .94   .96   1     .87   .81   .27
    freeze        .004   .002   0        .98   .99   1     .47   .29   0
    reverse                     .005                 .98               .12

So where bodies jump, vanish or stop, flow alone sees nothing wrong: the measures of
bodies do. All five take about 50 ms for such a clip on one core, of which 36 go to DIS.
"""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from videojam_jax.measure import agreement, dynamic, smoothness, warping
from videojam_jax.measure.measure import Measure
from videojam_jax.motion import estimators

Flow = Callable[[UInt8[np.ndarray, "t h w 3"]], Float[np.ndarray, "s h w 2"]]

# On simulated clips of 64 x 64 as exact as "medium" (0.306 and 0.304 pixels), in three
# quarters of its time.
FAST_DIS: Flow = functools.partial(estimators.dis, preset="fast")

# Smaller frames are enlarged to this shorter side before their flow is estimated: patches
# of DIS are 8 pixels wide, half a frame of 16 x 16. With it, exact flow agrees with plain
# clips of 16 x 16 by 0.76 instead of 0.67, with textured ones of 32 x 32 by 0.81, not 0.69.
SMALLEST = 64

FLOW_MEASURES: dict[str, Measure] = {
    "warping_error": Measure(
        "warping error",
        "mean difference of each frame and the next one brought back along the flow, "
        "outside occlusions, as a part of the pixels' range",
        ideal=0.0,
        worst=1.0,
    ),
    "hidden": Measure(
        "hidden pixels",
        "share of the pixels that the next frame does not show, by forward and backward flow",
        ideal=None,
        unit="%",
    ),
    "smoothness": Measure(
        "motion smoothness",
        "share of the motion, by flow, that keeps its velocity from frame to frame",
        ideal=1.0,
        worst=0.0,
    ),
    "dynamic_degree": Measure(
        "dynamic degree",
        "share of clips with large motion: VBench's threshold on the fastest 5 % of pixels",
        ideal=None,
        unit="%",
    ),
    "agreement": Measure(
        "motion agreement",
        "share of the motion on which the predicted flow and the flow measured in the clip "
        "agree",
        ideal=1.0,
        worst=0.0,
    ),
}


def measured_flow(
    video: UInt8[np.ndarray, "t h w 3"], flow: Flow = FAST_DIS
) -> Float[np.ndarray, "s h w 2"]:
    """Flow of consecutive frames in pixels of theirs; small frames are enlarged for it."""
    height, width = video.shape[1:3]
    times = math.ceil(SMALLEST / min(height, width))
    if times <= 1:
        return flow(video)
    size = (times * width, times * height)
    found = flow(np.stack([cv2.resize(f, size, interpolation=cv2.INTER_LINEAR) for f in video]))
    back = [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in found]
    return np.stack(back) / np.float32(times)


def flow_measures(
    video: UInt8[np.ndarray, "t h w 3"],
    predicted: Float[np.ndarray, "t h w 2"] | None,
    fps: float,
    flow: Flow = FAST_DIS,
) -> dict[str, float]:
    """All of `FLOW_MEASURES` for one clip.

    Every value is finite for every clip of two frames or more, but for the agreement
    of a model that predicts no motion.

    Args:
      video: RGB.
      predicted: the model's own motion, pixels a frame; None for a base model, whose
        agreement is not a number.
      fps: frames a second, above 0.
      flow: the estimator, of the signature of `estimators.dis`.

    Returns:
      From each key of `FLOW_MEASURES` to its value.
    """
    forward = measured_flow(video, flow)
    # From the last frame to the first, each flow leads from a frame to the one before.
    backward = np.ascontiguousarray(measured_flow(video[::-1], flow)[::-1])
    hidden_after = warping.hidden(forward, backward)
    hidden_before = warping.hidden(backward, forward)
    weights = warping.weights(hidden_after)
    every = dynamic.interval(fps)
    # Of a clip too short to be sampled that far apart, the first and the last frame.
    every = min(every, len(video) - 1)
    sampled = forward if every == 1 else measured_flow(video[::every], flow)
    return {
        "warping_error": warping.warping_error(warping.residual(video, forward), weights),
        "hidden": float(hidden_after.mean()),
        "smoothness": smoothness.smoothness(forward, backward, hidden_after, hidden_before),
        "dynamic_degree": dynamic.dynamic_degree(sampled, fps),
        "agreement": (
            math.nan
            if predicted is None
            else agreement.agreement(video, predicted, forward, weights)
        ),
    }
