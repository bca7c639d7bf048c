"""The warping error: by its closed forms, against SciPy, and by the exact flow of simulated clips."""

import functools

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.flow import measured_flow
from videojam_jax.measure.warping import hidden, residual, warping_error, weights


@pytest.fixture(scope="module")
def flows():
    video = simulate(3, Options()).video
    backward = np.ascontiguousarray(measured_flow(video[::-1])[::-1])
    return video, measured_flow(video), backward


def no_flow(frames, height, width):
    return np.zeros((frames - 1, height, width, 2), np.float32)


def test_a_motionless_clip_has_no_error_and_nothing_hidden():
    video = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 9, 12, 3), np.uint8), 4, 0)
    still = no_flow(4, 9, 12)
    assert not hidden(still, still).any()
    assert warping_error(residual(video, still), weights(hidden(still, still))) == 0


def test_black_after_white_is_the_worst_there_is():
    video = np.zeros((2, 8, 8, 3), np.uint8)
    video[0] = 255
    still = no_flow(2, 8, 8)
    assert warping_error(residual(video, still), weights(hidden(still, still))) == 1


def test_a_whole_shift_is_explained_but_for_what_leaves_the_picture():
    frame = np.random.default_rng(1).integers(0, 256, (10, 20, 3), np.uint8)
    video = np.stack([frame[:, 2:], frame[:, :-2]])  # moves to the right by 2
    forward = no_flow(2, 10, 18) + np.float32([2, 0])
    gone = hidden(forward, -forward)
    assert gone[:, :, -2:].all() and not gone[:, :, :-2].any()
    assert warping_error(residual(video, forward), weights(gone)) == 0


def test_a_square_moving_right_hides_what_it_moves_onto():
    # First frame: a square at columns 8..11 that moves 3 to the right over a still ground.
    forward, backward = np.zeros((2, 1, 20, 20, 2), np.float32)
    forward[0, 5:15, 8:12, 0] = 3
    backward[0, 5:15, 11:15, 0] = -3
    wanted = np.zeros((1, 20, 20), bool)
    wanted[0, 5:15, 12:15] = True  # ground at first, then under the square
    np.testing.assert_array_equal(hidden(forward, backward), wanted)


def ends(flow):
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return rows + flow[..., 1], columns + flow[..., 0]


def warp(frame, flow):
    """SciPy's own: `[h, w, c]` at the ends of the flow, bilinear, the border's pixels repeating."""
    look_up = functools.partial(map_coordinates, coordinates=ends(flow), order=1, mode="nearest")
    return np.stack([look_up(frame[..., i]) for i in range(frame.shape[-1])], -1)


def test_hidden_pixels_do_not_come_back(flows):
    _, forward, backward = flows
    wanted = []
    for f, b in zip(forward, backward, strict=True):
        g, (y, x) = warp(b, f), ends(f)
        height, width = y.shape
        outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
        lengths = (f**2).sum(-1) + (g**2).sum(-1)
        wanted.append(outside | (((f + g) ** 2).sum(-1) >= 0.01 * lengths + 0.5))
    found = hidden(forward, backward)
    # Places rounded to 1/32 pixel move a few pixels over the threshold.
    assert (found == np.stack(wanted)).mean() > 0.998, (found.mean(), np.mean(wanted))


def test_residual_is_what_warping_leaves(flows):
    video, forward, _ = flows
    frames = video.astype(np.float32) / 255
    warped = [warp(*pair) for pair in zip(frames[1:], forward, strict=True)]
    wanted = np.abs(np.stack(warped) - frames[:-1]).mean(-1)
    np.testing.assert_allclose(residual(video, forward), wanted, atol=0.01)


def test_exact_flow_brings_the_next_frame_back_where_both_show_the_same_surface():
    # In units of 8 bits. What is left is interpolation of texture: 0.7 where not
    # warping leaves 3.3. A pixel counts where all of the pixels its flow ends
    # between are of its own body: 94 % of them.
    left, still, share = [], [], []
    for index in range(16):
        clip = simulate(index, Options())
        identity = clip.states.identity
        for i in (0, 7, 13):
            flow = clip.flow[i]
            bodies = np.arange(identity.max() + 1)
            shown = warp((identity[i + 1, ..., None] == bodies) * np.float32(1), flow)
            own = np.take_along_axis(shown, identity[i][..., None].astype(int), -1)[..., 0]
            y, x = ends(flow)
            seen = (own > 0.999) & (x >= 0) & (x <= 63) & (y >= 0) & (y <= 63)
            left.append(255 * residual(clip.video[i : i + 2], flow[None])[0][seen].mean())
            frames = clip.video[i : i + 2].astype(np.float32)
            still.append(abs(frames[1] - frames[0])[seen].mean())
            share.append(seen.mean())
    found = np.mean(left), np.mean(still), np.mean(share)
    assert found[0] < 1.0 and found[0] < found[1] / 3 and found[2] > 0.9, found


def test_at_most_a_quarter_of_a_frame_is_excused():
    gone = np.zeros((3, 4, 4), bool)
    gone[1].flat[:4] = True
    gone[2].flat[:8] = True
    found = weights(gone)
    assert (found[0] == 1).all()
    assert (found[1].flat[:4] == 0).all() and (found[1].flat[4:] == 1).all()
    # Half is hidden, so half of it counts: 8 x 0.5 excused, a quarter of 16.
    assert (found[2].flat[:8] == 0.5).all() and (found[2].flat[8:] == 1).all()


def test_error_is_finite_when_all_is_hidden():
    video = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 3), np.uint8)
    away = no_flow(2, 8, 8) + np.float32(100)
    assert hidden(away, away).all()
    assert 0.1 < warping_error(residual(video, away), weights(hidden(away, away))) < 1
