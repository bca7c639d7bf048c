"""The warping error: by its closed forms, and against `motion.warp`."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.evaluate.metrics.flow import measured_flow
from videojam_jax.evaluate.metrics.warping import hidden, residual, warping_error, weights
from videojam_jax.motion import warp


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


def test_hidden_pixels_are_those_of_motion_warp(flows):
    _, forward, backward = flows
    wanted = np.stack([warp.occlusion(f, b) for f, b in zip(forward, backward, strict=True)])
    found = hidden(forward, backward)
    # Places rounded to 1/32 pixel move a few pixels over the threshold.
    assert (found == wanted).mean() > 0.998, (found.mean(), wanted.mean())


def test_residual_is_that_of_motion_warp(flows):
    video, forward, _ = flows
    frames = video.astype(np.float32) / 255
    warped = [warp.backward_warp(*one) for one in zip(frames[1:], forward, strict=True)]
    wanted = np.abs(np.stack(warped) - frames[:-1]).mean(-1)
    np.testing.assert_allclose(residual(video, forward), wanted, atol=0.01)


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
