"""From the sections `tae` and `reconstruction` to the autoencoder that is trained."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import FrozenConfigDict

from videojam_jax import keys
from videojam_jax.errors import UserError
from videojam_jax.keys import make
from videojam_jax.models.autoencoders.discriminator import PatchDiscriminator
from videojam_jax.models.autoencoders.reconstruction import ReconstructionOptions
from videojam_jax.models.autoencoders.tae import TaeNet, tae_latent_shape


def held_out(config: FrozenConfigDict, clips: int) -> range:
    """The clips that an autoencoder is not trained on: the last of its source.

    UserError when none is left to train on.
    """
    kept = config.reconstruction.held_out
    if clips <= kept:
        raise UserError(
            f"the source has {clips} clips, of which config.reconstruction.held_out = {kept} are "
            "kept from training: give it more clips, or keep fewer"
        )
    return range(clips - kept, clips)


def net(config: FrozenConfigDict) -> TaeNet:
    """The temporal autoencoder that is trained."""
    return make(TaeNet, config.tae, dtype=jnp.dtype(config.tae.dtype))


def discriminator(config: FrozenConfigDict) -> PatchDiscriminator | None:
    """The critic of its training; None where it has no weight."""
    section = config.reconstruction
    if not section.adversarial:
        return None
    return PatchDiscriminator(section.discriminator_width, dtype=jnp.dtype(config.tae.dtype))


def init(config: FrozenConfigDict) -> Callable[[jax.Array], dict]:
    """`init(key) -> params` of the autoencoder and, where there is one, its discriminator."""
    tae, critic, clip = net(config), discriminator(config), config.clip
    shape = clip.frames, clip.height, clip.width, 3
    tae_latent_shape(shape, config.tae.compression, config.tae.channels)

    @jax.jit  # traced once for the shapes and for the values
    def init(key):
        video = jnp.zeros((1, config.tae.compression[0], clip.height, clip.width, 3))
        params = {"autoencoder": tae.init(key, video)["params"]}
        if critic is not None:
            params["discriminator"] = critic.init(jax.random.fold_in(key, 1), video)["params"]
        return params

    return init


def architecture(config: FrozenConfigDict) -> dict:
    """What fixes the shapes of a temporal autoencoder's parameters."""
    tae = keys.tagged(TaeNet, config.tae, keys.MODEL)
    if tae["patch"] == 1:  # as checkpoints have it that were saved before there was the key
        del tae["patch"]
    section = config.reconstruction
    width = section.discriminator_width if section.adversarial else 0
    return keys.jsonable({"tae": tae, "discriminator": width})


def options(config: FrozenConfigDict) -> ReconstructionOptions:
    return make(ReconstructionOptions, config.reconstruction)
