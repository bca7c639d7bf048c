"""DIS against flow that is known."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.errors import UserError
from videojam_jax.motion import estimators


def end_point_error(flow, wanted):
    return float(np.linalg.norm(flow - wanted, axis=-1).mean())


def moving_texture(height, width, u=1, v=0, frames=3):
    """A smooth random texture that moves by whole pixels, uint8 `[t, h, w, 3]`."""
    rng = np.random.default_rng(0)
    margin = frames * max(abs(u), abs(v))
    size = (height + 2 * margin, width + 2 * margin)
    texture = cv2.GaussianBlur(rng.random(size, dtype=np.float32), (0, 0), 1.5)
    texture = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    starts = [(margin - i * v, margin - i * u) for i in range(frames)]
    video = np.stack([texture[y : y + height, x : x + width] for y, x in starts])
    return np.repeat(video[..., None], 3, axis=-1)


@pytest.mark.parametrize(
    ("preset", "worst"), [("ultrafast", 0.75), ("fast", 0.6), ("medium", 0.6)]
)
def test_dis_on_simulated_clips_is_better_than_zero_flow_by_the_stated_factor(preset, worst):
    # Mean end-point error in pixels over 12 clips of 64 x 64 x 16, as measured:
    # ultrafast 0.36, fast 0.29, medium 0.29; zero flow 0.51.
    clips = [simulate(index, Options()) for index in range(12)]
    found = np.mean([end_point_error(estimators.dis(c.video, preset), c.flow) for c in clips])
    zero = np.mean([end_point_error(np.zeros_like(c.flow), c.flow) for c in clips])
    print(f"DIS {preset}: {found:.3f} pixels, zero flow: {zero:.3f}")
    assert found < 0.5 and found < worst * zero, (found, zero)


@pytest.mark.parametrize("size", [(64, 64), (48, 130), (160, 144)])
def test_dis_finds_a_translation_with_its_sign_and_axis(size):
    flow = estimators.dis(moving_texture(*size, u=2, v=-1))
    assert flow.shape == (2, *size, 2) and flow.dtype == np.float32
    inside = flow[:, 8:-8, 8:-8]
    assert end_point_error(inside, np.array([2, -1])) < 0.1, inside.mean((0, 1, 2))


@pytest.mark.parametrize("preset", estimators.DIS_PRESETS)
@pytest.mark.parametrize("size", [(8, 8), (8, 64), (24, 500), (500, 24), (15, 257)])
def test_dis_takes_frames_that_opencvs_own_pyramid_refuses_or_crashes_on(size, preset):
    flow = estimators.dis(moving_texture(*size), preset)
    assert flow.shape == (2, *size, 2)
    # Zero flow would be wrong by 1 pixel.
    assert end_point_error(flow, np.array([1, 0])) < 0.8


def test_threads_give_what_one_thread_gives():
    videos = [moving_texture(40, 40, u=u) for u in (-2, -1, 1, 2)]
    alone = [estimators.dis(video) for video in videos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(estimators.dis, videos))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(UserError, match="'slow' is unknown: use one of .*medium"):
        estimators.dis(moving_texture(16, 16), "slow")
