"""What it means to leave out a condition: the text, or the motion.

Training leaves conditions out at random (`loss.py`); guidance leaves them out in
chosen branches (`guidance.py`). Both do it here, so that a model is asked at
sampling time exactly what it was taught.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from videojam_jax.text import Text


def draw_drops(
    key: PRNGKeyArray, n: int, p_drop_text: float, p_drop_motion: float
) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
    """Which of `n` samples lose their text and which their motion, independently.

        drop_text ~ Bernoulli(p_drop_text),  drop_motion ~ Bernoulli(p_drop_motion)

    VideoJAM (arXiv 2502.02492, implementation details) drops the
    text in 30 % and the motion in 20 % of the samples.

    >>> text, motion = draw_drops(jax.random.key(0), 4, 1.0, 0.0)
    >>> print(text, motion)
    [ True  True  True  True] [False False False False]
    """
    text_key, motion_key = jax.random.split(key)
    return (
        jax.random.bernoulli(text_key, p_drop_text, (n,)),
        jax.random.bernoulli(motion_key, p_drop_motion, (n,)),
    )


def replace_text(drop: Bool[Array, " b"], text: Text, null: Text) -> Text:
    """The text with the empty caption in place of every dropped one.

    Args:
      drop: the samples that lose their text.
      text: the encoded captions of `b` samples.
      null: the encoding of the empty caption, padded as they are.

    Raises:
      ValueError: when the empty caption is not padded to the length of the text.

    >>> text = Text(jnp.array([[5, 6], [7, 0]]), jnp.array([[True, True], [True, False]]))
    >>> null = Text(jnp.array([1, 0]), jnp.array([True, False]))
    >>> text = replace_text(jnp.array([True, False]), text, null)
    >>> print(text.tokens.tolist(), text.mask.tolist())
    [[1, 0], [7, 0]] [[True, False], [True, False]]
    """
    (tokens, mask), (null_tokens, null_mask) = text, null
    if null_tokens.shape != tokens.shape[1:] or null_mask.shape != mask.shape[1:]:
        raise ValueError(
            f"the empty caption has shape {null_tokens.shape} and mask {null_mask.shape}, but one "
            f"text has shape {tokens.shape[1:]} and mask {mask.shape[1:]}; pad both alike"
        )
    rows = drop.reshape(drop.shape + (1,) * (tokens.ndim - 1))
    null_tokens = null_tokens.astype(tokens.dtype)
    return Text(jnp.where(rows, null_tokens, tokens), jnp.where(drop[:, None], null_mask, mask))


def zero_motion(
    drop: Bool[Array, " b"], d_t: Float[Array, "b *shape"]
) -> Float[Array, "b *shape"]:
    """The motion input with zeros, not noise, for every sample that loses its motion.

        d_t = 0  (VideoJAM, arXiv 2502.02492, section 4.3)

    >>> print(zero_motion(jnp.array([True, False]), jnp.ones((2, 3))))
    [[0. 0. 0.]
     [1. 1. 1.]]
    """
    rows = drop.reshape(drop.shape + (1,) * (d_t.ndim - 1))
    return jnp.where(rows, jnp.zeros_like(d_t), d_t)
