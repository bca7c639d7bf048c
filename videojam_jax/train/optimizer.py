"""AdamW with clipping and warm-up, and the moving average of the parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """Numbers of the optimizer; the learning rate is fixed after its warm-up."""

    learning_rate: float
    warmup_steps: int = 0
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0


def learning_rate(options: OptimizerOptions) -> optax.Schedule:
    """Linear from 0 over `warmup_steps`, then constant."""
    constant = optax.constant_schedule(options.learning_rate)
    if options.warmup_steps == 0:
        return constant
    # The step that ends the warm-up is the first at the full rate, and the very
    # first step already moves: (step + 1) / warmup.
    warmup = optax.linear_schedule(
        options.learning_rate / options.warmup_steps,
        options.learning_rate,
        options.warmup_steps - 1,
    )
    return optax.join_schedules([warmup, constant], [options.warmup_steps])


def make_optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW; vectors (norms, biases) do not decay."""
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.adamw(
            learning_rate(options),
            b1=options.b1,
            b2=options.b2,
            eps=options.eps,
            weight_decay=options.weight_decay,
            mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
        ),
    )


def update_ema(ema, params, decay: float, step: jax.Array):
    """`ema = decay ema + (1 - decay) params`, with a decay that grows from small.

    The decay of update number `step` (from 0) is `min(decay, (1 + step) / (10 + step))`,
    so that a short run's average forgets its start.
    """
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, ema, params)
