"""Turns are read off the pixels to a hundredth of a radian, and judged by their steadiness."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.shades import shades
from videojam_jax.measure.tracked import track_bodies
from videojam_jax.measure.turning import steady_turn, turns_of


def seen(video: np.ndarray):
    body = track_bodies(video).bodies[0]
    return shades(video, body), body


def turning(kind: str, index: int):
    return simulate(index, Options(kinds=(kind,), height=40, width=40, texture=0.5), 2)


@pytest.mark.parametrize("kind", ["wheel", "cartwheel"])
def test_turns_are_those_of_the_scene(kind):
    for index in range(6):
        clip = turning(kind, index)
        wanted = np.diff(clip.states.angle[:, 0])
        np.testing.assert_allclose(turns_of(*seen(clip.video)), wanted, atol=0.05)
        assert steady_turn(*seen(clip.video)) > 0.98
        backwards = turns_of(*seen(clip.video[::-1].copy()))
        np.testing.assert_allclose(backwards, -wanted[::-1], atol=0.05)


def test_steps_of_another_rate_count_less():
    video = turning("wheel", 0).video
    jumps = np.array([0, 1, 2, 3, 7, 8, 9, 10, 14, 15])  # two jumps of four frames in nine steps
    assert steady_turn(*seen(video[jumps])) == pytest.approx(7 / 9, abs=0.03)


def test_turn_there_and_back_is_none():
    video = turning("wheel", 1).video
    there_and_back = np.concatenate([video[:8], video[7::-1]])
    assert steady_turn(*seen(there_and_back)) < 0.1


def test_what_does_not_turn_has_none_and_one_frame_has_none():
    video = turning("wheel", 2).video
    assert steady_turn(*seen(np.repeat(video[:1], 8, 0))) < 1e-3
    assert steady_turn(*seen(video[:1])) == 0


def test_steps_to_frames_without_the_body_count_as_0():
    video = turning("wheel", 3).video.copy()
    video[5] = 110
    assert steady_turn(*seen(video)) == pytest.approx(13 / 15, abs=0.02)
