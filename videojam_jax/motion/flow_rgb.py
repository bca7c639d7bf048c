"""Optical flow <-> RGB clip: direction as hue, speed as intensity (VideoJAM, section 4.1).

The flow of a clip becomes a second RGB clip that any image or video autoencoder
can take. With `S = sigma * sqrt(h^2 + w^2)`, the speed in pixels a frame at which
the intensity is full:

    m     = min(1, |flow| / S)
    alpha = atan2(v, u)
    rgb   = hsv_to_rgb(hue = alpha / 2 pi mod 1, saturation = 1, value = m)

so a still pixel is black, and twice the speed is twice as bright until `m = 1`.

All functions take NumPy or JAX arrays and answer in the same kind.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

Array = jax.Array | np.ndarray

SIGMA = 0.15  # VideoJAM, section 4.1


def full_speed(height: int, width: int, sigma: float = SIGMA) -> float:
    """The speed in pixels a frame that is shown at full intensity: sigma times the diagonal."""
    return sigma * math.hypot(height, width)


def flow_to_rgb(flow: Float[Array, "... h w 2"], sigma: float = SIGMA) -> Float[Array, "... h w 3"]:
    """Colours a flow field.

    Args:
      flow: `(u, v)` in pixels a frame, x to the right, y down. `h` and `w` set the
        scale of the speed, so this is the flow at the frame's own resolution.
      sigma: the speed shown at full intensity, as a part of the frame's diagonal.

    Returns:
      RGB in [0, 1]. Speeds above `full_speed` keep their direction and lose the rest.
    """
    xp = _namespace(flow)
    height, width = flow.shape[-3:-1]
    u, v = flow[..., 0], flow[..., 1]
    value = xp.minimum(1, xp.hypot(u, v) / full_speed(height, width, sigma))
    sixths = xp.arctan2(v, u) * (3 / math.pi) % 6  # the hue, in sixths of a turn
    # The corners of the RGB cube around its grey diagonal: red at 0, green at 2,
    # blue at 4; each colour is full for two sixths of a turn and falls off in one.
    red = abs(sixths - 3) - 1
    green = 2 - abs(sixths - 2)
    blue = 2 - abs(sixths - 4)
    return value[..., None] * xp.clip(xp.stack([red, green, blue], axis=-1), 0, 1)


def rgb_to_flow(rgb: Float[Array, "... h w 3"], sigma: float = SIGMA) -> Float[Array, "... h w 2"]:
    """The flow that a coloured field shows: the inverse of `flow_to_rgb` below its clipping.

    The speed is read from the chroma, `max - min`, and the direction from the hue;
    both are blind to a grey offset, which a decoder may add and a flow never has.

    An error of at most `e` in each channel moves the flow by at most
    `(1 + 2 pi / 3) e S` pixels where the smallest channel is still exact (as it is
    after rounding, since it is 0 then): `e S` in length, and in direction
    `(pi / 3) (1 + r) e S` across, `r <= 1` being the ratio of the middle channel to
    the largest. Rounding to 8 bits has `e = 1 / 510`: 0.006 S, which is 0.08 pixels
    for a frame of 64 x 64 and 0.33 for 256 x 256.

    Args:
      rgb: RGB in [0, 1]; values outside, as a decoder gives them, are taken as they are.
      sigma: as it was given to `flow_to_rgb`.

    Returns:
      `(u, v)` in pixels a frame; zero where the three channels are equal.
    """
    xp = _namespace(rgb)
    height, width = rgb.shape[-3:-1]
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    largest = xp.max(rgb, axis=-1)
    chroma = largest - xp.min(rgb, axis=-1)
    divisor = xp.where(chroma > 0, chroma, 1)
    sixths = xp.where(
        largest == red,
        (green - blue) / divisor,
        xp.where(largest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    angle = sixths * (math.pi / 3)
    direction = xp.stack([xp.cos(angle), xp.sin(angle)], axis=-1)
    return full_speed(height, width, sigma) * chroma[..., None] * direction


def repeat_last(flow: Float[Array, "... s h w 2"]) -> Float[Array, "... t h w 2"]:
    """Makes `t - 1` flows into `t` by repeating the last, one for each frame.

    Frame i then carries the flow from i to i + 1, and the last frame the flow that
    led to it.
    """
    return _namespace(flow).concatenate([flow, flow[..., -1:, :, :, :]], axis=-4)


def flow_clip(
    flow: Float[Array, "... s h w 2"], sigma: float = SIGMA
) -> Float[Array, "... t h w 3"]:
    """A clip's flow as the RGB clip, in [0, 1], that an autoencoder takes; as long as the clip."""
    return flow_to_rgb(repeat_last(flow), sigma)


def flow_clip_uint8(
    flow: Float[np.ndarray, "... s h w 2"], sigma: float = SIGMA
) -> UInt8[np.ndarray, "... t h w 3"]:
    """The same, as pixels are stored."""
    return np.round(255 * flow_clip(flow, sigma)).astype(np.uint8)


def _namespace(array: Array):
    return jnp if isinstance(array, jax.Array) else np
