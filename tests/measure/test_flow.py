"""All flow measures together: real clips score well, and wrong ones worse, by degrees."""

import math

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.corruptions import CORRUPTIONS
from videojam_jax.measure.flow import FLOW_MEASURES, flow_measures, measured_flow
from videojam_jax.motion import estimators
from videojam_jax.motion.flow_rgb import repeat_last

SEED, OPTIONS = 5, Options()


def noisy(video, strength, seed):
    """Independent noise in every frame, of a standard deviation of up to 60 levels."""
    noise = np.random.default_rng(seed).standard_normal(video.shape)
    return np.clip(video + 60 * strength * noise, 0, 255).astype(np.uint8)


def measure(clips, videos):
    """Mean of each measure; what is predicted is the exact flow of the right clip."""
    rows = [
        flow_measures(video, repeat_last(clip.flow), clip.fps)
        for clip, video in zip(clips, videos, strict=True)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in FLOW_MEASURES}


# The full ladders take a minute; the same with fewer clips and steps holds by default.
@pytest.fixture(scope="module", params=[8, pytest.param(48, marks=pytest.mark.slow)])
def clips(request):
    return [simulate(index, OPTIONS, SEED) for index in range(request.param)]


@pytest.fixture(scope="module")
def real(clips):
    return measure(clips, [clip.video for clip in clips])


def ladder(clips, name, strengths):
    """Measures of the clips, made wrong by each strength in turn."""
    if name == "noise":
        return [
            measure(clips, [noisy(clip.video, s, i) for i, clip in enumerate(clips)])
            for s in strengths
        ]
    corrupt = CORRUPTIONS[name]
    return [
        measure(clips, [corrupt(index, OPTIONS, SEED, s) for index in range(len(clips))])
        for s in strengths
    ]


def assert_worsens(real, steps, name, margin):
    found = [row[name] for row in (real, *steps)]
    print(name, [round(value, 4) for value in found])
    worse = -FLOW_MEASURES[name].better * np.diff(found)
    assert (worse > margin).all(), found


def test_real_clips_score_within_two_percent_of_the_ideal():
    clips = [simulate(index, OPTIONS, SEED) for index in range(24)]
    found = measure(clips, [clip.video for clip in clips])
    print(found)
    assert found["warping_error"] < 0.02 and found["smoothness"] > 0.98, found
    # The estimator's own limit; the docstring of `agreement` says why.
    assert found["agreement"] > 0.85, found


def test_shuffled_frames_score_worse_by_degrees(clips, real):
    steps = ladder(clips, "shuffle", (0.25, 0.5, 1.0))
    assert_worsens(real, steps, "warping_error", 0.002)
    assert_worsens(real, steps, "smoothness", 0.1)
    assert_worsens(real, steps, "agreement", 0.1)


def test_jittering_bodies_score_worse_by_degrees(clips, real):
    steps = ladder(clips, "jitter", (0.25, 1.0))
    assert_worsens(real, steps, "warping_error", 0.001)
    assert_worsens(real, steps, "smoothness", 0.05)
    assert_worsens(real, steps, "agreement", 0.1)


def test_noise_scores_worse_by_degrees(clips, real):
    steps = ladder(clips, "noise", (0.25, 1.0))
    assert_worsens(real, steps, "warping_error", 0.04)
    assert_worsens(real, steps, "smoothness", 0.05)
    assert_worsens(real, steps, "agreement", 0.1)


def test_prediction_that_goes_on_while_the_clip_stands_agrees_less_by_degrees(clips, real):
    steps = ladder(clips, "freeze", (0.5, 1.0))
    assert_worsens(real, steps, "agreement", 0.1)
    assert steps[-1]["agreement"] == 0 and steps[-1]["dynamic_degree"] == 0
    assert real["dynamic_degree"] > 0.9


def test_time_that_runs_backwards_is_as_smooth_and_warps_as_well(clips):
    for clip in clips[:4]:
        there = flow_measures(clip.video, None, clip.fps)
        back = flow_measures(clip.video[::-1], None, clip.fps)
        assert there["smoothness"] == pytest.approx(back["smoothness"], abs=0.01)
        assert there["warping_error"] == pytest.approx(back["warping_error"], abs=0.002)


def test_pure_noise_scores_badly_in_every_measure():
    rng = np.random.default_rng(0)
    for _ in range(4):
        video = rng.integers(0, 256, (16, 64, 64, 3), np.uint8)
        found = flow_measures(video, np.zeros((16, 64, 64, 2), np.float32), 8.0)
        assert found["smoothness"] < 0.5 and found["warping_error"] > 0.25, found
        assert found["agreement"] < 0.01 and found["hidden"] > 0.4, found


@pytest.mark.parametrize("frames, height, width", [(2, 16, 16), (3, 17, 40), (16, 64, 64)])
def test_a_constant_clip_scores_as_a_motionless_one(frames, height, width):
    video = np.full((frames, height, width, 3), 200, np.uint8)
    still = np.zeros((frames, height, width, 2), np.float32)
    wanted = {
        "warping_error": 0.0,
        "hidden": 0.0,
        "smoothness": 1.0,
        "dynamic_degree": 0.0,
        "agreement": 1.0,
    }
    assert flow_measures(video, still, 8.0) == wanted
    assert flow_measures(video, still + 3, 8.0) == wanted | {"agreement": 0.0}


@pytest.mark.parametrize("frames, size, fps", [(2, 16, 24.0), (5, 20, 30.0), (4, 32, 0.5)])
def test_every_value_is_finite_and_in_its_range_for_noise_of_any_shape(frames, size, fps):
    rng = np.random.default_rng(frames)
    video = rng.integers(0, 256, (frames, size, size + 3, 3), np.uint8)
    predicted = 5 * rng.standard_normal((frames, size, size + 3, 2)).astype(np.float32)
    found = flow_measures(video, predicted, fps)
    assert found.keys() == FLOW_MEASURES.keys()
    assert all(0 <= value <= 1 for value in found.values()), found


def test_a_base_model_has_no_agreement_and_all_else(clips):
    found = flow_measures(clips[0].video, None, 8.0)
    assert math.isnan(found.pop("agreement"))
    assert all(math.isfinite(value) for value in found.values())


def test_the_estimator_is_a_parameter_and_sees_both_directions(clips):
    clip, asked = clips[1], []

    def flow(video):
        asked.append(video)
        return estimators.dis(video, "ultrafast")

    flow_measures(clip.video, None, 8.0, flow)
    assert len(asked) == 2
    np.testing.assert_array_equal(asked[0], asked[1][::-1])


def test_dynamic_degree_looks_at_8_frames_a_second(clips):
    shapes = []

    def flow(video):
        shapes.append(len(video))
        return np.zeros((len(video) - 1, *video.shape[1:3], 2), np.float32)

    flow_measures(clips[0].video, None, 24.0, flow)
    assert shapes == [16, 16, 6]


def test_small_frames_are_enlarged_and_their_flow_is_in_their_own_pixels():
    large = np.random.default_rng(0).integers(60, 200, (8, 8, 3), np.uint8)
    field = np.kron(large, np.ones((6, 6, 1))).astype(np.uint8)
    video = np.stack([field[8:32, 8 - i : 40 - i] for i in range(4)])  # to the right by 1
    flow = measured_flow(video)
    assert flow.shape == (3, 24, 32, 2) and flow.dtype == np.float32
    inside = flow[:, 4:-4, 4:-4].mean((0, 1, 2))
    np.testing.assert_allclose(inside, [1, 0], atol=0.15)
