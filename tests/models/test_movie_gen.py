import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.models.trunks.movie_gen import REMAT_POLICIES, MovieGenTrunk

B, N, M, WIDTH, BLOCKS, FFN, HEADS = 2, 8, 5, 16, 3, 40, 4
POSITIONS = np.indices((2, 2, 2), dtype=np.int32).reshape(3, -1).T
MASK = np.array([[True] * 5, [True] * 2 + [False] * 3])


def trunk(**changes) -> MovieGenTrunk:
    return MovieGenTrunk(BLOCKS, WIDTH, FFN, HEADS, (2, 2, 2), **changes)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(B, N, WIDTH)).astype(np.float32)
    text = rng.normal(size=(B, M, WIDTH)).astype(np.float32)
    t = np.array([0.1, 0.8], np.float32)
    shapes = jax.eval_shape(trunk().init, jax.random.key(0), tokens, POSITIONS, t, text, MASK)

    def draw(path, x):
        """Random, so that nothing is 0 or 1 as it starts; of NumPy, which compiles nothing."""
        noise = rng.normal(size=x.shape)
        middle, spread = float(path[-1].key == "scale"), 0.1
        if path[-1].key == "kernel":
            spread = x.shape[-2] ** -0.5
        return np.asarray(middle + spread * noise, x.dtype)

    return jax.tree.map_with_path(draw, nn.unbox(shapes)["params"]), tokens, t, text


@functools.cache
def forward(dtype=jnp.float32):
    """The compiled trunk."""
    run = jax.jit(lambda params, *given: trunk(dtype=dtype).apply({"params": params}, *given))
    return lambda p, x, t, text: jax.device_get(run(p, x, POSITIONS, t, text, MASK))


@functools.cache
def gradient(remat):
    def loss(params, *given):
        return (trunk(remat=remat).apply({"params": params}, *given) ** 2).mean()

    run = jax.jit(jax.grad(loss))
    return lambda p, x, t, text: run(p, x, POSITIONS, t, text, MASK)


def reference(params, tokens, t, text, mask):
    """The block as its equations say, one sample after the other, in float64 NumPy."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

    def rms(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale

    def silu(x):
        return x / (1 + np.exp(-x))

    def attend(w, x, context, keep):
        out = np.zeros_like(x)
        q, k, v = x @ w["q"]["kernel"], context @ w["k"]["kernel"], context @ w["v"]["kernel"]
        size = WIDTH // HEADS
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            score = q[:, part] @ k[:, part].T / np.sqrt(size)
            score[:, ~keep] = -np.inf
            weight = np.exp(score - score.max(-1, keepdims=True))
            out[:, part] = weight / weight.sum(-1, keepdims=True) @ v[:, part]
        return out @ w["out"]["kernel"]

    results = []
    for x, time, y, keep in zip(tokens.astype(np.float64), t, text, mask, strict=True):
        angle = 1000 * float(time) * 10_000 ** (-np.arange(128) / 128)
        h = np.concatenate([np.cos(angle), np.sin(angle)])
        h = silu(h @ p["time"]["in"]["kernel"] + p["time"]["in"]["bias"])
        h = silu(h @ p["time"]["out"]["kernel"] + p["time"]["out"]["bias"])
        shared = (h @ p["modulation"]["kernel"] + p["modulation"]["bias"]).reshape(6, WIDTH)
        tables = p["positions_table"]
        place = sum(tables[name][np.asarray(POSITIONS)[:, axis]] for axis, name in enumerate("thw"))
        for i in range(BLOCKS):
            w = jax.tree.map(lambda a, i=i: a[i], p["blocks"])
            shift1, scale1, gate1, shift2, scale2, gate2 = shared + w["modulation"]
            x = x + place
            z = rms(x, w["norm_self"]["scale"]) * (1 + scale1) + shift1
            x = x + gate1 * attend(w["self_attention"], z, z, np.ones(N, bool))
            z = rms(x, w["norm_cross"]["scale"])
            x = x + attend(w["cross_attention"], z, y, keep)
            z = rms(x, w["norm_ffn"]["scale"]) * (1 + scale2) + shift2
            ffn = w["ffn"]
            z = silu(z @ ffn["gate"]["kernel"]) * (z @ ffn["up"]["kernel"])
            x = x + gate2 * (z @ ffn["down"]["kernel"])
        last = h @ p["last_modulation"]["kernel"] + p["last_modulation"]["bias"]
        results.append(rms(x, p["norm_last"]["scale"]) * (1 + last[WIDTH:]) + last[:WIDTH])
    return np.stack(results)


def test_trunk_equals_its_equations_in_numpy(case):
    params, tokens, t, text = case
    got = forward()(*case)
    want = reference(params, tokens, t, text, MASK)
    assert np.abs(want).max() > 0.5
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_padding_of_the_text_changes_nothing(case):
    params, tokens, t, text = case
    other = np.where(MASK[..., None], text, np.float32(99))
    np.testing.assert_array_equal(forward()(*case), forward()(params, tokens, t, other))


@pytest.mark.parametrize("remat", sorted(set(REMAT_POLICIES) - {"none"}))
def test_recomputing_changes_no_gradient(case, remat):
    again, once = gradient(remat)(*case), gradient("none")(*case)
    chex.assert_trees_all_close(again, once, rtol=1e-4, atol=1e-6)


def test_bfloat16_stays_near_float32(case):
    exact, rough = forward()(*case), forward(jnp.bfloat16)(*case)
    assert np.abs(exact - rough.astype(np.float32)).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("blocks", [1, 2, 8, 32, 48])
def test_positions_do_not_drown_the_content_at_the_start_of_a_trunk_of_any_depth(blocks):
    """Its branches are silent then: each block adds the positions, and nothing else."""
    width, places = 48, np.indices((4, 4, 4)).reshape(3, -1)
    content = np.random.default_rng(0).normal(size=(places.shape[1], width))
    tokens, text = jnp.zeros((1, places.shape[1], width)), jnp.zeros((1, 1, width))
    deep = MovieGenTrunk(blocks, width, 8, 1, (4, 4, 4))

    @jax.jit  # nothing but what is asked for is compiled
    def start():
        given = tokens, jnp.asarray(places.T), jnp.ones(1), text, jnp.ones((1, 1), bool)
        return nn.unbox(deep.init(jax.random.key(0), *given)["params"]["positions_table"])

    tables = start()
    added = sum(np.asarray(tables[name])[places[axis]] for axis, name in enumerate("thw"))

    def size(x):
        return np.sqrt(np.mean(np.square(x, dtype=np.float64)))

    share = size(blocks * added) / size(content)
    assert share == pytest.approx(0.424 if blocks > 1 else 0.212, abs=0.01)

    rounded, small = (array.astype(jnp.bfloat16) for array in (content, added))
    exact = rounded.astype(np.float64) + blocks * small.astype(np.float64)
    for _ in range(blocks):
        rounded = rounded + small
    lost = size(rounded.astype(np.float64) - exact) / size(content)
    print(f"{blocks} blocks: positions {share:.3f} of the content, bfloat16 loses {lost:.1%} of it")
    assert lost < 0.09
