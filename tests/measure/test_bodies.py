"""The measure of moving bodies: near 1 on real clips, 0 on what only looks like one."""

import cv2
import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.bodies import find_bodies, moving_bodies, share_with_moving_body, track

QUICK = Options(frames=8, height=32, width=32, bodies=(1, 1), pan=0.0)


@pytest.fixture(scope="module")
def quick():
    return [simulate(index, QUICK, seed=3) for index in range(100)]


@pytest.fixture(scope="module")
def large():
    return [simulate(index, Options(), seed=3) for index in range(40)]


def smooth_noise(rng, frames: int, size: int) -> np.ndarray:
    """Frames of blurred noise, each drawn for itself, over the whole range of levels."""
    coarse = rng.standard_normal((frames, size // 6 + 2, size // 6 + 2, 3)).astype(np.float32)
    fine = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC) for frame in coarse]
    return np.clip(128 + 80 * np.stack(fine), 0, 255).astype(np.uint8)


def test_almost_every_quickstart_clip_has_a_moving_body(quick):
    assert share_with_moving_body(clip.video for clip in quick) >= 0.97


def test_almost_every_larger_clip_has_a_moving_body(large):
    assert share_with_moving_body(clip.video for clip in large) >= 0.95


def test_moving_bodies_survive_blur_and_noise(quick):
    rng = np.random.default_rng(0)
    blurred = [[cv2.GaussianBlur(f, (0, 0), 1.0) for f in c.video] for c in quick]
    noisy = [c.video + 15 * rng.standard_normal(c.video.shape) for c in quick]
    assert share_with_moving_body(np.stack(frames) for frames in blurred) >= 0.95
    assert share_with_moving_body(np.clip(v, 0, 255).astype(np.uint8) for v in noisy) >= 0.95


@pytest.mark.parametrize("frames, size", [(8, 32), (16, 64)])
def test_noise_has_no_moving_body(frames, size):
    rng = np.random.default_rng(1)
    shape = (frames, size, size, 3)
    uniform = [rng.integers(0, 256, shape, np.uint8) for _ in range(30)]
    normal = [np.clip(128 + 50 * rng.standard_normal(shape), 0, 255).astype(np.uint8)
              for _ in range(30)]  # fmt: skip
    assert share_with_moving_body(uniform) == 0
    assert share_with_moving_body(normal) == 0


@pytest.mark.parametrize("frames, size", [(8, 32), (16, 64)])
def test_smooth_noise_has_no_moving_body(frames, size):
    rng = np.random.default_rng(2)
    assert share_with_moving_body([smooth_noise(rng, frames, size) for _ in range(40)]) == 0


def test_constant_grey_has_no_moving_body():
    grey = [np.full((8, 32, 32, 3), level, np.uint8) for level in (0, 90, 128, 255)]
    assert share_with_moving_body(grey) == 0


def test_still_clips_have_no_moving_body(quick):
    assert share_with_moving_body(np.repeat(clip.video[:1], 8, 0) for clip in quick) == 0


def test_shuffled_clips_have_far_fewer_moving_bodies(quick):
    rng = np.random.default_rng(4)
    shuffled = [clip.video[rng.permutation(8)] for clip in quick]
    assert share_with_moving_body(shuffled) <= 0.15


def test_found_bodies_are_where_the_simulation_says(quick):
    for clip in quick[:20]:
        states = clip.states
        for i, blobs in enumerate(find_bodies(clip.video)):
            rows, columns = np.nonzero(states.identity[i] == 1)
            assert len(blobs) == 1
            np.testing.assert_allclose(
                blobs[0].centre, (columns.mean(), rows.mean()), atol=0.8, err_msg=clip.caption
            )
            assert 0.7 < blobs[0].area / len(rows) < 1.4


def test_bodies_of_two_colours_that_touch_are_two_blobs():
    video = np.full((4, 32, 32, 3), 100, np.uint8)
    video[:, 8:18, 6:16] = (230, 25, 25)
    video[:, 8:18, 16:26] = (30, 70, 240)
    for blobs in find_bodies(video):
        assert sorted(blob.centre for blob in blobs) == [(10.5, 12.5), (20.5, 12.5)]
        assert [blob.area for blob in blobs] == [100, 100]


def test_track_follows_a_body_that_is_hidden_for_two_frames():
    video = np.full((8, 32, 32, 3), 100, np.uint8)
    for i in range(8):
        if i not in (3, 4):
            video[i, 10:18, 2 + 2 * i : 10 + 2 * i] = (30, 185, 40)
    tracks = track(find_bodies(video), (32, 32))
    assert [body.frames for body in tracks] == [[0, 1, 2, 5, 6, 7]]
    found = moving_bodies(video)
    assert found["moving"] == 1
    assert found["way"] == pytest.approx(14)
    assert found["blobs"] == pytest.approx(6 / 8)


def test_body_that_jumps_about_does_not_count_as_moving():
    video = np.full((8, 32, 32, 3), 100, np.uint8)
    for i, x in enumerate((2, 10, 4, 12, 3, 11, 2, 10)):
        video[i, 10:18, x : x + 8] = (30, 185, 40)
    assert moving_bodies(video)["moving"] == 0


def test_body_that_changes_its_size_does_not_count_as_moving():
    video = np.full((8, 32, 32, 3), 100, np.uint8)
    for i in range(8):
        video[i, 16 - 2 - i : 16 + 2 + i, 2 + i : 6 + 3 * i] = (30, 185, 40)
    assert moving_bodies(video)["moving"] == 0


def test_share_of_no_clips_is_an_error():
    with pytest.raises(ValueError, match="no clips"):
        share_with_moving_body([])
