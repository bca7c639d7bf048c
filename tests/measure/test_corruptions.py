"""Clips that are wrong by a known amount: nothing at 0, what is said at 1, the same each time."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.errors import UserError
from videojam_jax.measure.bodies import find_bodies
from videojam_jax.measure.corruptions import (
    CORRUPTIONS,
    POSE_CORRUPTIONS,
    freeze,
    reverse,
    shuffle,
)

OPTIONS = Options()
SMALL = Options(frames=6, height=16, width=16, bodies=(1, 1), pan=0.0, texture=0.0)
FALLING = Options(kinds=("fall",), bodies=(1, 1), pan=0.0, shapes=("disc",))


def posing(kind: str) -> Options:
    return Options(kinds=(kind,), frames=12, height=48, width=48, pan=0.0)


def numbered(frames: int) -> np.ndarray:
    """A clip whose frame i is all of level i."""
    return np.broadcast_to(
        np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 4, 4, 3)
    ).copy()


def order(video: np.ndarray) -> list[int]:
    return video[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("options", [OPTIONS, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_0_is_the_clip_itself_and_1_is_not(name, options):
    for index in range(4):
        clip = simulate(index, options, 3).video
        np.testing.assert_array_equal(CORRUPTIONS[name](index, options, 3, 0.0), clip)
        wrong = CORRUPTIONS[name](index, options, 3, 1.0)
        assert wrong.shape == clip.shape and wrong.dtype == np.uint8
        assert (wrong != clip).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_arguments_give_the_same_frames(name):
    first = CORRUPTIONS[name](5, OPTIONS, 1, 0.6)
    np.testing.assert_array_equal(CORRUPTIONS[name](5, OPTIONS, 1, 0.6), first)
    assert (CORRUPTIONS[name](6, OPTIONS, 1, 0.6) != first).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_strength_outside_0_to_1_is_refused(name, strength):
    with pytest.raises(UserError, match="strength is"):
        CORRUPTIONS[name](0, SMALL, 0, strength)


@given(frames=st.integers(2, 40), strength=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_shuffle_moves_the_share_of_frames_that_it_is_told(frames, strength, seed):
    shuffled = order(shuffle(numbered(frames), strength, np.random.default_rng(seed)))
    assert sorted(shuffled) == list(range(frames))
    moved = sum(i != frame for i, frame in enumerate(shuffled))
    assert moved == max(2, round(strength * frames))


@given(frames=st.integers(2, 40), strength=st.floats(0, 1))
def test_freeze_repeats_the_share_of_steps_that_it_is_told(frames, strength):
    frozen = order(freeze(numbered(frames), strength))
    steps = np.diff(frozen)
    assert set(steps) <= {0, 1} and frozen[0] == 0
    assert (steps == 0).sum() == int(np.ceil(strength * (frames - 1)))
    # It stands still once.
    assert (np.diff(np.flatnonzero(steps == 0)) == 1).all()


def test_reverse_of_the_reverse_is_the_clip():
    video = numbered(5)
    assert order(reverse(video)) == [4, 3, 2, 1, 0]
    np.testing.assert_array_equal(reverse(reverse(video)), video)
    np.testing.assert_array_equal(reverse(video, 0.0), video)


def areas(video: np.ndarray) -> np.ndarray:
    return np.array([sum(blob.area for blob in blobs) for blobs in find_bodies(video)])


def centres(video: np.ndarray) -> np.ndarray:
    return np.array([blobs[0].centre for blobs in find_bodies(video)])


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_vanished_bodies_are_gone_for_that_share_of_the_frames(strength):
    video = CORRUPTIONS["vanish"](0, FALLING, 0, strength)
    gone = areas(video) == 0
    assert gone.sum() == np.ceil(strength * 16)
    # What is gone leaves the background as it was.
    clip = simulate(0, FALLING, 0)
    behind = cv2.dilate(clip.states.identity[8], np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(video[8][behind], clip.video[8][behind])


def test_jitter_shakes_by_a_tenth_of_the_side():
    shaken = []
    for index in range(12):
        clean = simulate(index, FALLING, 0)
        shaken.append(centres(CORRUPTIONS["jitter"](index, FALLING, 0, 0.5)) - centres(clean.video))
    spread = np.concatenate(shaken).std()
    assert spread == pytest.approx(0.5 * 0.1 * 64, rel=0.15)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_teleported_body_jumps_once_and_stays_in_sight(strength):
    ways = []
    for index in range(8):
        clean = centres(simulate(index, FALLING, 0).video)
        moved = centres(CORRUPTIONS["teleport"](index, FALLING, 0, strength)) - clean
        np.testing.assert_allclose(moved[:8], 0, atol=1e-9)
        ways.append(np.linalg.norm(moved[8:], axis=1))
    # The centre of what is in sight: a body that is cut off by the border seems to go less far.
    assert np.median(ways) == pytest.approx(32 * strength, rel=0.05)


def test_deformed_body_grows_by_the_square_of_40_percent_and_shrinks_again():
    ratios = []
    for index in range(8):
        clean = areas(simulate(index, FALLING, 0).video)
        ratios.append(areas(CORRUPTIONS["deform"](index, FALLING, 0, 1.0)) / clean)
        assert ratios[-1][0] == ratios[-1][-1] == 1
    # A body that is cut off by the border shows less of it.
    assert np.max(ratios) == pytest.approx(1.4**2, rel=0.05)
    assert np.min(ratios, where=np.array(ratios) > 0, initial=1) == pytest.approx(0.36, rel=0.1)


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("still", ("walk", "jog", "jump", "cartwheel", "wheel")),
        ("rock", ("walk", "jump", "cartwheel", "wheel")),
        ("scatter", ("jog", "jump", "cartwheel", "wheel")),
        ("same leg", ("walk", "jog")),
        ("limbs", ("walk", "jog", "jump", "cartwheel")),
        # Of any clip, and of figures too.
        ("jitter", ("walk",)),
        ("vanish", ("walk",)),
        ("teleport", ("walk",)),
        ("deform", ("walk",)),
    ],
)
def test_figure_at_strength_0_is_the_clip_itself_and_at_1_is_not(name, kinds):
    corrupt = {**CORRUPTIONS, **POSE_CORRUPTIONS}[name]
    for kind in kinds:
        clip = simulate(1, posing(kind), 3).video
        np.testing.assert_array_equal(corrupt(1, posing(kind), 3, 0.0), clip)
        assert (corrupt(1, posing(kind), 3, 1.0) != clip).any(), kind
        again = corrupt(1, posing(kind), 3, 0.6)
        np.testing.assert_array_equal(corrupt(1, posing(kind), 3, 0.6), again)


def test_every_pose_corruption_is_refused_of_what_has_no_poses():
    for name in POSE_CORRUPTIONS:
        with pytest.raises(UserError, match="kinds is"):
            POSE_CORRUPTIONS[name](0, FALLING, 0, 1.0)
    with pytest.raises(UserError, match="it is of walk, jog"):
        POSE_CORRUPTIONS["same leg"](0, posing("jump"), 0, 1.0)


def test_wheel_whose_pose_stands_is_a_still_picture():
    video = POSE_CORRUPTIONS["still"](0, posing("wheel"), 0, 1.0)
    np.testing.assert_array_equal(video, np.repeat(video[:1], len(video), 0))


def test_rocking_wheel_comes_back_to_where_it_was():
    video = POSE_CORRUPTIONS["rock"](0, posing("wheel"), 0, 1.0)
    np.testing.assert_array_equal(video[1:4], video[7:4:-1])  # four steps there and back
    np.testing.assert_array_equal(video[8], video[0])


def test_vanished_figure_takes_its_limbs_with_it():
    video = CORRUPTIONS["vanish"](0, posing("walk"), 0, 1.0)
    assert areas(video).max() == 0
