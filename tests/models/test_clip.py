"""What CLIP's text tower does whatever its weights are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.convert.layouts import clip
from videojam_jax.errors import UserError
from videojam_jax.models.text.clip import ClipText, quick_gelu

SMALL = dict(vocabulary=40, width=16, ffn=24, heads=2, blocks=2, max_length=12)


def inputs(n=9, seed=0):
    tokens = np.random.default_rng(seed).integers(0, 40, (2, n), dtype=np.int32)
    return tokens, np.ones((2, n), bool)


@pytest.fixture(scope="module")
def tower():
    """Parameters and program. Random ones of NumPy's: to compile an initialisation is slow."""
    encoder = ClipText(**SMALL)
    rng = np.random.default_rng(0)
    tree = nn.unbox(jax.eval_shape(encoder.init, jax.random.key(0), *inputs()))
    params = jax.tree.map(lambda x: np.asarray(0.3 * rng.normal(size=x.shape), x.dtype), tree)
    program = jax.jit(encoder.apply)
    return params, lambda *given: np.asarray(program(*given))


def test_a_token_sees_those_before_it_and_no_later_one(tower):
    params, program = tower
    tokens, mask = inputs()
    y = program(params, tokens, mask)
    assert y.shape == (2, 9, 16) and y.dtype == jnp.float32
    other = tokens.copy()
    other[:, 5] = (other[:, 5] + 1) % 40
    changed = program(params, other, mask)
    np.testing.assert_array_equal(changed[:, :5], y[:, :5])
    assert np.abs(changed - y)[:, 5:].max(axis=-1).min() > 1e-4
    # So padding, whatever stands there and however long, changes nothing.
    longer = np.pad(tokens, ((0, 0), (0, 3)), constant_values=39)
    again = program(params, longer, np.pad(mask, ((0, 0), (0, 3))))
    np.testing.assert_allclose(again[:, :9], y, atol=1e-5)


def test_the_same_token_differs_by_its_position(tower):
    params, program = tower
    tokens, mask = inputs()
    y = program(params, np.full_like(tokens, 7), mask)
    assert np.abs(y[0, 1] - y[0, 0]).max() > 1e-2


def test_each_position_is_normalised(tower):
    params, program = tower
    norm = {"scale": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}
    y = program({"params": params["params"] | {"norm": norm}}, *inputs())
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-3)


def test_bfloat16_is_near_float32(tower):
    params, program = tower
    wanted = program(params, *inputs())
    y = np.asarray(jax.jit(ClipText(**SMALL, dtype=jnp.bfloat16).apply)(params, *inputs()))
    assert y.dtype == jnp.bfloat16
    error = np.abs(y.astype(np.float32) - wanted).max() / np.abs(wanted).max()
    assert error < 0.02


def test_quick_gelu_is_its_formula():
    x = np.array([-2.0, 0.0, 0.5, 3.0], np.float32)
    np.testing.assert_allclose(jax.jit(quick_gelu)(x), x / (1 + np.exp(-1.702 * x)), rtol=1e-6)


def test_longer_texts_than_positions_and_unknown_activations_are_errors():
    with pytest.raises(UserError, match="12 positions.*13 tokens"):
        jax.eval_shape(ClipText(**SMALL).init, jax.random.key(0), *inputs(13))
    with pytest.raises(UserError, match="quick_gelu"):
        jax.eval_shape(ClipText(**SMALL, activation="tanh").init, jax.random.key(0), *inputs())


def test_each_array_of_the_model_has_a_row_in_its_layout():
    encoder = ClipText(**SMALL)
    tree = nn.unbox(jax.eval_shape(encoder.init, jax.random.key(0), *inputs()))["params"]
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    ours = sorted("/".join(part.key for part in path) for path, _ in paths)
    assert sorted(row.ours for row in clip.rows(encoder)) == ours


def test_options_are_read_from_a_tower_s_config_and_from_a_whole_clip_s():
    """openai/clip-vit-large-patch14's sizes; the rest is transformers' default."""
    text = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
    wanted = dict(
        vocabulary=49408,
        width=768,
        ffn=3072,
        heads=12,
        blocks=12,
        max_length=77,
        activation="quick_gelu",
        eps=1e-5,
    )
    assert clip.options(text | {"model_type": "clip_text_model"}) == wanted
    assert clip.options({"model_type": "clip", "text_config": text}) == wanted
    both = {"model_type": "clip", "text_config": {}, "text_config_dict": text}
    assert clip.options(both) == wanted
    long = {"model_type": "clip_text_model", "max_position_embeddings": 256, "hidden_act": "gelu"}
    assert clip.options(long)["max_length"] == 256 and clip.options(long)["activation"] == "gelu"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "siglip"}, "model_type is 'siglip'"),
        ({"model_type": "clip"}, "'text_config' is missing"),
        ({"model_type": "clip_text_model", "hidden_act": "relu"}, "hidden_act is 'relu'"),
    ],
)
def test_a_config_of_something_else_is_an_error_that_names_the_key(config, message):
    with pytest.raises(UserError, match=message):
        clip.options(config)
