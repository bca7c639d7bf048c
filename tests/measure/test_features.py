"""Fixed features: what each sees, what each is blind to, and that nothing else moves them."""

import cv2
import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.corruptions import CORRUPTIONS
from videojam_jax.measure.features import FEATURES
from videojam_jax.measure.frechet import frechet_distance, frechet_floor

OPTIONS = Options(frames=8, height=32, width=32)
COUNT, SEED = 32, 5
STRENGTHS = (0.25, 0.5, 1.0)


def each_frame(change):
    return lambda video, strength, rng: np.stack([change(f, strength, rng) for f in video])


def blur(frame, strength, rng):
    return cv2.GaussianBlur(frame, (0, 0), 0.3 + 1.2 * strength)


def noise(frame, strength, rng):
    noisy = frame + 40 * strength * rng.standard_normal(frame.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def slow(video, strength, rng):
    """Up to half as fast: frames are held, the end is lost."""
    return video[(np.arange(len(video)) / (1 + strength)).astype(int)]


PIXELS = {"blur": each_frame(blur), "noise": each_frame(noise), "slow": slow}


@pytest.fixture(scope="module")
def real():
    """The features of twice as many real clips as are compared."""
    videos = [simulate(index, OPTIONS, seed=3).video for index in range(2 * COUNT)]
    return {name: feature.matrix(videos) for name, feature in FEATURES.items()}


@pytest.fixture(scope="module")
def videos():
    """Real clips too, but others."""
    return [simulate(index, OPTIONS, SEED).video for index in range(COUNT)]


@pytest.fixture(scope="module")
def floor(real):
    return {name: frechet_floor(matrix, COUNT) for name, matrix in real.items()}


@pytest.fixture(scope="module")
def start(real, videos):
    """The distance of the other real clips."""
    return {name: distance(real, name, videos) for name in FEATURES}


def distance(real, feature, videos):
    return frechet_distance(real[feature][:COUNT], FEATURES[feature].matrix(videos))


def degraded(videos, name, strength):
    if name in PIXELS:
        return [
            PIXELS[name](video, strength, np.random.default_rng(i))
            for i, video in enumerate(videos)
        ]
    return [CORRUPTIONS[name](index, OPTIONS, SEED, strength) for index in range(len(videos))]


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_few_finite_and_the_same_every_time(name, videos):
    feature = FEATURES[name]
    assert len(feature.dimensions) <= 32 and len(set(feature.dimensions)) == len(feature.dimensions)
    found = feature.matrix(videos[:3])
    assert found.shape == (3, len(feature.dimensions)) and found.dtype == np.float64
    np.testing.assert_array_equal(found, feature.matrix(videos[:3]))


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 17, 40), (16, 64, 64)])
def test_features_are_finite_for_constant_clips_and_for_noise(name, shape):
    rng = np.random.default_rng(0)
    for level in (0, 128, 255):
        assert np.isfinite(FEATURES[name].vector(np.full((*shape, 3), level, np.uint8))).all()
    assert np.isfinite(FEATURES[name].vector(rng.integers(0, 256, (*shape, 3), np.uint8))).all()


def test_other_real_clips_are_about_within_the_floor(start, floor):
    for name in FEATURES:
        # One draw in twenty is above it, and never by much.
        assert 0.3 * floor[name] < start[name] < 1.25 * floor[name], (name, start, floor)


@pytest.mark.parametrize(
    ("feature", "degradation"),
    [
        ("appearance", "blur"),
        ("appearance", "noise"),
        ("appearance", "vanish"),
        ("motion", "shuffle"),
        ("motion", "slow"),
        ("motion", "freeze"),
        pytest.param("motion", "noise", marks=pytest.mark.slow),
    ],
)
def test_distance_grows_with_the_degradation_and_leaves_the_floor_far_below(
    feature, degradation, real, videos, start, floor
):
    found = [distance(real, feature, degraded(videos, degradation, s)) for s in STRENGTHS]
    print(
        f"{feature}, {degradation}: {start[feature]:.1f} {[round(d, 1) for d in found]}, "
        f"floor {floor[feature]:.1f}"
    )
    assert (np.diff([start[feature], *found]) > 0).all(), found
    assert found[1] > 2 * floor[feature] and found[2] > 3 * floor[feature], (found, floor)


@pytest.mark.slow
def test_motion_sees_that_bodies_jitter_in_clips_of_full_size():
    vector = FEATURES["motion"].matrix
    real = vector(simulate(index, Options(), seed=3).video for index in range(2 * COUNT))
    floor = frechet_floor(real)
    found = [
        frechet_distance(
            real[:COUNT],
            vector(CORRUPTIONS["jitter"](i, Options(), SEED, strength) for i in range(COUNT)),
        )
        for strength in (0.25, 0.5)
    ]
    assert 3 * floor < found[0] < found[1], (found, floor)


def test_appearance_does_not_know_the_order_of_the_frames(videos):
    rng = np.random.default_rng(0)
    for video in videos[:8]:
        shuffled = video[rng.permutation(len(video))]
        appearance, motion = (
            np.abs(feature.vector(video) - feature.vector(shuffled)).max()
            for feature in FEATURES.values()
        )
        assert appearance < 1e-9 < 0.05 < motion


def test_appearance_hardly_notices_wrong_motion(real, videos, start, floor):
    for name in ("jitter", "freeze", "reverse"):
        found = distance(real, "appearance", degraded(videos, name, 1.0))
        assert found < start["appearance"] + 0.25 * floor["appearance"], (name, found, floor)


def test_motion_hardly_notices_another_colour(real, videos, start, floor):
    tint = [1.15, 1.0, 0.85]
    tinted = [np.clip(video * tint, 0, 255).astype(np.uint8) for video in videos]
    found = {name: distance(real, name, tinted) for name in FEATURES}
    assert found["motion"] < start["motion"] + 0.1 * floor["motion"], (found, start, floor)
    assert found["appearance"] > 2 * floor["appearance"], (found, floor)
