"""Legs: the pixels' signal is the gait's, and the same leg twice is none."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.gait import leg_signal, legs_alternate
from videojam_jax.measure.shades import shades
from videojam_jax.measure.tracked import track_bodies


def seen(video: np.ndarray):
    body = track_bodies(video).bodies[0]
    return shades(video, body), body


def walker(kind: str, index: int, **changes):
    options = {"frames": 16, "height": 40, "width": 40, "texture": 0.5, **changes}
    return simulate(index, Options(kinds=(kind,), **options), 2)


@pytest.mark.parametrize("kind", ["walk", "jog"])
def test_signal_goes_as_the_near_leg_is_in_front(kind):
    for index in range(6):
        clip = walker(kind, index)
        laws = clip.states.laws
        front = np.sin(laws["phase"] + laws["rate"] * np.arange(16)) * laws["direction"]
        signal = leg_signal(*seen(clip.video))
        assert np.corrcoef(front, signal)[0, 1] > 0.9
        assert np.abs(signal).max() < 0.5


@pytest.mark.parametrize("kind", ["walk", "jog"])
@pytest.mark.parametrize("frames", [16, 40])
def test_gait_of_any_length_alternates(kind, frames):
    for index in range(4):
        assert legs_alternate(*seen(walker(kind, index, frames=frames).video)) > 0.95


def test_figure_that_does_not_step_has_none():
    video = walker("walk", 0).video
    assert legs_alternate(*seen(np.repeat(video[:1], 16, 0))) < 0.05
    assert legs_alternate(*seen(walker("jump", 0).video)) < 0.5
    assert legs_alternate(*seen(video[:3])) == 0, "too short to tell"


def test_frames_without_the_figure_count():
    video = walker("walk", 1, pan=0.0).video.copy()
    whole = legs_alternate(*seen(video))
    video[6:10] = 110
    assert legs_alternate(*seen(video)) == pytest.approx(0.75 * whole, abs=0.05)
