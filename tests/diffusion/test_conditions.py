"""Leaving out text and motion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.diffusion.conditions import draw_drops, replace_text, zero_motion
from videojam_jax.text import Text


def test_text_and_motion_are_dropped_independently_at_their_rates():
    n = 50_000
    text, motion = map(np.asarray, draw_drops(jax.random.key(0), n, 0.3, 0.2))
    measured = [text.mean(), motion.mean(), (text & motion).mean()]
    # Four standard deviations of a Bernoulli mean.
    for share, expected in zip(measured, [0.3, 0.2, 0.06]):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n), measured


def test_which_texts_are_dropped_does_not_depend_on_the_rate_of_motion():
    one, _ = draw_drops(jax.random.key(3), 200, 0.3, 0.0)
    other, _ = draw_drops(jax.random.key(3), 200, 0.3, 0.9)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["ids", "embeddings"])
def test_dropped_text_becomes_the_empty_caption_and_other_text_stays(kind):
    rng = np.random.default_rng(0)
    shape = (4, 6) if kind == "ids" else (4, 6, 3)
    tokens = rng.integers(1, 200, shape)
    null_tokens = rng.integers(200, 300, shape[1:])
    tokens = tokens.astype(np.int32 if kind == "ids" else np.float32)
    null = Text(null_tokens.astype(tokens.dtype), np.arange(6) < 1)
    text = Text(tokens, np.arange(6) < np.array([[2], [6], [1], [4]]))
    drop = np.array([True, False, False, True])

    new = replace_text(*jax.tree.map(jnp.asarray, (drop, text, null)))

    for i in range(4):
        wanted = null if drop[i] else text.row(i)
        np.testing.assert_array_equal(new.tokens[i], wanted.tokens)
        np.testing.assert_array_equal(new.mask[i], wanted.mask)
    assert new.tokens.dtype == tokens.dtype


def test_replaced_text_keeps_the_type_of_the_text():
    text = Text(jnp.ones((2, 3, 4), jnp.bfloat16), jnp.ones((2, 3), bool))
    null = Text(jnp.zeros((3, 4), jnp.float32), text.mask[0])
    assert replace_text(jnp.array([True, False]), text, null).tokens.dtype == jnp.bfloat16


def test_empty_caption_of_another_length_is_refused_with_both_shapes():
    text = Text(jnp.ones((2, 5), jnp.int32), jnp.ones((2, 5), bool))
    null = Text(text.tokens[0, :1], text.mask[0, :1])
    with pytest.raises(ValueError, match=r"empty caption has shape \(1,\).*text has shape \(5,\)"):
        replace_text(jnp.array([True, False]), text, null)


def test_dropped_motion_is_exactly_zero_even_where_it_was_not_finite():
    d_t = jnp.array([[1.0, jnp.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(
        zero_motion(jnp.array([True, False]), d_t), [[0.0, 0.0], [2.0, 3.0]]
    )
