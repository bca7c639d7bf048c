"""AdamW with clipping and warm-up, and the moving average of the parameters."""

import jax
import jax.numpy as jnp
import optax

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


def make_optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW, whose decay is of matrices alone (see `decays`)."""
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(
            learning_rate(options),
            b1=options.b1,
            b2=options.b2,
            eps=options.eps,
            mu_dtype=options.first_moment_dtype,
            weight_decay=options.weight_decay,
            mask=decays,
        ),
    )


def decays(params):
    """Which parameters decay: those that multiply activations, told by their names.

    Norms, biases, and tables that are looked up or added (of words, positions, modulation) do
    not. Their number of axes would not tell: blocks that are scanned have one more each.
    """

    def one(path, _):
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        return bool(names) and names[-1] in DECAYING

    return jax.tree_util.tree_map_with_path(one, params)


def update_ema(ema, params, decay: float, step: jax.Array):
    """`ema = decay ema + (1 - decay) params`, with a decay that grows from small.

    The decay of update number `step` (from 0) is `min(decay, (1 + step) / (10 + step))`,
    so that a short run's average forgets its start.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, ema, 1.0 - decay)
