"""From latents back to pictures and flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.models.autoencoders.pixels import Pixels, to_uint8
from videojam_jax.motion.flow_rgb import flow_to_rgb, full_speed
from videojam_jax.motion.latent import MotionCode
from videojam_jax.sample.clips import to_clips, to_flow, to_video

pixels = Pixels(patch=(2, 4, 4), shift=-0.1, scale=1.7)


def encode(pictures):
    """uint8 or [0, 1] pictures to latents, as `prepare` does it."""
    if pictures.dtype == np.uint8:
        pictures = pictures / 255
    return np.asarray(pixels.encode(jnp.asarray(2 * pictures - 1, jnp.float32)))


def random_videos(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 8, 12, 3), np.uint8)


def random_flow(count=2, height=16, width=24):
    rng = np.random.default_rng(1)
    speed = rng.uniform(0, full_speed(height, width), (count, 4, height, width))
    angle = rng.uniform(0, 2 * np.pi, speed.shape)
    return np.stack([speed * np.cos(angle), speed * np.sin(angle)], -1).astype(np.float32)


def test_every_8_bit_level_survives_the_way_to_the_model_and_back():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(levels.astype(np.float32) / 127.5 - 1), levels)


def test_pixels_outside_of_the_range_are_cut_off_and_nan_is_black():
    video = np.array([-9.0, -1.0, 1.0, 9.0, np.inf, -np.inf, np.nan], np.float32)
    assert to_uint8(video).tolist() == [0, 0, 255, 255, 255, 0, 0]


def test_a_video_comes_back_through_the_autoencoder_as_it_was():
    videos = random_videos()
    np.testing.assert_array_equal(to_video(encode(videos), pixels), videos)


def test_a_flow_comes_back_through_the_autoencoder_and_its_colours():
    flow = random_flow()
    rgb = flow_to_rgb(flow)
    found, colours = to_flow(encode(rgb), pixels, MotionCode())
    np.testing.assert_allclose(found, flow, atol=1e-3)
    np.testing.assert_array_equal(colours, np.round(255 * rgb).astype(np.uint8))
    assert found.dtype == np.float32


def test_a_motion_latent_of_its_own_scale_is_brought_back_before_it_is_decoded():
    encoded = encode(flow_to_rgb(flow := random_flow(), 0.3))
    channels = encoded.shape[-1]
    code = MotionCode(0.3, tuple(np.linspace(-1, 1, channels)), (0.5,) * channels)
    found, _ = to_flow(code.of_encoded(encoded), pixels, code)
    np.testing.assert_allclose(found, flow, atol=1e-3)


def test_flow_beyond_the_brightest_colour_is_the_full_speed():
    bright = encode(np.full((1, 2, 16, 24, 3), [5.0, -3.0, -3.0]))
    flow, colours = to_flow(bright, pixels, MotionCode())
    np.testing.assert_allclose(flow[..., 0], full_speed(16, 24), rtol=1e-5)
    assert (colours == [255, 0, 0]).all()


def test_clips_of_a_joint_model_have_flow_and_those_of_a_base_have_none():
    videos, flow = random_videos(2), random_flow(2, 8, 12)
    latents, motions = encode(videos), encode(flow_to_rgb(flow))
    joint = to_clips(latents, motions, pixels, MotionCode())
    base = to_clips(latents, None, pixels, MotionCode())
    np.testing.assert_array_equal(joint.videos, videos)
    np.testing.assert_allclose(joint.flows, flow, atol=1e-3)
    assert joint.flow_rgbs.shape == videos.shape
    np.testing.assert_array_equal(base.videos, videos)
    assert base.flow_rgbs is None and base.flows is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decoding_makes_no_hidden_transfer(dtype):
    videos = random_videos(2)
    latents = encode(videos).astype(jnp.dtype(dtype))
    with jax.transfer_guard("disallow"):
        found = to_video(latents, pixels)
    assert np.abs(found.astype(int) - videos).max() <= (0 if dtype == "float32" else 2)


def test_clips_that_are_decoded_one_by_one_share_a_compiled_program():
    traced = []

    @jax.tree_util.register_static
    class Noted(Pixels):
        def decode(self, latent):
            traced.append(latent.shape)
            return super().decode(latent)

    autoencoder = Noted((1, 2, 2), 0.0, 1.0)
    for value in (0.0, 0.5, 1.0):
        to_video(np.full((1, 2, 4, 4, 12), value, np.float32), autoencoder)
    assert len(traced) == 1
