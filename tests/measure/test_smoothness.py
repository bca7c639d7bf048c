"""Smoothness, on flows that are known."""

import numpy as np
import pytest

from videojam_jax.measure.smoothness import smoothness


def score(velocities, height=6, width=8):
    """Of a frame that moves as a whole by each of `velocities`, `(u, v)`, in turn."""
    forward = np.zeros((len(velocities), height, width, 2), np.float32)
    forward += np.float32(velocities)[:, None, None]
    seen = np.zeros(forward.shape[:3], bool)
    return smoothness(forward, -forward, seen, seen)


def test_constant_velocity_is_ideal():
    assert score([(3, -2)] * 6) == 1


def test_no_motion_is_ideal():
    assert score([(0, 0)] * 6) == 1


def test_a_fall_under_gravity_is_ideal():
    assert score([(1, 0.3 * i) for i in range(15)]) == 1


def test_a_clip_of_two_frames_has_no_change_of_motion():
    assert score([(5, 0)]) == 1


def test_going_to_and_fro_is_the_worst():
    assert score([(4, 0), (-4, 0)] * 4) == 0


def test_stopping_and_going_is_the_worst():
    assert score([(4, 0), (0, 0)] * 4) == 0


def test_one_bounce_is_forgiven():
    assert score([(2, 4)] * 5 + [(2, -4)] * 5) == 1


def test_more_changes_score_less():
    rng = np.random.default_rng(0)
    rough = rng.standard_normal((15, 2))
    found = [score(np.array([4.0, 0]) + much * rough) for much in (0, 2, 4)]
    assert found[0] == 1 and all(np.diff(found) < -0.1), found


def test_what_the_frame_before_or_after_hides_is_excused():
    forward = np.full((4, 8, 8, 2), 3, np.float32)
    backward = -forward
    backward[:, :2] = 9  # three times as fast, from elsewhere, in the upper quarter
    gone = np.zeros((4, 8, 8), bool)
    assert smoothness(forward, backward, gone, gone) == pytest.approx(0.5)
    hidden = gone.copy()
    hidden[:, :2] = True
    assert smoothness(forward, backward, gone, hidden) == 1
    assert smoothness(forward, backward, hidden, gone) == 1
