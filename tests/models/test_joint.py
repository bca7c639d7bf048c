import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.errors import UserError
from videojam_jax.models.joint import VideoModel, patchify, token_positions, unpatchify, widen
from videojam_jax.models.text.bytes import ByteEncoder
from videojam_jax.models.trunks.movie_gen import MovieGenTrunk
from videojam_jax.text import Text

SHAPE = (2, 2, 4, 4, 5)  # b t h w c
PATCH = (1, 2, 2)
WIDTH = 16


def small(motion: bool, dtype=jnp.float32) -> VideoModel:
    trunk = MovieGenTrunk(2, WIDTH, 24, 2, (2, 2, 2), dtype=dtype)
    return VideoModel(trunk, SHAPE[-1], motion, PATCH, ByteEncoder(8, 1, 2, 6, dtype=dtype), dtype)


def inputs(seed: int):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=SHAPE).astype(np.float32)
    t = rng.uniform(size=SHAPE[0]).astype(np.float32)
    tokens = rng.integers(1, 200, size=(SHAPE[0], 6)).astype(np.int32)
    return x, t, Text(tokens, np.arange(6) < np.array([[6], [3]]))


@functools.cache
def abstract(motion: bool):
    x, t, text = inputs(0)
    given = x, x if motion else None, t, text
    return nn.unbox(jax.eval_shape(small(motion).init, jax.random.key(0), *given))["params"]


def random_params(motion: bool):
    """Parameters none of which is zero, as after training; of NumPy, which compiles nothing."""
    rng = np.random.default_rng(1)

    def draw(x):
        rows = np.prod(x.shape[-2:-1], dtype=int)  # of a vector: 1
        return np.asarray((x.ndim < 2) + 0.8 * rng.normal(size=x.shape) / rows**0.5, x.dtype)

    return jax.tree.map(draw, abstract(motion))


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request):
    """A base, its widened model, and both as compiled functions."""
    dtype = jnp.dtype(request.param)
    base, joint, params = small(False, dtype), small(True, dtype), random_params(False)
    run_base = jax.jit(lambda p, x, t, y: base.apply({"params": p}, x, None, t, y)[0])
    run_joint = jax.jit(lambda p, x, d, t, y: joint.apply({"params": p}, x, d, t, y))
    return params, jax.jit(widen)(params), run_base, run_joint


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
def test_widened_model_equals_base_to_the_bit_for_any_motion(pair, seed, scale):
    params, wide, run_base, run_joint = pair
    x, t, text = inputs(seed)
    d = (np.random.default_rng(seed + 1).normal(size=SHAPE) * scale).astype(np.float32)
    u_x, u_d = run_joint(wide, x, d, t, text)
    base = run_base(params, x, t, text)
    assert np.abs(base).max() > 0.1
    np.testing.assert_array_equal(u_x, base)
    np.testing.assert_array_equal(u_d, np.zeros(SHAPE, np.float32))


def test_widening_adds_two_halves_and_a_bias():
    base = random_params(False)
    wide = jax.jit(widen)(base)
    assert jax.tree.map(jnp.shape, wide) == jax.tree.map(jnp.shape, abstract(True))
    features = SHAPE[-1] * 4
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(wide) - count(base) == 2 * features * WIDTH + features
    np.testing.assert_array_equal(wide["w_in"][features:], 0)
    np.testing.assert_array_equal(wide["w_out"][:, features:], 0)


def test_motion_rows_learn_from_the_first_step():
    wide = jax.jit(widen)(random_params(False))
    joint = small(True)
    x, t, text = inputs(3)

    def loss(params, *inputs):
        u_x, u_d = joint.apply({"params": params}, *inputs)
        return (u_x**2).mean() + ((u_d - 1) ** 2).mean()

    gradient = jax.jit(jax.grad(loss))(wide, x, x[::-1], t, text)
    features = SHAPE[-1] * 4
    assert np.abs(gradient["w_in"][features:]).max() > 1e-4
    assert np.abs(gradient["w_out"][:, features:]).max() > 1e-4


class Given(nn.Module):
    """A trunk that gives back what it was made with."""

    tokens: np.ndarray
    width: int = WIDTH

    def __call__(self, *_):
        return jnp.asarray(self.tokens)


def test_the_last_product_of_a_bfloat16_model_is_not_rounded_to_bfloat16():
    rng = np.random.default_rng(0)
    features = SHAPE[-1] * 4
    tokens = rng.normal(size=(SHAPE[0], 8, WIDTH)).astype(jnp.bfloat16)
    x, t, text = inputs(0)
    model = VideoModel(Given(tokens), SHAPE[-1], True, PATCH, None, jnp.bfloat16)
    params = {
        "w_in": jnp.zeros((2 * features, WIDTH)),
        "b_in": jnp.zeros(WIDTH),
        "w_out": jnp.asarray(rng.normal(size=(WIDTH, 2 * features)), jnp.float32),
        "b_out": jnp.asarray(rng.normal(size=2 * features), jnp.float32),
    }
    given = (x, x, t, Text(np.zeros((SHAPE[0], 6, 3), np.float32), text.mask))
    layers = jax.jit(model.init)(jax.random.key(0), *given)["params"]
    found = jax.jit(model.apply)({"params": {**layers, **params}}, *given)
    w_out = np.asarray(params["w_out"].astype(jnp.bfloat16), np.float64)
    wanted = tokens.astype(np.float64) @ w_out + np.asarray(params["b_out"], np.float64)
    for half, u in enumerate(found):
        columns = wanted[..., half * features : (half + 1) * features]
        assert u.dtype == jnp.float32
        np.testing.assert_allclose(patchify(u, PATCH), columns, rtol=1e-5, atol=1e-5)


def test_motion_without_a_place_for_it_is_an_error():
    x, t, text = inputs(0)
    with pytest.raises(ValueError, match="joint model"):
        jax.eval_shape(small(False).init, jax.random.key(0), x, x, t, text)
    with pytest.raises(ValueError, match="joint model"):
        jax.eval_shape(small(True).init, jax.random.key(0), x, None, t, text)


@settings(max_examples=8)  # every shape is compiled anew
@given(
    patch=st.tuples(*[st.integers(1, 3)] * 3),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    seed=st.integers(0, 100),
)
def test_unpatchify_undoes_patchify(patch, grid, seed):
    shape = (2, *(n * p for n, p in zip(grid, patch, strict=True)), 3)
    latent = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    @jax.jit
    def there_and_back(latent):
        tokens = patchify(latent, patch)
        return tokens, unpatchify(tokens, patch, shape)

    tokens, back = there_and_back(latent)
    assert tokens.shape == (2, np.prod(grid), 3 * np.prod(patch))
    np.testing.assert_array_equal(back, latent)


def test_a_token_holds_the_patch_at_its_position():
    shape, patch = (1, 4, 6, 4, 3), (2, 3, 2)
    latent = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    tokens = np.asarray(jax.jit(patchify, static_argnums=1)(latent, patch))
    for token, (i, j, k) in zip(tokens[0], token_positions(shape, patch), strict=True):
        block = latent[0, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3, 2 * k : 2 * k + 2]
        np.testing.assert_array_equal(token, block.ravel())


def test_a_latent_that_does_not_divide_is_named():
    with pytest.raises(UserError, match=r"3 x 4 x 4 .* \(2, 2, 2\)"):
        jax.eval_shape(lambda x: patchify(x, (2, 2, 2)), np.zeros((1, 3, 4, 4, 1)))
