"""AdamW or Muon with clipping and warm-up, and the moving average of the parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from videojam_jax.config.training import OptimizerOptions


def learning_rate(options: OptimizerOptions) -> optax.Schedule:
    """The rate of each step: `full * min(1, (step + 1) / warmup, (total - step) / decay)`.

    The step that ends the warm-up is the first at the full rate, and the very first
    step already moves.
    """

    def rate(step):
        factor = jnp.ones(())
        if options.warmup_steps:
            factor = jnp.minimum(factor, (step + 1) / options.warmup_steps)
        if options.decay_steps:
            left = jnp.maximum(options.total_steps - step, 0)
            factor = jnp.minimum(factor, left / options.decay_steps)
        return options.learning_rate * factor

    return rate


# What matrices are called in the models that are trained here: flax's layers', and W_in, W_out.
DECAYING = ("kernel", "w_in", "w_out")

# Root mean square of AdamW's updates, in learning rates: 0.2 to 0.4 where it was measured.
MUON_RMS = 0.4

# What counts as a usual gradient: a running mean of its norm over about so many steps, once there
# were as many.
USUAL_STEPS = 50


def make_optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW or Muon, whose decay is of matrices alone."""
    steps = [
        optax.clip_by_global_norm(options.clip_norm),
        _muon(options) if options.rule == "muon" else _adamw(options),
    ]
    if options.joint and options.motion_rate != 1:
        steps.append(optax.stateless(lambda updates, _: _new_rows(updates, options.motion_rate)))
    optimizer = optax.chain(*steps)
    return skipping(optimizer, options.skip_above) if options.skip_bad_steps else optimizer


class Skipping(NamedTuple):
    """The state of `skipping`: the usual norm, of how many steps, and whether the last was left
    out."""

    norm: jax.Array
    count: jax.Array
    skipped: jax.Array
    inner: Any


def skipping(
    optimizer: optax.GradientTransformation, above: float
) -> optax.GradientTransformation:
    """`optimizer`, which leaves out a step whose gradient is not finite or far too long.

    Its own state, and so the parameters, stay as they were. Far too long is a norm of more than
    `above` running means of it.
    """

    def init(params):
        return Skipping(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), bool),
                        optimizer.init(params))  # fmt: skip

    def update(gradients, state, params=None):
        norm = optax.tree.norm(gradients).astype(jnp.float32)
        long = (state.count >= USUAL_STEPS) & (norm > above * state.norm)
        bad = ~jnp.isfinite(norm) | long
        updates, inner = optimizer.update(gradients, state.inner, params)
        count = state.count + 1
        usual = state.norm + (norm - state.norm) / jnp.minimum(count, USUAL_STEPS)

        def unless_bad(new, old):
            return jax.tree.map(lambda n, o: jnp.where(bad, o, n), new, old)

        updates = unless_bad(updates, jax.tree.map(jnp.zeros_like, updates))
        old = state.norm, state.count, state.inner
        usual, count, inner = unless_bad((usual, count, inner), old)
        return updates, Skipping(usual, count, bad, inner)

    return optax.GradientTransformation(init, update)


def skipped(opt_state) -> dict[str, jax.Array]:
    """`{"skipped": 1.0}` where the last step was left out, by any of the optimizers in use; empty
    where none leaves any out."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, Skipping))
    found = [state.skipped for state in states if isinstance(state, Skipping)]
    return {"skipped": jnp.stack(found).any().astype(jnp.float32)} if found else {}


def _adamw(options: OptimizerOptions) -> optax.GradientTransformation:
    return optax.adamw(
        learning_rate(options),
        b1=options.b1,
        b2=options.b2,
        eps=options.eps,
        mu_dtype=options.first_moment_dtype,
        weight_decay=options.weight_decay,
        mask=decays,
    )


def _muon(options: OptimizerOptions) -> optax.GradientTransformation:
    """Muon (optax's) for what `orthogonalised` names, AdamW without decay for the rest.

    A matrix's update is its momentum, its singular values all brought near 1, and scaled to the
    root mean square that AdamW's updates have (Moonlight, arXiv 2502.16982, section 2.2), so that
    one learning rate serves both.
    """
    return optax.contrib.muon(
        learning_rate(options),
        eps=options.eps,
        weight_decay=options.weight_decay,
        mu_dtype=options.first_moment_dtype,
        adam_b1=options.b1,
        adam_b2=options.b2,
        muon_weight_dimension_numbers=orthogonalised,
        consistent_rms=MUON_RMS,
    )


def decays(params):
    """Which parameters decay: those that multiply activations, told by their names.

    Norms, biases, and tables that are looked up or added (of words, positions, modulation) do
    not. Their number of axes would not tell: blocks that are scanned have one more each.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: _name(path) in DECAYING, params)


def orthogonalised(params):
    """The axes of each matrix that is Muon's, None for the others: of blocks, told by their names.

    Layers that lead into the trunk and out of it, and what makes modulations of times, are
    AdamW's, as in Muon's own recipes. The matrices of scanned blocks stand on a first axis.
    """

    def one(path, value):
        if _name(path) != "kernel" or not {"blocks", "text_encoder"} & set(_names(path)):
            return None
        return optax.contrib.MuonDimensionNumbers(value.ndim - 2, value.ndim - 1)

    return jax.tree_util.tree_map_with_path(one, params)


def _new_rows(updates, factor: float):
    """Updates of `W_in+`'s lower rows and `W_out+`'s right columns (and bias), times a factor."""

    def half(update, axis):
        old, new = jnp.split(update, 2, axis=axis)
        return jnp.concatenate([old, factor * new], axis=axis)

    return {
        **updates,
        "w_in": half(updates["w_in"], 0),
        "w_out": half(updates["w_out"], 1),
        "b_out": half(updates["b_out"], 0),
    }


def _names(path) -> list[str]:
    """Of a parameter and of the modules that it is in."""
    return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]


def _name(path) -> str | None:
    return next(reversed(_names(path)), None)


def update_ema(ema, params, decay: float, step: jax.Array):
    """`ema = decay ema + (1 - decay) params`, with a decay that grows from small.

    The decay of update number `step` (from 0) is `min(decay, (1 + step) / (10 + step))`,
    so that a short run's average forgets its start.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, ema, 1.0 - decay)
