import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.models.trunks.movie_gen import REMAT_POLICIES, MovieGenTrunk

B, N, M, WIDTH, BLOCKS, FFN, HEADS = 2, 8, 5, 16, 3, 40, 4
POSITIONS = jnp.indices((2, 2, 2), dtype=jnp.int32).reshape(3, -1).T
MASK = jnp.array([[True] * 5, [True] * 2 + [False] * 3])


def trunk(**changes) -> MovieGenTrunk:
    return MovieGenTrunk(BLOCKS, WIDTH, FFN, HEADS, (2, 2, 2), **changes)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.normal(size=(B, N, WIDTH)), jnp.float32)
    text = jnp.asarray(rng.normal(size=(B, M, WIDTH)), jnp.float32)
    t = jnp.array([0.1, 0.8])
    params = nn.unbox(
        trunk().init(jax.random.key(0), tokens, POSITIONS, t, text, MASK)["params"]
    )
    leaves, tree = jax.tree.flatten(params)
    noisy = [leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, noisy), tokens, t, text


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
    got = trunk().apply({"params": params}, tokens, POSITIONS, t, text, MASK)
    want = reference(params, *map(np.asarray, (tokens, t, text, MASK)))
    assert np.abs(want).max() > 0.5
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_padding_of_the_text_changes_nothing(case):
    params, tokens, t, text = case
    other = jnp.where(MASK[..., None], text, 99.0)
    run = jax.jit(lambda y: trunk().apply({"params": params}, tokens, POSITIONS, t, y, MASK))
    np.testing.assert_array_equal(run(text), run(other))


@pytest.mark.parametrize("remat", sorted(set(REMAT_POLICIES) - {"none"}))
def test_recomputing_changes_no_gradient(case, remat):
    params, tokens, t, text = case

    def gradient(name):
        def loss(p):
            return (trunk(remat=name).apply({"params": p}, tokens, POSITIONS, t, text, MASK) ** 2).mean()

        return jax.jit(jax.grad(loss))(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        gradient(remat),
        gradient("none"),
    )


def test_tokens_after_each_block_can_be_read(case):
    params, tokens, t, text = case
    _, seen = trunk().apply(
        {"params": params}, tokens, POSITIONS, t, text, MASK, mutable=["intermediates"]
    )
    (blocks,) = seen["intermediates"]["blocks"]["tokens"]
    assert blocks.shape == (BLOCKS, B, N, WIDTH)


def test_bfloat16_stays_near_float32(case):
    params, tokens, t, text = case
    exact = trunk().apply({"params": params}, tokens, POSITIONS, t, text, MASK)
    rough = trunk(dtype=jnp.bfloat16).apply({"params": params}, tokens, POSITIONS, t, text, MASK)
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
