"""Pixels as models have them, and the autoencoder without weights: blocks become channels.

It loses nothing and needs no download, so the whole system (prepare, train,
sample) runs on a bare machine. It compresses nothing either: use it for small
clips and for tests.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Float32, UInt8

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, MODEL, config_key


def from_uint8(video: UInt8[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """0..255 to [-1, 1]."""
    return video.astype(jnp.float32) / 127.5 - 1


def to_uint8(video):
    """[-1, 1] to 0..255, NumPy and JAX arrays alike: cut off, rounded to the nearest; NaN is black.

    >>> to_uint8(np.array([-1.0, 0.0, 1.0, 7.0, np.nan])).tolist()
    [0, 128, 255, 255, 0]
    """
    xp = jnp if isinstance(video, jax.Array) else np
    levels = video.astype(np.float32) * 127.5 + 127.5
    return xp.nan_to_num(levels, nan=0.0).clip(0, 255).round().astype(np.uint8)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Pixels:
    """Space-to-depth: `latent = (pixels - shift) * scale`, blocks moved to channels.

    It is `config.autoencoder` of the name pixels; `shift` and `scale` bring the latent near zero
    mean and unit variance.
    """

    patch: tuple[int, int, int] = config_key(
        (1, 1, 1), "frames, rows, columns in one latent position", minimum=1, tags=(CLIPS, MODEL)
    )
    shift: float = config_key(0.0, "subtracted from pixels in [-1, 1]", tags=(CLIPS, MODEL))
    scale: float = config_key(1.0, "then multiplied", minimum=1e-6, tags=(CLIPS, MODEL))

    @property
    def channels(self) -> int:
        frames, rows, columns = self.patch
        return 3 * frames * rows * columns

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(..., t, h, w, 3) -> (..., t', h', w', channels)`; UserError if it does not divide."""
        *batch, t, h, w, _ = video_shape
        if t % self.patch[0] or h % self.patch[1] or w % self.patch[2]:
            raise UserError(
                f"a clip of {t} frames of {h} x {w} does not divide into autoencoder.patch "
                f"{self.patch}: frames, height and width must be multiples of it"
            )
        return (
            *batch,
            t // self.patch[0],
            h // self.patch[1],
            w // self.patch[2],
            self.channels,
        )

    def encode(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b t2 h2 w2 c"]:
        """Pixels in [-1, 1] to latents."""
        self.latent_shape(video.shape)
        p, q, r = self.patch
        blocks = rearrange(
            video, "b (t p) (h q) (w r) c -> b t h w (p q r c)", p=p, q=q, r=r
        )
        return (blocks - self.shift) * self.scale

    def decode(self, latent: Float[Array, "b t2 h2 w2 c"]) -> Float[Array, "b t h w 3"]:
        """Latents to pixels in [-1, 1] (not clipped)."""
        p, q, r = self.patch
        return rearrange(
            latent / self.scale + self.shift,
            "b t h w (p q r c) -> b (t p) (h q) (w r) c",
            p=p,
            q=q,
            r=r,
        )
