"""One optimizer step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from videojam_jax.diffusion.loss import LossOptions, joint_loss, noised_batch
from videojam_jax.randomness import key_for
from videojam_jax.text import Text
from videojam_jax.train.optimizer import skipped, update_ema
from videojam_jax.train.state import TrainState


def make_step(
    apply: Callable,
    optimizer: optax.GradientTransformation,
    loss_options: LossOptions,
    *,
    seed: int,
    ema_decay: float,
    accumulate: int = 1,
) -> Callable[[TrainState, dict, Text], tuple[TrainState, dict]]:
    """`step(state, batch, null) -> (state, metrics)`, a pure function to be jitted.

    All its randomness is a function of `(seed, state.step)`, so a resumed run
    draws what the uninterrupted one would have drawn.

    Args:
      apply: `apply(params, x_t, d_t, t, text) -> (u_x, u_d)`.
      accumulate: into how many parts, done one after the other, the batch is divided;
        it saves memory and changes nothing else, the noise included.

    The batch holds `video` and `motion` latents (`motion` is absent for a base
    model) and `text`; `null` is the encoding of the empty caption. The metrics are float32
    scalars: `loss`, `appearance_loss`, `motion_loss`, `grad_norm`, and `skipped` where the
    optimizer may leave a step out.
    """

    def loss(params, noised):
        return joint_loss(lambda *args: apply(params, *args), noised, loss_options)

    def step(state: TrainState, batch: dict, null: Text) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(key_for("training", seed), state.step)
        motion = batch.get("motion")
        noised = noised_batch(
            batch["video"].astype(jnp.float32),
            None if motion is None else motion.astype(jnp.float32),
            batch["text"],
            null,
            key,
            loss_options,
        )
        (value, parts), gradients = _gradients(loss, state.params, noised, accumulate)
        state = updated(state, gradients, optimizer, ema_decay)
        norm = optax.tree.norm(gradients)
        return state, {"loss": value, **parts, "grad_norm": norm, **skipped(state.opt_state)}

    return step


def updated(
    state: TrainState, gradients, optimizer: optax.GradientTransformation, ema_decay: float
) -> TrainState:
    """The state after one update of the optimizer and of the moving average."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(
        step=state.step + 1,
        params=params,
        ema_params=update_ema(state.ema_params, params, ema_decay, state.step),
        opt_state=opt_state,
    )


def _gradients(loss, params, noised, accumulate: int):
    """`((loss, parts), gradients)` of the whole batch, a part of it at a time."""
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if accumulate == 1:
        return value_and_grad(params, noised)
    # Part j is rows j, j + a, j + 2a, ...: each device works on rows that it holds.
    parts = jax.tree.map(lambda x: rearrange(x, "(r a) ... -> a r ...", a=accumulate), noised)

    def add(total, part):
        return jax.tree.map(jnp.add, total, value_and_grad(params, part)), None

    shapes = jax.eval_shape(value_and_grad, params, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, parts)[0]
