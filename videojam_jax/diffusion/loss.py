"""The training objective: one flow-matching loss over appearance and motion."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, PRNGKeyArray

from videojam_jax.diffusion.conditions import draw_drops, replace_text, zero_motion
from videojam_jax.diffusion.path import Velocity, interpolate, sample_time, target_velocity
from videojam_jax.keys import check, config_key
from videojam_jax.text import Text


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """The numbers of the loss, `config.loss`. The defaults are the paper's.

    Without `motion_target_when_dropped`, the motion loss is the mean over the samples that have
    their motion input. The times are those of `path.sample_time`.

    Raises:
      UserError: for a value out of its range.
    """

    p_drop_text: float = config_key(
        0.3, "share of samples trained with the empty caption", minimum=0.0, maximum=1.0
    )
    p_drop_motion: float = config_key(
        0.2, "share of samples whose motion input is zero", minimum=0.0, maximum=1.0
    )
    motion_weight: float = config_key(1.0, "of the motion half", minimum=0.0)
    motion_target_when_dropped: bool = config_key(
        True, "a sample without motion input still has its motion target"
    )
    sigma_min: float = config_key(
        0.0, "noise left on the data at t = 1 (Movie Gen: 1e-5)", minimum=0.0, below=1.0
    )
    time_kind: str = config_key(
        "logit_normal", "distribution of t", choices=("logit_normal", "uniform")
    )
    time_mean: float = config_key(0.0, "of the logit")
    time_std: float = config_key(1.0, "of the logit", minimum=1e-3)

    def __post_init__(self) -> None:
        check(self, "config.loss")


@flax.struct.dataclass
class NoisedBatch:
    """What one step asks of the model, and what the answer should be: one row a sample.

    Attributes:
      x_t, d_t, t, text: the model's input; `d_t` is None without motion.
      v_x, v_d: the velocities to predict.
      appearance_share, motion_share: `[b]`, the weight of each sample's error in its
        mean; each sums to 1 over the batch (`motion_share` to 0 when no sample counts).
    """

    x_t: Any
    d_t: Any
    t: Any
    text: Any
    v_x: Any
    v_d: Any
    appearance_share: Any
    motion_share: Any


def noised_batch(
    x1: Float[Array, "b *shape"],
    d1: Float[Array, "b *shape"] | None,
    text: Text,
    null: Text,
    key: PRNGKeyArray,
    options: LossOptions,
) -> NoisedBatch:
    """Everything random of a step, and nothing of the model: what is asked, and the answer.

        x_t = t x1 + (1 - t) x0,  v_x = x1 - x0;  d_t, v_d alike  (sigma_min = 0)

    VideoJAM (arXiv 2502.02492, section 4.2). Video and motion share one time `t`; their noises
    are independent. Text and motion are dropped independently (see `conditions.py`). Every random
    number comes from `key`, one part of it for each purpose, so the noise of the video, the times
    and the dropped texts are the same with and without motion. All in float32, whatever the
    latents are stored in.

    Args:
      x1: clean video latents.
      d1: clean motion latents, or None for a base model.
      text: the encoded captions.
      null: the encoded empty caption, which replaces dropped text.
      key: decides noise, times and what is dropped.
      options: see `LossOptions`.
    """
    x_key, d_key, time_key, drop_key = jax.random.split(key, 4)
    b = x1.shape[0]
    t = sample_time(time_key, b, options.time_kind, options.time_mean, options.time_std)
    drop_text, drop_motion = draw_drops(drop_key, b, options.p_drop_text, options.p_drop_motion)
    text = replace_text(drop_text, text, null)

    x_t, v_x = _noised(x_key, x1, t, options.sigma_min)
    equal = jnp.full((b,), 1 / b, jnp.float32)
    d_t, v_d, motion_share = None, None, None
    if d1 is not None:
        d_t, v_d = _noised(d_key, d1, t, options.sigma_min)
        d_t = zero_motion(drop_motion, d_t)
        motion_share = equal
        if not options.motion_target_when_dropped:
            kept = jnp.logical_not(drop_motion).astype(jnp.float32)
            motion_share = kept / jnp.maximum(kept.sum(), 1)
    return NoisedBatch(x_t, d_t, t, text, v_x, v_d, equal, motion_share)


def joint_loss(
    velocity: Velocity, noised: NoisedBatch, options: LossOptions = LossOptions()
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The joint flow-matching loss of appearance and motion.

        loss = E || u_x - v_x ||^2 + motion_weight E || u_d - v_d ||^2
        (u_x, u_d) = u+([x_t, d_t], y, t)

    VideoJAM (arXiv 2502.02492, section 4.2, equation 6). Each norm is a mean over the elements
    of its half, in float32, so `motion_weight = 1` is the paper's equal weighting. Over parts
    of a batch, the results add up to the whole's.

    Args:
      velocity: the model (see `path.Velocity`).

    Returns:
      The loss, and its parts: `appearance_loss`, and `motion_loss` where there is motion.

    >>> x1 = d1 = jnp.ones((2, 4, 8, 8, 3))
    >>> text = Text(jnp.ones((2, 5), jnp.int32), jnp.ones((2, 5), bool))
    >>> noised = noised_batch(x1, d1, text, text.row(0), jax.random.key(0), LossOptions())
    >>> always_zero = lambda x_t, d_t, t, text: (0 * x_t, 0 * d_t)
    >>> loss, parts = joint_loss(always_zero, noised)
    >>> sorted(parts), bool(loss == parts["appearance_loss"] + parts["motion_loss"])
    (['appearance_loss', 'motion_loss'], True)
    """
    u_x, u_d = velocity(noised.x_t, noised.d_t, noised.t, noised.text)
    appearance_loss = (noised.appearance_share * squared_error(u_x, noised.v_x)).sum()
    if noised.d_t is None:
        return appearance_loss, {"appearance_loss": appearance_loss}
    motion_loss = (noised.motion_share * squared_error(u_d, noised.v_d)).sum()
    loss = appearance_loss + options.motion_weight * motion_loss
    return loss, {"appearance_loss": appearance_loss, "motion_loss": motion_loss}


def squared_error(
    u: Float[Array, "b *shape"], v: Float[Array, "b *shape"]
) -> Float[Array, " b"]:
    """The mean squared error of each sample, in float32.

        e_i = mean_j (u_ij - v_ij)^2

    >>> print(squared_error(jnp.array([[1.0, 3.0], [0.0, 0.0]]), jnp.zeros((2, 2))))
    [5. 0.]
    """
    difference = u.astype(jnp.float32) - v.astype(jnp.float32)
    return reduce(jnp.square(difference), "b ... -> b", "mean")


def _noised(
    key: PRNGKeyArray, clean: Float[Array, "b *shape"], t: Float[Array, " b"], sigma_min: float
) -> tuple[Float[Array, "b *shape"], Float[Array, "b *shape"]]:
    """Draw noise for `clean`; return the point of the path at `t`, and the velocity there."""
    clean = clean.astype(jnp.float32)
    noise = jax.random.normal(key, clean.shape, jnp.float32)
    return interpolate(clean, noise, t, sigma_min), target_velocity(clean, noise, sigma_min)
