"""RAFT without an oracle: its parts against closed forms, its two correlations, its layouts."""

import functools

import chex
import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from videojam_jax.convert.layouts.raft import IGNORED, NAMINGS, detect, rows
from videojam_jax.convert.read import public_tensors, read
from videojam_jax.convert.tensors import open_tensors
from videojam_jax.errors import UserError
from videojam_jax.models.raft import RAFT, SIZES, bilinear_upsample, convex_upsample
from videojam_jax.models.raft_correlation import all_pairs, look_up, on_demand

FRAMES = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)


@functools.cache
def abstract(size):
    initialise = functools.partial(RAFT(size).init, updates=1)
    return nn.unbox(jax.eval_shape(initialise, jax.random.key(0), FRAMES, FRAMES))["params"]


@functools.cache
def random_params(size):
    """Of the variance that keeps activations alive; every bias and statistic is random."""
    rng = np.random.default_rng(0)

    def draw(path, struct):
        name, shape = path[-1].key, struct.shape
        if name == "kernel":
            return (rng.normal(size=shape) * np.sqrt(1 / np.prod(shape[:-1]))).astype("float32")
        low, high = {"scale": (0.5, 1.5), "var": (0.5, 2)}.get(name, (-0.3, 0.3))
        return rng.uniform(low, high, shape).astype("float32")

    return jax.tree_util.tree_map_with_path(draw, abstract(size))


@functools.cache
def flow(size, **model_and_call):
    names = set(model_and_call) & {"updates", "iterates"}
    call = {name: model_and_call.pop(name) for name in names}
    apply = jax.jit(functools.partial(RAFT(size, **model_and_call).apply, **call))
    coarse = np.random.default_rng(0).uniform(-1, 1, (2, 3, 5, 3)).astype(np.float32)
    frames = (cv2.resize(frame, (40, 24), interpolation=cv2.INTER_CUBIC)[None] for frame in coarse)
    return np.asarray(apply({"params": random_params(size)}, *frames))


def sampled(image, x, y):
    """`image [h w]` at `(x, y)`, bilinear, zero outside, one pixel after the other."""
    height, width = image.shape
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 4), (3, 1), (0, 2)])
def test_a_window_is_bilinear_zero_outside_and_x_changes_slowest(height, width):
    rng = np.random.default_rng(1)
    volume = rng.normal(size=(1, 6, height, width)).astype(np.float32)
    points = rng.uniform(-3, 9, (1, 6, 2)).astype(np.float32)
    points[0, 0] = 2, 1  # on a pixel
    wanted = [
        [
            sampled(volume[0, q], float(x) + i, float(y) + j)
            for i in range(-2, 3)
            for j in range(-2, 3)
        ]
        for q, (x, y) in enumerate(points[0])
    ]
    got = jax.jit(look_up, static_argnums=2)(volume, points, 2)
    np.testing.assert_allclose(got[0], wanted, atol=2e-6)


@functools.cache
def _program(function, **how):
    return jax.jit(lambda f, s, p: function(f, s, 3, 1, **how)(p))


def correlated(function, first, second, points, **how):
    return np.asarray(_program(function, **how)(first, second, points))


def features_and_points(height, width, channels=8):
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 2, height, width, channels)).astype(np.float32)
    points = rng.uniform(-2, max(height, width) + 2, (2, height, width, 2)).astype(np.float32)
    return first, second, points


def test_the_pyramid_holds_the_means_of_the_correlations():
    first, second, points = features_and_points(6, 9)
    volume = np.einsum("byxc,bhwc->byxhw", first, second) / np.sqrt(8)
    wanted = []
    for level in range(3):
        windows = np.zeros((2, 6, 9, 9), np.float32)
        offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        for at in np.ndindex(2, 6, 9):
            x, y = points[at] / 2**level
            windows[at] = [sampled(volume[at], x + i, y + j) for i, j in offsets]
        wanted.append(windows)
        height, width = volume.shape[-2] // 2, volume.shape[-1] // 2
        volume = volume[..., : 2 * height, : 2 * width]
        volume = volume.reshape(2, 6, 9, height, 2, width, 2).mean((-3, -1))
    got = correlated(all_pairs, first, second, points)
    np.testing.assert_allclose(got, np.concatenate(wanted, -1), atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 3000, 2**25])  # one row, two of six, all
def test_correlations_on_demand_are_those_of_all_pairs(at_once):
    given = features_and_points(6, 9)
    got = correlated(on_demand, *given, at_once=at_once)
    np.testing.assert_allclose(got, correlated(all_pairs, *given), atol=1e-6)


def test_correlations_on_demand_hold_a_fraction_of_all_pairs():
    given = features_and_points(40, 40)

    def held(function, **how):
        compiled = _program(function, **how).lower(*given).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    volume = 4 * 2 * 1600**2
    assert held(all_pairs) > volume
    assert held(on_demand, at_once=2**20) < volume / 4


def test_convex_weights_pick_among_the_nine_flows_around_a_pixel():
    flow = np.random.default_rng(3).normal(size=(1, 4, 5, 2)).astype(np.float32)
    logits = np.zeros((4, 5, 9, 8, 8), np.float32)
    chosen = np.random.default_rng(4).integers(0, 9, (4, 5, 8, 8))
    np.put_along_axis(logits, chosen[:, :, None], 60.0, axis=2)
    got = np.asarray(jax.jit(convex_upsample)(flow, logits.reshape(1, 4, 5, -1)))
    padded = np.pad(flow[0], ((1, 1), (1, 1), (0, 0)))
    for row, column in np.ndindex(32, 40):
        (i, p), (j, q) = divmod(row, 8), divmod(column, 8)
        down, right = divmod(chosen[i, j, p, q], 3)
        wanted = 8 * padded[i + down, j + right]
        np.testing.assert_allclose(got[0, row, column], wanted, atol=1e-5)


def test_even_convex_weights_give_the_mean_of_the_nine():
    flow, logits = np.ones((1, 3, 3, 2), np.float32), np.zeros((1, 3, 3, 576), np.float32)
    got = np.asarray(jax.jit(convex_upsample)(flow, logits))
    np.testing.assert_allclose(got[0, 8:16, 8:16], 8, atol=1e-5)
    np.testing.assert_allclose(got[0, :8, :8], 8 * 4 / 9, atol=1e-5)  # five lie outside


@pytest.mark.parametrize(("height", "width"), [(3, 4), (1, 2)])
def test_bilinear_enlargement_keeps_the_corners_and_planes(height, width):
    rows_, columns = np.mgrid[:height, :width].astype(np.float32)
    plane = np.stack([2 * columns - rows_, rows_ + 1], -1)[None]
    got = jax.jit(bilinear_upsample)(plane)
    y = np.linspace(0, height - 1, 8 * height)[:, None]
    x = np.linspace(0, width - 1, 8 * width)[None]
    wanted = 8 * np.stack(np.broadcast_arrays(2 * x - y, y + 1), -1)
    np.testing.assert_allclose(got[0], wanted, atol=1e-4)


def test_the_last_iterate_is_the_answer_and_both_correlations_give_one_flow():
    every = flow("small", updates=3, iterates=True)
    assert every.shape == (3, 1, 24, 40, 2)
    on_demand = flow("small", updates=3, correlation="on_demand")
    np.testing.assert_allclose(every[-1], on_demand, atol=1e-4)
    steps = np.abs(np.diff(every, axis=0)).max((1, 2, 3, 4))
    assert (steps > 0.05).all(), steps


@pytest.mark.parametrize(("size", "part"), [("large", 0.01), ("small", 0.05)])
def test_bfloat16_stays_within_a_small_part_of_the_flow(size, part):
    how = {"iterates": True} if size == "small" else {}  # as it is compiled already
    exact = flow(size, updates=3, **how).reshape(-1, 1, 24, 40, 2)[-1]
    got = flow(size, updates=3, dtype=jnp.bfloat16)
    assert got.dtype == np.float32
    error = np.linalg.norm(got - exact, axis=-1).mean()
    length = np.linalg.norm(exact, axis=-1).mean()
    assert length > 1
    assert 0 < error < part * length, (error, length)


def test_the_program_does_not_grow_with_the_updates():
    features, context = (jax.ShapeDtypeStruct((1, 2, 2, c), jnp.float32) for c in (128, 160))

    def lines(updates):
        refine = functools.partial(RAFT("small").apply, updates=updates, method="refine")
        given = {"params": abstract("small")}, features, features, context
        return len(jax.jit(refine).lower(*given).as_text().splitlines())

    assert lines(2) == lines(32)


@pytest.mark.parametrize(
    ("size", "published", "statistics"), [("large", 5_257_536, 2880), ("small", 990_162, 0)]
)
def test_it_has_the_published_number_of_parameters(size, published, statistics):
    arrays = jax.tree.leaves(abstract(size))
    assert sum(array.size for array in arrays) == published + statistics


@pytest.mark.parametrize(
    ("model", "height", "width", "message"),
    [
        (RAFT("huge"), 16, 16, "'huge' is unknown.*large.*small"),
        (RAFT(correlation="some"), 16, 16, "'some' is unknown.*on_demand"),
        (RAFT("small"), 16, 20, "multiples of 8, not 16 x 20"),
        (RAFT("small"), 20, 16, "multiples of 8, not 20 x 16"),
    ],
)
def test_what_it_cannot_take_is_named(model, height, width, message):
    frame = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), frame, frame)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("naming", NAMINGS)
def test_weights_go_out_and_come_in_again_bit_for_bit(size, naming, tmp_path):
    params = random_params(size)
    layout = rows(size, naming)
    save_file(
        {name: np.ascontiguousarray(x) for name, x in public_tensors(params, layout).items()},
        tmp_path / "raft.safetensors",
    )
    tensors = open_tensors(tmp_path / "raft.safetensors")
    assert detect(tensors) == (size, naming)
    again = read(tensors, layout, abstract(size), ignored=IGNORED)
    chex.assert_trees_all_equal(again, params)


def test_a_princeton_file_may_lack_the_prefix_and_the_second_name_of_a_norm(tmp_path):
    params = random_params("large")
    public = public_tensors(params, rows("large", "princeton"))
    renamed = {
        name.removeprefix("module.").replace("downsample.1", "norm3"): np.ascontiguousarray(x)
        for name, x in public.items()
    }
    assert "cnet.layer2.0.norm3.running_var" in renamed
    save_file(renamed, tmp_path / "raft.safetensors")
    tensors = open_tensors(tmp_path / "raft.safetensors")
    assert detect(tensors) == ("large", "princeton")
    again = read(tensors, rows(*detect(tensors)), abstract("large"), ignored=IGNORED)
    chex.assert_trees_all_equal(again, params)


def test_files_that_are_no_raft_are_named():
    with pytest.raises(UserError, match=r"no RAFT.*convnormrelu.*fnet.conv1.*2 tensors \(a, b"):
        detect(["b", "a"])
    with pytest.raises(UserError, match=r"no known size.*module.update_block.gru.convz2"):
        detect(["module.fnet.conv1.weight"])
    with pytest.raises(UserError, match="no layout of RAFT 'large' as 'keras'"):
        rows("large", "keras")
