"""The agreement of a predicted motion with the motion measured in the clip."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.agreement import agreement
from videojam_jax.measure.flow import flow_measures
from videojam_jax.motion.flow_rgb import flow_to_rgb, repeat_last, rgb_to_flow

# As they are drawn where a config says nothing, and plain ones as small as quick tests take them.
TEXTURED = Options()
PLAIN = Options(
    frames=6, height=16, width=16, kinds=("fall", "bounce", "roll", "collide"),
    shapes=("disc", "square"), bodies=(1, 1), pan=0.0, texture=0.0,
)  # fmt: skip


def known(video, predicted, measured):
    return agreement(
        video, repeat_last(predicted), measured, np.ones(measured.shape[:3], np.float32)
    )


@pytest.fixture
def textured():
    return np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)


def shift(u, v):
    return np.zeros((3, 12, 16, 2), np.float32) + np.float32([u, v])


def test_the_same_motion_agrees(textured):
    assert known(textured, shift(3, -1), shift(3, -1)) == 1
    assert known(textured, shift(0, 0), shift(0, 0)) == 1


def test_no_motion_for_a_moving_clip_and_motion_for_a_still_one_do_not_agree(textured):
    assert known(textured, shift(0, 0), shift(3, -1)) == 0
    assert known(textured, shift(3, -1), shift(0, 0)) == 0
    assert known(textured, shift(-3, 1), shift(3, -1)) == 0


def test_motion_for_a_still_plain_clip_does_not_agree():
    plain = np.full((4, 12, 16, 3), 90, np.uint8)
    assert known(plain, shift(2, 0), shift(0, 0)) == 0


def test_agreement_falls_with_the_error_of_the_speed(textured):
    found = [known(textured, shift(4 * part, 0), shift(4, 0)) for part in (1, 0.6, 0.4, 0.2, 0)]
    assert found[0] == 1 and found[-1] == 0 and all(np.diff(found) < -0.1), found


def test_the_last_frames_motion_does_not_count(textured):
    predicted = repeat_last(shift(3, -1))
    predicted[-1] = 50
    weights = np.ones((3, 12, 16), np.float32)
    assert agreement(textured, predicted, shift(3, -1), weights) == 1


def test_an_edge_may_be_off_by_a_pixel_but_not_by_more(textured):
    measured = shift(0, 0)
    measured[:, :, 8:] = 3
    off_by_one, off_by_three = np.roll(measured, 1, axis=2), np.roll(measured, 3, axis=2)
    off_by_one[:, :, 0] = off_by_three[:, :, :3] = 0
    assert known(textured, off_by_one, measured) == 1
    assert 0.5 < known(textured, off_by_three, measured) < 0.9


def test_a_prediction_that_is_not_a_number_is_wrong_and_not_contagious(textured):
    broken = shift(3, -1) * np.float32(np.nan)
    assert known(textured, broken, shift(3, -1)) == 0


def test_only_what_is_weighted_counts(textured):
    predicted, weights = shift(3, 0), np.ones((3, 12, 16), np.float32)
    predicted[:, :6] = -3
    weights[:, :7] = 0
    assert agreement(textured, repeat_last(predicted), shift(3, 0), weights) == 1


# Means over 12 clips, as measured with the seeds below; see the docstring of `agreement`.
@pytest.mark.parametrize(
    ("options", "ceiling"), [(TEXTURED, 0.90), (PLAIN, 0.75)], ids=["textured", "plain"]
)
def test_exact_flow_of_simulated_clips_scores_near_the_stated_ceiling(options, ceiling):
    clips = [simulate(index, options, seed=9) for index in range(12)]
    exact = [repeat_last(clip.flow) for clip in clips]

    def score(predictions):
        pairs = zip(clips, predictions, strict=True)
        return np.mean([flow_measures(c.video, p, c.fps)["agreement"] for c, p in pairs])

    own, others = score(exact), score(exact[1:] + exact[:1])
    print(f"exact {own:.3f}, another clip's {others:.3f}")
    assert abs(own - ceiling) < 0.03, own
    assert others < 0.3 * own
    assert score([0 * flow for flow in exact]) < 1e-5


def test_what_eight_bits_of_colour_keep_of_the_flow_is_enough():
    clip = simulate(0, TEXTURED, seed=9)
    rgb = np.round(255 * flow_to_rgb(repeat_last(clip.flow))) / 255
    shown = rgb_to_flow(rgb.astype(np.float32))
    exact = flow_measures(clip.video, repeat_last(clip.flow), clip.fps)["agreement"]
    assert abs(flow_measures(clip.video, shown, clip.fps)["agreement"] - exact) < 0.005
