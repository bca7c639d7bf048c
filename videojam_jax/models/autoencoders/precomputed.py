"""The shape of latents that were prepared elsewhere.

Training needs no autoencoder, only the shape of what is on disk. A config of
this kind trains on such records; it cannot prepare clips or decode samples.
"""

import dataclasses

import jax

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, MODEL, REQUIRED, config_key


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Precomputed:
    """Knows how `compression` and `channels` shape a latent; `config.autoencoder` of this name."""

    compression: tuple[int, int, int] = config_key(
        REQUIRED, "frames, rows, columns in one latent position", minimum=1, tags=(CLIPS, MODEL)
    )
    channels: int = config_key(REQUIRED, "of a latent", minimum=1, tags=(CLIPS, MODEL))

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(..., t, h, w, 3) -> (..., t', h', w', channels)`."""
        *batch, t, h, w, _ = video_shape
        f, r, c = self.compression
        return (*batch, -(-t // f), -(-h // r), -(-w // c), self.channels)

    def encode(self, video):
        raise UserError(
            "autoencoder.name = 'precomputed' has no encoder: prepare the clips with the "
            "autoencoder they were made for, or set autoencoder.name = 'pixels'"
        )

    def decode(self, latent):
        raise UserError(
            "autoencoder.name = 'precomputed' has no decoder, so these latents cannot be shown: "
            "set train.sample_every = 0, and sample with the autoencoder they were made for"
        )
