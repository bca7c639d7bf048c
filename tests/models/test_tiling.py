import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.tiling import (
    blend_weights,
    decode_tiled,
    encode_tiled,
    tile_starts,
)

STEP = 4  # frames a latent frame, here


# Encoders and decoders are of JAX in a program and of NumPy where they say what is wanted of it.


def concatenate(*parts):
    return (np if isinstance(parts[0], np.ndarray) else jnp).concatenate(parts, axis=1)


def mean_of_blocks(video):
    """An encoder that looks at each latent frame's own frames alone."""
    missing = -video.shape[1] % STEP
    video = concatenate(video, video[:, -1:].repeat(missing, axis=1))
    return video.reshape(video.shape[0], -1, STEP, *video.shape[2:]).mean(axis=2)


def repeated(latent):
    """A decoder that looks at each latent frame alone; rows and columns are doubled."""
    video = latent.repeat(STEP, axis=1) ** 2
    return video.repeat(2, axis=2).repeat(2, axis=3)


def clip(frames, seed=0):
    return np.random.default_rng(seed).normal(size=(2, frames, 2, 2, 3)).astype(np.float32)


tiles = st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


@settings(max_examples=100)
@given(length=st.integers(1, 60), sizes=tiles)
def test_every_frame_is_covered_and_the_weights_sum_to_one(length, sizes):
    tile, overlap = (STEP * n for n in sizes)
    length = STEP * max(length, sizes[0])
    starts = tile_starts(length, tile, tile - overlap)
    assert starts == sorted(set(starts)) and starts[-1] + tile == length
    weights = blend_weights(starts, tile, overlap)
    assert weights.min() >= 0
    total, covered = np.zeros(length), np.zeros(length, int)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
        covered[start : start + tile] += 1
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert covered.min() >= 1


def test_two_neighbours_are_blended_linearly():
    first, second = blend_weights([0, 4], 8, 4)
    np.testing.assert_allclose(second, [0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1])
    np.testing.assert_allclose(first, second[::-1])


def test_a_tile_moved_back_counts_least_near_its_ends():
    _, before, last = blend_weights([0, 6, 8], 8, 2)
    # Frames 8 to 14 are in both; the two in their middle are blended.
    np.testing.assert_allclose(last, [0, 0, 0.25, 0.75, 1, 1, 1, 1])
    np.testing.assert_allclose(before, [0.25, 0.75, 1, 1, 0.75, 0.25, 0, 0])


@settings(max_examples=8)  # every shape is compiled anew
@given(length=st.integers(1, 12), sizes=tiles)
def test_a_decoder_of_single_frames_gives_the_same_in_tiles(length, sizes):
    latent = clip(length)
    tile, overlap = (STEP * n for n in sizes)
    tiled = jax.jit(lambda x: decode_tiled(repeated, x, STEP, tile, overlap))(latent)
    np.testing.assert_allclose(tiled, repeated(latent), atol=1e-6)


@settings(max_examples=8)
@given(frames=st.integers(1, 45), tile=st.integers(1, 4), overlap=st.integers(0, 2))
def test_an_encoder_of_single_latents_gives_the_same_in_tiles(frames, tile, overlap):
    video = clip(frames)
    tiled = jax.jit(
        lambda x: encode_tiled(mean_of_blocks, x, STEP, STEP * tile, STEP * overlap)
    )(video)
    np.testing.assert_allclose(tiled, mean_of_blocks(video), atol=1e-6)


def smoothed(video):
    """An encoder that sees two frames beyond its latent's on either side."""
    padded = concatenate(*[video[:, :1]] * 2, video, *[video[:, -1:]] * 2)
    return mean_of_blocks(sum(padded[:, i : i + video.shape[1]] for i in range(5)) / 5)


def test_context_frames_make_tiles_equal_the_whole_clip():
    video = clip(40)
    whole = smoothed(video)
    tiled = jax.jit(lambda x, k: encode_tiled(smoothed, x, STEP, 8, k), static_argnums=1)
    np.testing.assert_allclose(tiled(video, STEP), whole, atol=1e-6)
    assert np.abs(tiled(video, 0) - whole).max() > 0.1  # without them it is not


def test_a_clip_of_one_tile_is_taken_whole():
    calls = []

    def encode(video):
        calls.append(video.shape[1])
        return mean_of_blocks(video)

    jax.eval_shape(lambda x: encode_tiled(encode, x, STEP, 8), clip(7))
    assert calls == [7]


def test_the_program_does_not_grow_with_the_clip():
    def size(length):
        latent = jax.ShapeDtypeStruct((1, length, 2, 2, 3), jnp.float32)
        function = jax.jit(lambda x: decode_tiled(repeated, x, STEP, 16, 8))
        return function.lower(latent).as_text().count("\n")

    assert size(40) == size(20)


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [
        (6, 0, "tile is 6"),
        (8, 3, "overlap is 3"),
        (8, 8, "overlap is 8 frames; it must be below tile, 8"),
        (0, 0, "tile is 0"),
    ],
)
def test_tiles_that_do_not_fit_are_named(tile, overlap, message):
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda x: decode_tiled(repeated, x, STEP, tile, overlap), clip(9))
