import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.errors import UserError
from videojam_jax.models.text.bytes import BEGIN, FIRST_BYTE, ByteEncoder, ByteText
from videojam_jax.models.text.precomputed import PrecomputedText


@given(st.text(max_size=40))
def test_tokens_are_the_bytes_of_the_caption(caption):
    (tokens,) = ByteText(1000).encode([caption])
    assert tokens[0] == BEGIN
    assert bytes((tokens[1:] - FIRST_BYTE).astype(np.uint8)).decode() == caption


def test_long_captions_are_cut():
    assert len(ByteText(5).encode(["abcdefgh"])[0]) == 5


def test_padding_does_not_reach_the_embedding_of_a_caption():
    encoder = ByteEncoder(16, 1, 2, 8)
    tokens = np.array([[1, 70, 71, 0, 0, 0]])
    mask = np.array([[True] * 3 + [False] * 3])
    params = jax.jit(encoder.init)(jax.random.key(0, impl="rbg"), tokens, mask)
    embedding = jax.jit(encoder.apply)
    wanted = np.asarray(embedding(params, tokens, mask))
    found = np.asarray(embedding(params, tokens + [[0, 0, 0, 9, 9, 9]], mask))
    np.testing.assert_array_equal(found[:, :3], wanted[:, :3])
    # What is a token of the caption does.
    found = np.asarray(embedding(params, tokens + [[0, 0, 9, 0, 0, 0]], mask))
    assert np.abs(found[:, :3] - wanted[:, :3]).max(axis=(0, 2)).min() > 1e-4


def test_precomputed_text_cannot_encode():
    with pytest.raises(UserError, match="text.name"):
        PrecomputedText(8, 4).encode(["a"])
