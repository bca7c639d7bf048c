"""flow_rgb against Matplotlib's hsv_to_rgb, and the round trip through 8 bits."""

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.motion import flow_rgb


def random_flow(seed, shape=(3, 10, 14), fastest=1.0, sigma=0.15, dtype=np.float64):
    """Flows of every direction, with speeds from 0 to `fastest` of the full speed."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-np.pi, np.pi, shape)
    speed = rng.uniform(0, fastest, shape) * sigma * np.hypot(*shape[-2:])
    return np.stack([speed * np.cos(angle), speed * np.sin(angle)], axis=-1).astype(dtype)


def by_matplotlib(flow, sigma):
    height, width = flow.shape[-3:-1]
    u, v = flow[..., 0], flow[..., 1]
    m = np.minimum(1, np.sqrt(u**2 + v**2) / (sigma * np.sqrt(height**2 + width**2)))
    hue = (np.arctan2(v, u) / (2 * np.pi)) % 1
    return matplotlib.colors.hsv_to_rgb(np.stack([hue, np.ones_like(hue), m], axis=-1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.01, 1), fastest=st.floats(0, 4))
def test_colours_equal_matplotlibs_hsv_colours(seed, sigma, fastest):
    flow = random_flow(seed, fastest=fastest, sigma=sigma)
    np.testing.assert_allclose(
        flow_rgb.flow_to_rgb(flow, sigma), by_matplotlib(flow, sigma), atol=1e-9
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.01, 1))
def test_round_trip_in_floats_returns_the_flow_below_the_clip(seed, sigma):
    flow = random_flow(seed, sigma=sigma)
    back = flow_rgb.rgb_to_flow(flow_rgb.flow_to_rgb(flow, sigma), sigma)
    np.testing.assert_allclose(back, flow, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sigma=st.floats(0.05, 0.5),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
)
def test_round_trip_through_8_bits_stays_within_the_stated_bound(seed, sigma, size):
    # The bound that rgb_to_flow's docstring derives, for e = half of 1 / 255.
    bound = (1 + 2 * np.pi / 3) * (0.5 / 255) * flow_rgb.full_speed(*size, sigma)
    flow = random_flow(seed, shape=(4, *size), sigma=sigma)
    eight_bits = np.round(255 * flow_rgb.flow_to_rgb(flow, sigma)).astype(np.uint8)
    back = flow_rgb.rgb_to_flow(eight_bits / 255, sigma)
    worst = np.linalg.norm(back - flow, axis=-1).max()
    assert worst <= bound, (worst, bound)


def test_speeds_above_the_clip_keep_their_direction_at_full_speed():
    flow = random_flow(0)
    unit = flow / np.linalg.norm(flow, axis=-1, keepdims=True)
    full = flow_rgb.full_speed(*flow.shape[-3:-1])
    back = flow_rgb.rgb_to_flow(flow_rgb.flow_to_rgb(3 * full * unit))
    np.testing.assert_allclose(back, full * unit, atol=1e-9)


def test_a_still_pixel_is_black_and_black_is_still():
    still = np.zeros((2, 5, 7, 2), np.float32)
    assert not flow_rgb.flow_to_rgb(still).any()
    assert not flow_rgb.rgb_to_flow(np.zeros((2, 5, 7, 3), np.float32)).any()


@pytest.mark.parametrize(
    ("towards", "colour"),
    [((1, 0), (1, 0, 0)), ((-1, 0), (0, 1, 1)), ((0, 1), (0.5, 1, 0)), ((0, -1), (0.5, 0, 1))],
    ids=["right is red", "left is cyan", "down is yellow-green", "up is violet"],
)
def test_the_four_directions_have_their_colours(towards, colour):
    flow = np.broadcast_to(100.0 * np.array(towards), (4, 4, 2))
    np.testing.assert_allclose(flow_rgb.flow_to_rgb(flow)[0, 0], colour, atol=1e-12)


def test_a_grey_offset_changes_nothing():
    flow = random_flow(1)
    rgb = flow_rgb.flow_to_rgb(flow)
    np.testing.assert_allclose(flow_rgb.rgb_to_flow(rgb + 0.1), flow, atol=1e-9)


def test_numpy_stays_numpy_in_float32_and_jax_gives_the_same_under_jit():
    flow = random_flow(2, dtype=np.float32)
    rgb = flow_rgb.flow_to_rgb(flow)
    back = flow_rgb.rgb_to_flow(rgb)
    assert isinstance(rgb, np.ndarray) and rgb.dtype == back.dtype == np.float32
    rgb_jax = jax.jit(flow_rgb.flow_to_rgb)(jnp.asarray(flow))
    back_jax = jax.jit(flow_rgb.rgb_to_flow)(rgb_jax)
    assert isinstance(back_jax, jax.Array)
    np.testing.assert_allclose(rgb_jax, rgb, atol=2e-6)
    np.testing.assert_allclose(back_jax, flow, atol=2e-5)


def test_the_last_frame_repeats_the_flow_that_led_to_it():
    flow = random_flow(3, shape=(2, 5, 4, 4))
    whole = flow_rgb.repeat_last(flow)
    assert whole.shape == (2, 6, 4, 4, 2)
    np.testing.assert_array_equal(whole[:, :5], flow)
    np.testing.assert_array_equal(whole[:, 5], flow[:, 4])
