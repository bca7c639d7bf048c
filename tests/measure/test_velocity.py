"""How much of a motion two velocities disagree on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.measure.velocity import SLACK, difference, speed


def differing(one, other, relative=0.1):
    one, other = np.array([one], np.float32), np.array([other], np.float32)
    faster = np.maximum(speed(one), speed(other))
    differs, moves = difference(speed(one - other), faster, relative)
    return float(differs[0]), float(moves[0])


def test_speed_is_the_length_of_each_velocity():
    flow = np.array([[[3, 4], [0, 0], [-5, 12]]], float)
    np.testing.assert_array_equal(speed(flow), [[5, 0, 13]])


def test_velocities_within_the_slack_of_each_other_do_not_differ():
    assert differing((4, 0), (4, 0)) == (0, 4)
    assert differing((4, 0), (4, 0.89)) == (0, pytest.approx(np.hypot(4, 0.89)))


def test_motion_against_stillness_differs_in_all_of_it():
    assert differing((3, 0), (0, 0)) == (3, 3)
    assert differing((0, 0), (0, -3)) == (3, 3)
    assert differing((2, 0), (-2, 0)) == (2, 2)


def test_what_is_slower_than_the_slack_does_not_move():
    assert differing((SLACK, 0), (0, 0)) == (0, 0)
    assert differing((0, 0), (0, 0)) == (0, 0)


def test_difference_rises_linearly_from_the_slack_to_the_faster_speed():
    # Slack 0.5 + 0.1 x 10 = 1.5; half of the way from there to 10 is 5.75.
    assert differing((10, 0), (4.25, 0)) == (pytest.approx(5), 10)


velocities = st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 2)


@given(velocities, velocities, st.floats(0, 0.9))
def test_a_difference_is_never_more_than_the_motion(one, other, relative):
    differs, moves = differing(one, other, relative)
    assert 0 <= differs <= moves * (1 + 1e-6) and np.isfinite(moves)
