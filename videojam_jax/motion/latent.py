"""What stands between a clip's flow and its motion latent, beside the autoencoder."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, check, config_key
from videojam_jax.motion.flow_rgb import SIGMA

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class MotionCode:
    """`d1 = (E(rgb(flow)) - mean) / std`: how the flow is drawn, and the latent's own scale.

    An autoencoder scales its latents for video. Flow clips are mostly black, so theirs lie aside
    of zero, and as the noise has zero mean and unit variance, a part of the motion half is spent on
    telling where they lie. The paper names no scale; without these two they stay as encoded.

    Raises:
      UserError: means and standard deviations of different numbers of channels, or not positive.
    """

    sigma: float = config_key(
        SIGMA,
        "displacement, as a share of the frame's diagonal, that is drawn at full intensity",
        minimum=1e-6,
        maximum=1.0,
        tags=(CLIPS,),
    )
    latent_mean: tuple[float, ...] = config_key(
        (),
        "of encoded flow clips, each channel, to bring motion latents to zero mean; `prepare "
        "--preview` measures it",
        tags=(CLIPS,),
    )
    latent_std: tuple[float, ...] = config_key(
        (), "the same, to bring them to unit variance", minimum=1e-6, tags=(CLIPS,)
    )

    def __post_init__(self):
        check(self, "config.motion")
        if len(self.latent_mean) != len(self.latent_std):
            raise UserError(
                f"config.motion.latent_mean has {len(self.latent_mean)} channels and "
                f"config.motion.latent_std {len(self.latent_std)}: give both of the same, or none"
            )

    def of_encoded(self, latent: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """The motion latent of what the autoencoder made of a flow clip."""
        if not self.latent_mean:
            return latent
        return (latent - np.float32(self.latent_mean)) / np.float32(self.latent_std)

    def to_encoded(self, motion: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """What the autoencoder decodes to a flow clip, of a motion latent."""
        if not self.latent_mean:
            return motion
        return motion * np.float32(self.latent_std) + np.float32(self.latent_mean)
