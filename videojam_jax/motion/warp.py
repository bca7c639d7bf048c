"""Backward warping, and where it cannot be right.

Flow leads from a pixel of frame `a` to where that pixel is in frame `b`. So `b`,
looked up at the ends of the flow, shows `a` again, except where what `a` shows is
hidden in `b` or has left the picture.

NumPy and JAX arrays alike; leading axes are batch axes under `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

Array = jax.Array | np.ndarray


def backward_warp(
    frame: Float[Array, "h w c"], flow: Float[Array, "h w 2"]
) -> Float[Array, "h w c"]:
    """`frame` at `x + flow(x)`, bilinear; beyond the border the border's pixels repeat.

    Args:
      frame: of any number of channels, floating.
      flow: `(u, v)` in pixels, from the frame to be shown to `frame`.
    """
    xp = jnp if isinstance(frame, jax.Array) else np
    height, width = frame.shape[:2]
    x, y = _ends(flow, xp)
    x, y = xp.clip(x, 0, width - 1), xp.clip(y, 0, height - 1)
    left, top = (xp.floor(z).astype(xp.int32) for z in (x, y))
    right, bottom = xp.minimum(left + 1, width - 1), xp.minimum(top + 1, height - 1)
    to_right, to_bottom = (x - left)[..., None], (y - top)[..., None]
    upper = frame[top, left] * (1 - to_right) + frame[top, right] * to_right
    lower = frame[bottom, left] * (1 - to_right) + frame[bottom, right] * to_right
    return (upper * (1 - to_bottom) + lower * to_bottom).astype(frame.dtype)


def occlusion(
    forward: Float[Array, "h w 2"],
    backward: Float[Array, "h w 2"],
    relative: float = 0.01,
    absolute: float = 0.5,
) -> Bool[Array, "h w"]:
    """Pixels of frame `a` that frame `b` does not show, by going there and back.

    With `f` the flow of a pixel and `g` the backward flow where it arrives, a seen
    pixel returns to its place, `f + g = 0`. It counts as hidden where
    `|f + g|^2 >= relative (|f|^2 + |g|^2) + absolute` (Sundaram, Brox and Keutzer
    2010, with their constants), or where it leaves the picture.

    Args:
      forward: flow from `a` to `b`.
      backward: flow from `b` to `a`.
      relative, absolute: the tolerance, of the squared lengths and in square pixels.
    """
    xp = jnp if isinstance(forward, jax.Array) else np
    height, width = forward.shape[:2]
    x, y = _ends(forward, xp)
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    back = backward_warp(backward, forward)
    away = ((forward + back) ** 2).sum(-1)
    allowed = relative * ((forward**2).sum(-1) + (back**2).sum(-1)) + absolute
    return outside | (away >= allowed)


def _ends(flow: Float[Array, "h w 2"], xp) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Where each pixel's flow ends, `(x, y)`."""
    height, width = flow.shape[:2]
    y, x = xp.meshgrid(
        xp.arange(height, dtype=flow.dtype), xp.arange(width, dtype=flow.dtype), indexing="ij"
    )
    return x + flow[..., 0], y + flow[..., 1]
