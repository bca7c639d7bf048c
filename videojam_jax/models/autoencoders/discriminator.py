"""A small critic of clips for an autoencoder's adversarial loss, and the hinge losses.

After the patch discriminator of image autoencoders (Isola et al., arXiv 1611.07004; Lim and
Ye, arXiv 1705.02894, for the hinge), with a temporal convolution after each spatial one.
"""

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.models.autoencoders.tae_blocks import FrameNorm, beyond_ends


class PatchDiscriminator(nn.Module):
    """Pixels to a logit for every patch of every frame: above 0 says "real".

    Attributes:
      width: channels after the first convolution; each level doubles them, up to 8 times.
      levels: each halves rows and columns.
    """

    width: int = 64
    levels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b t h2 w2"]:
        b, t = video.shape[:2]
        x = video.astype(self.dtype)
        for level in range(self.levels):
            features = self.width * 2 ** min(level, 3)
            y = rearrange(x, "b t h w c -> (b t) h w c")
            y = nn.Conv(features, (4, 4), 2, dtype=self.dtype, name=f"space{level}")(y)
            h, w = y.shape[1:3]
            y = beyond_ends(y.reshape(b, t, h * w, features))
            y = nn.Conv(
                features, (3, 1), padding="VALID", dtype=self.dtype, name=f"time{level}"
            )(y)
            x = y.reshape(b, t, h, w, features)
            if level:  # the first sees the clip's own brightness
                x = FrameNorm(name=f"norm{level}")(x)
            x = nn.leaky_relu(x, 0.2)
        logits = nn.Conv(1, (3, 3), name="out")(rearrange(x, "b t h w c -> (b t) h w c"))
        return logits[..., 0].reshape(b, t, *x.shape[2:4])


def generator_loss(fake_logits: Float[Array, "..."]) -> Float[Array, ""]:
    """`-mean(D(fake))`: what the autoencoder minimises."""
    return -jnp.mean(fake_logits)


def discriminator_loss(
    real_logits: Float[Array, "..."], fake_logits: Float[Array, "..."]
) -> Float[Array, ""]:
    """`(mean(max(0, 1 - D(real))) + mean(max(0, 1 + D(fake)))) / 2`, the hinge loss."""
    return (jnp.mean(nn.relu(1 - real_logits)) + jnp.mean(nn.relu(1 + fake_logits))) / 2
