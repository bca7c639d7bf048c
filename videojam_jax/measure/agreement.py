"""Does the motion that a model predicts agree with the motion in the clip it made?

The joint representation's own test: appearance and motion come out of one latent, and
should say the same. The clip's motion is measured by optical flow, which can be trusted
at edges and textures only, and there to within a pixel of place.
"""

import itertools

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from videojam_jax.measure.velocity import difference, speed

# Of the speed, beside the half pixel of `velocity.SLACK`.
RELATIVE_SLACK = 0.1


def agreement(
    video: UInt8[np.ndarray, "t h w 3"],
    predicted: Float[np.ndarray, "t h w 2"],
    measured: Float[np.ndarray, "s h w 2"],
    weights: Float[np.ndarray, "s h w"],
) -> float:
    """The share of the motion on which prediction and clip agree, in [0, 1]; 1 is ideal.

        1 - sum(w * differs) / sum(w * moves)

    over all pixels of all frames; `velocity.difference` defines `differs` and `moves`,
    with a slack of half a pixel and a tenth of the speed. Of the nine predictions
    around a pixel the one nearest to its measured velocity counts. The weight `w` is
    the steepness of the frame there (levels a pixel) plus 1, times `weights`: a plain
    surface hardly counts, its edge does.

    1 where neither moves. 0 for a model that predicts no motion for a moving clip, and
    for one that predicts motion for a still one. So noise with a prediction of no
    motion has 0; with any other, what the prediction happens to share with the flow that
    is found in the noise.

    The ideal cannot be reached, since the measured flow is not exact: motion is smeared
    around bodies, and lost where a surface is plain or spins fast. The ceiling is what
    the exact flow of simulated clips scores against DIS of their own pixels (as in
    `measure.flow`; 40 clips each; 8-bit colours of the flow change it by 0.003 at
    most), beside another clip's exact flow, and half and twice the exact flow:

                                            exact  another  half  twice
        64 x 64 x 16, as Options()           0.90   0.12    0.82   0.53
        the same, plain, fixed camera        0.69   0.07    0.60   0.30
        32 x 32 x 8, textured, one body      0.81   0.11    0.76   0.38
        16 x 16 x 6, plain, one body         0.75   0.12    0.74   0.31

    So read it beside the ceiling for clips of the same kind. It is strict about
    direction, place and too much motion; on small plain frames it cannot tell motion
    that is too slow by half.

    Args:
      video: RGB.
      predicted: flow in pixels a frame, as `flow_rgb.rgb_to_flow` gives it; the last
        frame repeats the one before and is left out. What is not a number is wrong.
      measured: estimated flow from frame i to i + 1.
      weights: of the pixels; see `warping.weights`.
    """
    w = weights * (1 + _steepness(video[:-1]))
    apart, length = _nearest(predicted[:-1], measured)
    differs, moves = difference(apart, np.maximum(length, speed(measured)), RELATIVE_SLACK)
    total = (w * moves).sum(dtype=np.float64)
    return float(1 - (w * differs).sum(dtype=np.float64) / total) if total > 0 else 1.0


def _steepness(frames: UInt8[np.ndarray, "s h w 3"]) -> Float[np.ndarray, "s h w"]:
    """Length of the gradient, of the channel in which it is longest; levels a pixel."""
    steep = []
    for frame in frames:
        across = cv2.Sobel(frame, cv2.CV_32F, 1, 0, scale=1 / 8)
        down = cv2.Sobel(frame, cv2.CV_32F, 0, 1, scale=1 / 8)
        red, green, blue = cv2.split(across * across + down * down)
        steep.append(np.sqrt(np.maximum(np.maximum(red, green), blue)))
    return np.stack(steep)


def _nearest(
    predicted: Float[np.ndarray, "s h w 2"], measured: Float[np.ndarray, "s h w 2"]
) -> tuple[Float[np.ndarray, "s h w"], Float[np.ndarray, "s h w"]]:
    """Of the nine predictions around a pixel the nearest: its distance and its length."""
    _, height, width, _ = predicted.shape
    padded = np.pad(predicted.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    # A component at a time: long contiguous rows take a fifth of the time of pairs.
    u, v = (np.ascontiguousarray(padded[..., i]) for i in (0, 1))
    wanted_u, wanted_v = (np.ascontiguousarray(measured[..., i]) for i in (0, 1))
    lengths = u * u + v * v
    best = np.full(measured.shape[:-1], np.inf, np.float32)
    length = np.zeros_like(best)
    for row, column in itertools.product(range(3), range(3)):
        here = np.s_[:, row : row + height, column : column + width]
        apart = (u[here] - wanted_u) ** 2 + (v[here] - wanted_v) ** 2
        nearer = apart < best
        np.copyto(best, apart, where=nearer)
        np.copyto(length, lengths[here], where=nearer)
    return np.sqrt(best), np.sqrt(length)
