"""What a T5 encoder does whatever its weights are."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.convert.layouts import t5
from videojam_jax.errors import UserError
from videojam_jax.models.text.t5 import T5Encoder, relative_buckets
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import partitioned, replicated, tree_shardings

SMALL = dict(
    vocabulary=40, width=16, ffn=24, heads=2, head_width=6, blocks=2, buckets=8, max_distance=12
)
LENGTHS = (9, 1, 5)
CONFIG = dict(
    model_type="t5", vocab_size=384, d_model=1472, d_ff=3584, num_heads=6, d_kv=64, num_layers=12
)


def inputs(n=9, seed=0):
    tokens = np.random.default_rng(seed).integers(2, 40, (len(LENGTHS), n), dtype=np.int32)
    return tokens, np.arange(n) < np.array(LENGTHS)[:, None]


def parameters(module):
    """Random, of NumPy: to compile an initialisation costs more than all that is tested."""
    rng = np.random.default_rng(0)
    tree = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs()))
    return jax.tree.map(lambda x: np.asarray(0.25 * rng.normal(size=x.shape), x.dtype), tree)


@pytest.fixture(scope="module")
def umt5():
    """An encoder of each block's own bias, its parameters, and its program."""
    encoder = T5Encoder(**SMALL, bias_in_every_block=True)
    params = parameters(encoder)
    program = jax.jit(encoder.apply)
    return encoder, params, lambda *given: np.asarray(program(*given))


def bucket_in_words(distance, buckets, max_distance):
    """The paper's words, one distance after the other.

    "half" of one sign's buckets hold one distance each; from there to `max_distance` each
    of the others ends at `max_distance / half` to the power of its share of the way.
    """
    one_sign = buckets // 2
    half = one_sign // 2
    size = abs(distance)
    number = size
    if size >= half:
        number = half
        for step in range(1, one_sign - half):
            # Compared as whole numbers: size >= half (max_distance / half)^(step / steps).
            steps = one_sign - half
            if size**steps * half**step >= half**steps * max_distance**step:
                number = half + step
    return number + (one_sign if distance > 0 else 0)


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 12), (16, 50)])
def test_buckets_are_those_that_the_paper_describes(buckets, max_distance):
    distances = np.arange(-2 * max_distance, 2 * max_distance)
    wanted = [bucket_in_words(int(d), buckets, max_distance) for d in distances]
    np.testing.assert_array_equal(relative_buckets(distances, buckets, max_distance), wanted)


def test_padding_and_other_rows_do_not_reach_an_embedding(umt5):
    _, params, program = umt5
    tokens, mask = inputs()
    y = program(params, tokens, mask)
    assert y.shape == (3, 9, 16) and y.dtype == jnp.float32
    other = np.where(mask, tokens, np.int32(39))
    other[0] = 7
    again = program(params, other, mask)
    for row in (1, 2):
        np.testing.assert_array_equal(again[row, : LENGTHS[row]], y[row, : LENGTHS[row]])
    assert np.abs(again[0] - y[0]).max() > 0.05  # and what did change is seen
    # Nor does the amount of padding.
    longer = np.pad(tokens, ((0, 0), (0, 7)))
    again = program(params, longer, np.pad(mask, ((0, 0), (0, 7))))
    np.testing.assert_allclose(again[:, :9][mask], y[mask], atol=2e-5)


def test_bfloat16_is_near_float32(umt5):
    _, params, program = umt5
    tokens, mask = inputs()
    wanted = program(params, tokens, mask)[mask]
    half = T5Encoder(**SMALL, bias_in_every_block=True, dtype=jnp.bfloat16)
    stored = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    y = np.asarray(jax.jit(half.apply)(stored, tokens, mask))
    assert y.dtype == jnp.bfloat16
    error = np.abs(y[mask].astype(np.float32) - wanted).max()
    assert error / np.abs(wanted).max() < 0.02


def test_a_mesh_holds_a_part_of_the_weights_and_gives_the_same(umt5):
    encoder, params, program = umt5
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    boxed = jax.eval_shape(encoder.init, jax.random.key(0), *inputs())
    shardings = tree_shardings(mesh, boxed)
    spread = jax.device_put(params, shardings)
    down = spread["params"]["blocks"]["down"]["kernel"]  # [blocks, mlp, width]
    assert down.sharding.shard_shape(down.shape) == (2, 24 // 2, 16 // 4)
    tokens, mask = jax.device_put(inputs(), replicated(mesh))
    y = jax.jit(partitioned(mesh, encoder.apply))(spread, tokens, mask)
    tokens, mask = inputs()
    np.testing.assert_allclose(
        np.asarray(y)[mask], program(params, tokens, mask)[mask], atol=2e-5
    )


def test_an_unknown_activation_is_an_error():
    with pytest.raises(UserError, match="gated-gelu"):
        parameters(T5Encoder(**SMALL | {"activation": "tanh"}))


def test_each_array_of_the_model_has_a_row_in_its_layout():
    for changes in ({}, {"activation": "relu"}, {"bias_in_every_block": True}):
        encoder = T5Encoder(**SMALL | changes)
        tree = nn.unbox(jax.eval_shape(encoder.init, jax.random.key(0), *inputs()))["params"]
        paths = jax.tree_util.tree_flatten_with_path(tree)[0]
        ours = sorted("/".join(part.key for part in path) for path, _ in paths)
        assert sorted(row.ours for row in t5.rows(encoder)) == ours


def test_options_are_read_from_the_public_models_configs():
    """What google/byt5-small, google/ul2 and google/umt5-xl say."""
    byt5 = t5.options(CONFIG | {"feed_forward_proj": "gated-gelu"})
    assert byt5 == dict(
        vocabulary=384,
        width=1472,
        ffn=3584,
        heads=6,
        head_width=64,
        blocks=12,
        buckets=32,
        max_distance=128,
        eps=1e-6,
        activation="gated-gelu",
        bias_in_every_block=False,
    )
    ul2 = t5.options(CONFIG | dict(feed_forward_proj="gated-silu", d_kv=256, num_heads=16))
    assert (ul2["activation"], ul2["head_width"], ul2["heads"]) == ("gated-silu", 256, 16)
    assert t5.options(CONFIG)["activation"] == "relu"  # T5 of 2019 says nothing
    unnamed = {key: value for key, value in CONFIG.items() if key != "model_type"}
    umt5 = t5.options(unnamed | {"architectures": ["UMT5ForConditionalGeneration"]})
    assert umt5["bias_in_every_block"] and umt5["activation"] == "gated-gelu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'"),
        ({"model_type": None}, "model_type is None"),
        ({"d_kv": None}, "'d_kv' is missing"),
        ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'gated-tanh'"),
    ],
)
def test_a_config_of_something_else_is_an_error_that_names_the_key(changes, message):
    with pytest.raises(UserError, match=message):
        t5.options(CONFIG | changes)
