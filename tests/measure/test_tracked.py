"""Bodies are followed: where, how large, hidden or gone; and the camera."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.permanence import body_permanence
from videojam_jax.measure.prompt_agreement import shape_of
from videojam_jax.measure.tracked import track_bodies

RED, BLUE, GREY = (230, 25, 25), (30, 70, 240), (100, 100, 100)


def discs(*ways, frames: int = 10, size: int = 48) -> np.ndarray:
    """Discs before grey, the later over the earlier: `(colour, radius, x, y)` of frame i."""
    y, x = np.mgrid[:size, :size]
    video = np.full((frames, size, size, 3), GREY, np.uint8)
    for i in range(frames):
        for way in ways:
            here = way(i)
            if here:
                colour, radius, column, row = here
                away = np.hypot(x - column, y - row) - radius
                cover = np.clip(0.5 - away, 0, 1)[..., None]
                video[i] = (video[i] + cover * (np.array(colour) - video[i])).round()
    return video


@pytest.fixture(scope="module")
def clips():
    return [simulate(index, Options(), 9) for index in range(40)]


@pytest.fixture(scope="module")
def tracked(clips):
    return [track_bodies(clip.video) for clip in clips]


def test_bodies_of_simulated_clips_are_found_where_they_are(clips, tracked):
    apart = []
    for clip, found in zip(clips, tracked, strict=True):
        states = clip.states
        assert {body.colour for body in found.bodies} <= set(states.colours), clip.caption
        for body in found.bodies:
            place = states.position[:, states.colours.index(body.colour)]
            apart.append(np.linalg.norm(body.centre - place, axis=1)[body.seen])
    assert sum(len(found.bodies) for found in tracked) >= 0.98 * sum(
        len(clip.states.colours) for clip in clips
    )
    away = np.concatenate(apart)
    assert np.median(away) < 0.15 and np.quantile(away, 0.95) < 1.0, np.quantile(away, 0.95)


def test_camera_is_measured_to_a_part_of_a_pixel_a_frame(clips, tracked):
    for clip, found in zip(clips, tracked, strict=True):
        speed = (clip.states.camera[-1] - clip.states.camera[0]) / 15
        np.testing.assert_allclose(found.camera, speed, atol=0.06, err_msg=clip.caption)


def test_shapes_of_whole_bodies_are_told(clips, tracked):
    right = []
    for clip, found in zip(clips, tracked, strict=True):
        for body in found.bodies:
            seems = shape_of(body)
            if seems:
                right.append(seems == clip.states.shapes[clip.states.colours.index(body.colour)])
    assert len(right) > 40 and np.mean(right) > 0.97, np.mean(right)


def test_disc_is_measured_to_a_part_of_a_pixel():
    video = discs(lambda i: (RED, 6.0, 12 + 2.3 * i, 20.4))
    (body,) = track_bodies(video).bodies
    assert body.colour == "red" and body.whole.all()
    np.testing.assert_allclose(body.centre[:, 0], 12 + 2.3 * np.arange(10), atol=0.1)
    np.testing.assert_allclose(body.centre[:, 1], 20.4, atol=0.1)
    np.testing.assert_allclose(body.area, np.pi * 36, rtol=0.06)
    np.testing.assert_allclose(body.aspect, 0, atol=0.03)


def test_body_behind_another_is_found_by_what_is_seen_of_it_and_excused_when_nothing_is():
    video = discs(
        lambda i: (RED, 5.0, 6 + 4 * i, 24.0), lambda i: (BLUE, 9.0, 24.0, 24.0), frames=10
    )
    found = track_bodies(video)
    red = next(body for body in found.bodies if body.colour == "red")
    assert red.excused.any() and not red.missing.any()
    # In the third frame a part of it is hidden.
    np.testing.assert_allclose(red.centre[red.seen, 0], (6 + 4 * np.arange(10))[red.seen], atol=0.7)
    assert body_permanence(found) == 1


def test_body_that_leaves_over_the_border_is_excused():
    found = track_bodies(discs(lambda i: (RED, 6.0, 24 + 5.0 * i, 24.0)))
    assert found.bodies[0].excused[-1] and not found.bodies[0].missing.any()
    assert body_permanence(found) == 1


@pytest.mark.parametrize("gone", [range(4, 6), range(7, 10), range(3)])
def test_body_that_vanishes_in_the_open_is_missing(gone):
    found = track_bodies(discs(lambda i: None if i in gone else (RED, 6.0, 20 + i, 24.0)))
    assert found.bodies[0].missing.tolist() == [i in gone for i in range(10)]
    assert body_permanence(found) == pytest.approx(1 - len(gone) / 10)


def test_two_bodies_of_one_colour_are_two():
    found = track_bodies(
        discs(lambda i: (RED, 5.0, 10 + i, 12.0), lambda i: (RED, 5.0, 34 - i, 36.0))
    )
    assert [body.colour for body in found.bodies] == ["red", "red"]
    tracks = sorted((body.centre[0].tolist() for body in found.bodies))
    np.testing.assert_allclose(tracks, [(10, 12), (34, 36)], atol=0.1)


def test_plain_background_does_not_show_the_camera():
    assert track_bodies(discs(lambda i: (RED, 6.0, 12 + 2 * i, 20.0))).camera is None
