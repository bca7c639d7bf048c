"""One optimizer step of a temporal autoencoder, and of its discriminator where it has one."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from videojam_jax.models.autoencoders.discriminator import discriminator_loss, generator_loss
from videojam_jax.models.autoencoders.pixels import from_uint8
from videojam_jax.models.autoencoders.reconstruction import (
    ReconstructionOptions,
    adversarial_weight,
    psnr,
    reconstruction_loss,
)
from videojam_jax.randomness import key_for
from videojam_jax.train.optimizer import skipped
from videojam_jax.train.state import TrainState
from videojam_jax.train.step import updated


def make_step(
    net: nn.Module,
    discriminator: nn.Module | None,
    optimizer: optax.GradientTransformation,
    options: ReconstructionOptions,
    *,
    seed: int,
    ema_decay: float,
    has_flow: bool = True,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """`step(state, batch) -> (state, metrics)`, a pure function to be jitted.

    Its randomness, the latents' noise, is a function of `(seed, state.step)`.

    The parameters are `{"autoencoder": ..., "discriminator": ...}`, the latter only where
    there is one. The batch holds `video` uint8 `[b, t, h, w, 3]` and `is_flow` bool `[b]`,
    some of it true if `has_flow`. The metrics are float32 scalars: `loss`, its parts
    unweighted, `psnr` of clips and `psnr_flow` of flow clips in dB, `grad_norm`.
    """

    def loss(params, pixels, key, step):
        shape = jax.eval_shape(
            lambda x: net.apply({"params": params["autoencoder"]}, x, method="encode_moments"),
            pixels,
        )[0].shape
        decoded, mean, log_variance = net.apply(
            {"params": params["autoencoder"]}, pixels, jax.random.normal(key, shape)
        )
        total, parts = reconstruction_loss(pixels, decoded, mean, log_variance, options)
        if discriminator is not None:
            fooled, told_apart = _adversarial(discriminator, params, pixels, decoded)
            parts |= {"adversarial": fooled, "discriminator": told_apart}
            total += adversarial_weight(step, options) * fooled
        # The discriminator's own loss, which moves its parameters alone.
        own = parts.get("discriminator", 0.0)
        return total + own, (total, parts, decoded)

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(key_for("autoencoder_training", seed), state.step)
        pixels = from_uint8(batch["video"])
        gradients, (value, parts, decoded) = jax.grad(loss, has_aux=True)(
            state.params, pixels, key, state.step
        )
        state = updated(state, gradients, optimizer, ema_decay)
        quality = psnr(pixels, decoded)
        metrics = {
            "loss": value,
            **parts,
            "psnr": _mean(quality, ~batch["is_flow"]),
            "grad_norm": optax.tree.norm(gradients),
            **skipped(state.opt_state),
        }
        if has_flow:
            metrics["psnr_flow"] = _mean(quality, batch["is_flow"])
        return state, metrics

    return step


def _adversarial(discriminator: nn.Module, params: Any, real: jax.Array, fake: jax.Array):
    """The autoencoder's and the discriminator's loss; each moves its own parameters alone."""

    def judged(params, video):
        return discriminator.apply({"params": params}, video)

    judge = params["discriminator"]
    fooled = generator_loss(judged(jax.lax.stop_gradient(judge), fake))
    told_apart = discriminator_loss(
        judged(judge, real), judged(judge, jax.lax.stop_gradient(fake))
    )
    return fooled, told_apart


def _mean(values: jax.Array, chosen: jax.Array) -> jax.Array:
    return jnp.sum(values * chosen) / jnp.maximum(jnp.sum(chosen), 1)
