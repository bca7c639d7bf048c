"""Cover and brightness of a body's pixels, of figures whose parts are known."""

import cv2
import numpy as np
import pytest

from videojam_jax.data.figures import FAR, NEAR
from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.shades import shades
from videojam_jax.measure.tracked import track_bodies

GREY = (110, 112, 108)


def halves(colour=(30, 70, 240), blur: float = 0.0) -> np.ndarray:
    """A square, its left half bright and its right half dark, before grey."""
    video = np.full((3, 24, 24, 3), GREY, np.uint8)
    video[:, 6:18, 6:12] = colour
    video[:, 6:18, 12:18] = np.round(FAR * np.array(colour))
    return np.stack([cv2.GaussianBlur(f, (0, 0), blur) for f in video]) if blur else video


@pytest.mark.parametrize("colour", [(30, 70, 240), (240, 220, 15), (15, 205, 215)])
def test_bright_and_dark_halves_are_told_apart(colour):
    video = halves(colour)
    found = shades(video, track_bodies(video).bodies[0])
    dark, bright = found.parts(FAR, NEAR)
    np.testing.assert_allclose(found.cover[0, 6:18, 6:18], 1, atol=0.02)
    np.testing.assert_allclose(bright[0, 6:18, 6:12], 1, atol=0.02)
    np.testing.assert_allclose(dark[0, 6:18, 12:18], 1, atol=0.02)
    assert found.cover[0, :5].max() == 0


@pytest.mark.parametrize("blur", [0.5, 0.8])
def test_blur_keeps_how_much_is_bright_and_how_much_is_dark(blur):
    sharp, soft = (
        shades(video, track_bodies(video).bodies[0]).parts(FAR, NEAR)
        for video in (halves(), halves(blur=blur))
    )
    for part, other in zip(sharp, soft, strict=True):
        np.testing.assert_allclose(other.sum((1, 2)), part.sum((1, 2)), rtol=0.08)


def test_cover_of_a_figure_is_its_area():
    options = Options(kinds=("cartwheel",), height=64, width=64, texture=0.0, pan=0.0)
    for index in range(3):
        clip = simulate(index, options, 1)
        (body,) = track_bodies(clip.video).bodies
        found = shades(clip.video, body)
        area = clip.states.visible_area[:, 0]
        np.testing.assert_allclose(found.cover.sum((1, 2)), area, rtol=0.06)
        assert (found.bright <= found.cover + 1e-6).all()


def test_body_without_anything_around_it_has_shades_all_the_same():
    video = np.full((2, 6, 6, 3), GREY, np.uint8)
    video[:, :3] = (230, 25, 25)
    found = shades(video, track_bodies(video).bodies[0])
    assert np.isfinite(found.cover).all()
    np.testing.assert_allclose(found.bright[:, :3], 1, atol=0.05)
