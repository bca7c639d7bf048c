"""Backward warping and occlusion, against closed forms and against exact flow."""

import jax
import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.motion import warp


def constant_flow(height, width, u, v):
    return np.broadcast_to(np.array([u, v], np.float32), (height, width, 2))


def test_zero_flow_returns_the_frame():
    frame = np.random.default_rng(0).normal(size=(7, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(warp.backward_warp(frame, constant_flow(7, 9, 0, 0)), frame)


def test_whole_pixel_flow_looks_up_and_repeats_the_border():
    frame = np.arange(5 * 6, dtype=np.float32).reshape(5, 6, 1)
    warped = warp.backward_warp(frame, constant_flow(5, 6, 2, -1))
    rows, columns = np.mgrid[:5, :6]
    wanted = frame[np.clip(rows - 1, 0, 4), np.clip(columns + 2, 0, 5)]
    np.testing.assert_array_equal(warped, wanted)


def test_a_plane_is_interpolated_exactly():
    rows, columns = np.mgrid[:12, :10].astype(np.float32)
    flow = np.random.default_rng(1).uniform(-0.9, 0.9, (12, 10, 2)).astype(np.float32)
    warped = warp.backward_warp((3 * columns - 2 * rows)[..., None], flow)[..., 0]
    wanted = 3 * (columns + flow[..., 0]) - 2 * (rows + flow[..., 1])
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(warped[inside], wanted[inside], atol=1e-5)


def test_jax_gives_what_numpy_gives_and_vmaps_over_clips():
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(3, 8, 8, 3)).astype(np.float32)
    flows = rng.normal(scale=3, size=(3, 8, 8, 2)).astype(np.float32)
    warped = jax.jit(jax.vmap(warp.backward_warp))(frames, flows)
    for frame, flow, one in zip(frames, flows, warped, strict=True):
        np.testing.assert_allclose(one, warp.backward_warp(frame, flow), atol=1e-5)


def test_exact_flow_warps_frame_t_plus_1_onto_frame_t_where_both_show_the_same_surface():
    # In units of 8 bits. What is left is interpolation of texture: 0.7 where not
    # warping leaves 3.3. A pixel counts where all of the pixels its flow ends
    # between are of its own body: 94 % of them.
    warped_error, still_error, share = [], [], []
    for index in range(16):
        clip = simulate(index, Options())
        identity = clip.states.identity
        for i in (0, 7, 13):
            one, two = clip.video[i].astype(np.float32), clip.video[i + 1].astype(np.float32)
            flow = clip.flow[i]
            bodies = np.arange(identity.max() + 1)
            shown = warp.backward_warp((identity[i + 1, ..., None] == bodies) * np.float32(1), flow)
            own = np.take_along_axis(shown, identity[i][..., None].astype(int), -1)[..., 0]
            rows, columns = np.mgrid[:64, :64]
            x, y = columns + flow[..., 0], rows + flow[..., 1]
            seen = (own > 0.999) & (x >= 0) & (x <= 63) & (y >= 0) & (y <= 63)
            warped_error.append(abs(warp.backward_warp(two, flow) - one)[seen].mean())
            still_error.append(abs(two - one)[seen].mean())
            share.append(seen.mean())
    found = np.mean(warped_error), np.mean(still_error), np.mean(share)
    assert found[0] < 1.0 and found[0] < found[1] / 3 and found[2] > 0.9, found


@pytest.mark.parametrize(
    "occlusion", [warp.occlusion, jax.jit(warp.occlusion)], ids=["numpy", "jax"]
)
def test_a_square_moving_right_hides_what_it_moves_onto(occlusion):
    # Frame a: a square at columns 8..11 that moves 3 to the right over a still ground.
    forward, backward = np.zeros((2, 20, 20, 2), np.float32)
    forward[5:15, 8:12, 0] = 3
    backward[5:15, 11:15, 0] = -3
    hidden = np.asarray(occlusion(forward, backward))
    wanted = np.zeros((20, 20), bool)
    wanted[5:15, 12:15] = True  # ground in a, under the square in b
    np.testing.assert_array_equal(hidden, wanted)


def test_what_leaves_the_picture_is_hidden():
    flow = constant_flow(6, 8, 2, 0)
    hidden = warp.occlusion(flow, -flow)
    wanted = np.zeros((6, 8), bool)
    wanted[:, 6:] = True
    np.testing.assert_array_equal(hidden, wanted)
