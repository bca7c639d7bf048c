"""What it means to leave out a condition: the text, or the motion.

Training leaves conditions out at random (`loss.py`); guidance leaves them out in
chosen branches (`guidance.py`). Both do it here, so that a model is asked at
sampling time exactly what it was taught.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped


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


def replace_text(
    drop: Bool[Array, " b"],
    text: Shaped[Array, "b n *e"],
    text_mask: Bool[Array, "b n"],
    null_text: Shaped[Array, "n *e"],
    null_mask: Bool[Array, " n"],
) -> tuple[Shaped[Array, "b n *e"], Bool[Array, "b n"]]:
    """The text with the empty caption in place of every dropped one.

    Args:
      drop: the samples that lose their text.
      text: token ids `[b, n]` or embeddings `[b, n, e]`.
      text_mask: True where a token is, False where there is padding.
      null_text, null_mask: the encoding of the empty caption, padded to `n`.

    Raises:
      ValueError: when the empty caption is not padded to the length of the text.

    >>> text, mask = jnp.array([[5, 6], [7, 0]]), jnp.array([[True, True], [True, False]])
    >>> null_text, null_mask = jnp.array([1, 0]), jnp.array([True, False])
    >>> text, mask = replace_text(jnp.array([True, False]), text, mask, null_text, null_mask)
    >>> print(text.tolist(), mask.tolist())
    [[1, 0], [7, 0]] [[True, False], [True, False]]
    """
    if null_text.shape != text.shape[1:] or null_mask.shape != text_mask.shape[1:]:
        raise ValueError(
            f"the empty caption has shape {null_text.shape} and mask {null_mask.shape}, but one "
            f"text has shape {text.shape[1:]} and mask {text_mask.shape[1:]}; pad both alike"
        )
    rows = drop.reshape(drop.shape + (1,) * (text.ndim - 1))
    null_text = null_text.astype(text.dtype)
    return jnp.where(rows, null_text, text), jnp.where(drop[:, None], null_mask, text_mask)


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
