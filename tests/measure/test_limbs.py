"""Limbs that keep their lengths in every pose, and those that do not."""

import numpy as np
import pytest

from videojam_jax.data.scenes import OF_FIGURES
from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.corruptions import POSE_CORRUPTIONS
from videojam_jax.measure.limbs import limb_constancy
from videojam_jax.measure.shades import shades
from videojam_jax.measure.tracked import track_bodies


def of(video: np.ndarray, kind: str) -> float:
    body = track_bodies(video).bodies[0]
    return limb_constancy(shades(video, body), body, drawn_up=kind == "jump")


@pytest.mark.parametrize("kind", OF_FIGURES)
def test_poses_leave_it_and_growing_limbs_do_not(kind):
    options = Options(kinds=(kind,), height=40, width=40, texture=0.5)
    grown = []
    for index in range(4):
        assert of(simulate(index, options, 2).video, kind) > 0.97
        grown.append(of(POSE_CORRUPTIONS["limbs"](index, options, 2, 1.0), kind))
    assert np.mean(grown) < 0.85


def test_limbs_that_are_gone_are_not_kept():
    """A leg that is there in half of the frames alone."""
    video = simulate(0, Options(kinds=("walk",), height=64, width=64, pan=0.0), 2).video.copy()
    body = track_bodies(video).bodies[0]
    low = int(np.median(body.centre[:, 1])) + 6
    video[8:, low:] = video[:8, low:].mean((0, 2), keepdims=True)
    assert of(video, "walk") < 0.7


def test_frames_without_the_figure_count_as_0():
    options = Options(kinds=("jump",), height=40, width=40, pan=0.0)
    video = simulate(1, options, 2).video.copy()
    video[4:12] = 110
    assert of(video, "jump") == pytest.approx(0.5, abs=0.05)
    video[1:] = 110
    assert of(video, "jump") == 0, "one frame has nothing to be compared with"
