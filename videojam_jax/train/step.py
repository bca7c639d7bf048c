"""One optimizer step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from videojam_jax.diffusion.loss import LossOptions, joint_loss
from videojam_jax.train.optimizer import update_ema
from videojam_jax.train.state import TrainState


def make_step(
    apply: Callable,
    optimizer: optax.GradientTransformation,
    loss_options: LossOptions,
    *,
    null_text: Any,
    null_mask: Any,
    seed: int,
    ema_decay: float,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """`step(state, batch) -> (state, metrics)`, a pure function to be jitted.

    All its randomness is a function of `(seed, state.step)`, so a resumed run
    draws what the uninterrupted one would have drawn.

    Args:
      apply: `apply(params, x_t, d_t, t, text, text_mask) -> (u_x, u_d)`.
      null_text, null_mask: the encoding of the empty caption, `[n, ...]` and `[n]`.

    The batch holds `video` and `motion` latents (`motion` is absent for a base
    model), `text` and `text_mask`. The metrics are float32 scalars: `loss`,
    `appearance_loss`, `motion_loss`, `grad_norm`.
    """

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        motion = batch.get("motion")

        def loss(params):
            return joint_loss(
                lambda *args: apply(params, *args),
                batch["video"].astype(jnp.float32),
                None if motion is None else motion.astype(jnp.float32),
                batch["text"],
                batch["text_mask"],
                jnp.asarray(null_text),
                jnp.asarray(null_mask),
                key,
                loss_options,
            )

        (value, parts), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = TrainState(
            step=state.step + 1,
            params=params,
            ema_params=update_ema(state.ema_params, params, ema_decay, state.step),
            opt_state=opt_state,
        )
        return state, {"loss": value, **parts, "grad_norm": optax.global_norm(gradients)}

    return step
