"""Captions to embeddings through a tokenizer and a model that is not trained."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.convert.tokenizers import ByteTokens
from videojam_jax.errors import UserError
from videojam_jax.models.text.clip import ClipText
from videojam_jax.models.text.pretrained import PretrainedText, TextEncoder
from videojam_jax.models.text.t5 import T5Encoder
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import partitioned, tree_shardings

T5 = T5Encoder(384, 16, 24, 2, 8, 1)
CLIP = ClipText(384, 8, 16, 2, 1, max_length=20)
CAPTIONS = ["a ball falls", "", "a ball rolls down a long hill, é", "x", "falls"]


@functools.cache
def parameters(module):
    """Random, of NumPy: to compile an initialisation costs more than all that is tested."""
    rng = np.random.default_rng(0)
    tokens = np.ones((1, 2), np.int32)
    tree = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), tokens, tokens > 0))
    return jax.tree.map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), tree)


def encoder(module, max_length=24, rows=2, **changes):
    return TextEncoder(
        **dict(
            tokenizer=ByteTokens(),
            apply=module.apply,
            params=parameters(module),
            max_length=max_length,
            rows=rows,
            vocabulary=module.vocabulary,
        )
        | changes
    )


@pytest.fixture(scope="module")
def byt5():
    return encoder(T5)


def test_each_caption_has_its_true_length(byt5):
    found = byt5.encode(CAPTIONS)
    assert [x.shape for x in found] == [(13, 16), (1, 16), (24, 16), (2, 16), (6, 16)]
    assert byt5.width == 16
    assert all(isinstance(x, np.ndarray) and x.dtype == np.float32 for x in found)
    # No view into the padded rows.
    assert all(x.base is None for x in found)


def test_an_embedding_is_the_model_s_own(byt5):
    (found,) = byt5.encode(["a ball"])
    tokens = np.array(ByteTokens().encode(["a ball"], 24))
    (wanted,) = jax.jit(T5.apply)(byt5.params, tokens, np.ones_like(tokens, bool))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_no_bit_depends_on_the_captions_beside_it(byt5):
    together = byt5.encode(CAPTIONS)
    alone = [byt5.encode([caption])[0] for caption in CAPTIONS]
    reversed_ = byt5.encode(CAPTIONS[::-1])[::-1]
    for x, y, z in zip(together, alone, reversed_, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)


def test_few_programs_are_compiled():
    traced = []

    def apply(params, tokens, mask):
        traced.append(tokens.shape)
        return tokens[..., None].astype(jnp.float32) * params

    params = jax.device_put(np.ones(3, np.float32))
    counting = encoder(T5, max_length=40, apply=apply, params=params)
    counting.encode(["a" * n for n in range(60)])
    assert sorted(traced) == [(2, 16), (2, 32), (2, 40)]


def test_transfers_are_explicit(byt5):
    with jax.transfer_guard("disallow"):
        byt5.encode(CAPTIONS)


def test_no_captions_are_no_embeddings(byt5):
    assert byt5.encode([]) == []
    assert PretrainedText((byt5,)).encode([]) == []


def test_half_precision_comes_out_as_it_is():
    half = encoder(T5Encoder(384, 16, 24, 2, 8, 1, dtype=jnp.bfloat16))
    (found,) = half.encode(["ab"])
    assert found.dtype == jnp.bfloat16 and found.shape == (3, 16)


def test_several_encoders_each_give_their_own_width_and_length(byt5):
    both = PretrainedText((byt5, encoder(CLIP, max_length=10)))
    assert both.widths == (16, 8) and both.max_lengths == (24, 10)
    found = both.encode(CAPTIONS)
    assert [tuple(x.shape for x in pair) for pair in found] == [
        ((13, 16), (10, 8)),
        ((1, 16), (1, 8)),
        ((24, 16), (10, 8)),
        ((2, 16), (2, 8)),
        ((6, 16), (6, 8)),
    ]
    alone = byt5.encode(CAPTIONS)
    for (x, _), y in zip(found, alone, strict=True):
        np.testing.assert_array_equal(x, y)
    assert [len(texts) for texts in PretrainedText((byt5,)).encode(CAPTIONS)] == [1] * 5


def test_each_encoder_is_given_what_it_reads(byt5):
    two = PretrainedText((byt5, byt5), reads=("prompt", "quoted"), prefix="FPS-8")
    prompts = ['a "GO" sign', "", "a ball", 'a "GO" sign', '"GO"']
    with jax.transfer_guard("disallow"):
        found = two.encode(prompts)
    given = (
        ['FPS-8 a "GO" sign', "", "FPS-8 a ball", 'FPS-8 a "GO" sign', 'FPS-8 "GO"'],
        ["GO", "", "", "GO", "GO"],
    )
    for one, texts in zip(zip(*found, strict=True), given, strict=True):
        for x, y in zip(one, byt5.encode(texts), strict=True):
            np.testing.assert_array_equal(x, y)


def test_an_encoder_that_is_spread_over_devices_gives_the_same(byt5):
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    tokens = np.ones((1, 2), np.int32)
    boxed = jax.eval_shape(T5.init, jax.random.key(0), tokens, tokens > 0)
    spread = jax.device_put(byt5.params, tree_shardings(mesh, boxed))
    on_mesh = encoder(T5, apply=partitioned(mesh, T5.apply), params=spread, rows=4)
    with jax.transfer_guard("disallow"):
        found = on_mesh.encode(CAPTIONS)
    for x, y in zip(found, byt5.encode(CAPTIONS), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_a_tokenizer_of_another_model_is_an_error(byt5):
    other = encoder(T5, vocabulary=90)
    assert other.encode(["ABC"])[0].shape == (4, 16)
    with pytest.raises(UserError, match="id 125, but the text encoder knows 90"):
        other.encode(["ABz"])
