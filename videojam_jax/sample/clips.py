"""From latents to what a person looks at: videos, flow, and flow as colours."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from videojam_jax.models.autoencoders.pixels import to_uint8
from videojam_jax.motion.flow_rgb import rgb_to_flow
from videojam_jax.motion.latent import MotionCode


@dataclasses.dataclass(frozen=True)
class Clips:
    """Sampled clips, on the host.

    Attributes:
      videos: uint8 `[n, t, h, w, 3]`, RGB.
      flow_rgbs: the predicted motion as colours, uint8 `[n, t, h, w, 3]`, as the model
        drew it; None for a base model.
      flows: the same in pixels a frame, float32 `[n, t, h, w, 2]`; None for a base model.
    """

    videos: np.ndarray
    flow_rgbs: np.ndarray | None = None
    flows: np.ndarray | None = None


def to_clips(
    latents: Float[np.ndarray, "n t h w c"],
    motions: Float[np.ndarray, "n t h w c"] | None,
    autoencoder,
    code: MotionCode,
) -> Clips:
    """Decodes sampled video latents and, where there are any, motion latents.

    Args:
      autoencoder: the one the latents were made for; both kinds go through it.
      code: how the motion latents were made of flow.
    """
    videos = to_video(latents, autoencoder)
    if motions is None:
        return Clips(videos)
    flows, flow_rgbs = to_flow(motions, autoencoder, code)
    return Clips(videos, flow_rgbs, flows)


def to_video(
    latents: Float[np.ndarray, "n t h w c"], autoencoder
) -> UInt8[np.ndarray, "n t2 h2 w2 3"]:
    """Decodes video latents to RGB."""
    return to_uint8(_decode(latents, autoencoder))


def to_flow(
    motions: Float[np.ndarray, "n t h w c"], autoencoder, code: MotionCode
) -> tuple[Float32[np.ndarray, "n t2 h2 w2 2"], UInt8[np.ndarray, "n t2 h2 w2 3"]]:
    """Decodes motion latents to `(flow, its colours)`.

    The colours are those the model drew. The flow, in pixels a frame, is read from
    them (`flow_rgb.rgb_to_flow`), after what lies outside of [0, 1] is cut off.
    """
    decoded = _decode(code.to_encoded(motions), autoencoder)
    rgb = np.clip(decoded / 2 + 0.5, 0, 1)
    return rgb_to_flow(rgb, code.sigma).astype(np.float32), to_uint8(decoded)


@jax.jit
def _decoded(autoencoder, latent):
    """One program for all calls; the weights are given to it, not compiled into it."""
    return autoencoder.decode(latent)


def _decode(latents: np.ndarray, autoencoder) -> Float32[np.ndarray, "n t h w 3"]:
    """One clip at a time, since pixels take far more memory than latents."""
    with jax.default_matmul_precision("float32"):
        videos = [
            jax.device_get(_decoded(autoencoder, jax.device_put(one[None]))) for one in latents
        ]
    return np.concatenate(videos).astype(np.float32)
