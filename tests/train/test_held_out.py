"""How well clips come back: closed forms, and what a run shows of its held-out clips."""

import json

import av
import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from tiny_clips import TinyClips

from videojam_jax.data.video_file import read_video
from videojam_jax.errors import UserError
from videojam_jax.motion import flow_rgb
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.train import held_out
from videojam_jax.train.held_out import HeldOut, down_and_up, psnr
from videojam_jax.train.run_log import RunLog


def noise(shape=(5, 12, 16, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- PSNR -------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [1, 5, 51, 255])
def test_psnr_of_clips_that_are_everywhere_so_far_apart_is_20_log_255_by_that(apart):
    video = np.zeros((2, 4, 4, 3), np.uint8)
    found = psnr(video, video + np.uint8(apart))
    assert found == pytest.approx(20 * np.log10(255 / apart))
    assert psnr(video + np.uint8(apart), video) == found, "no byte wraps around"


def test_psnr_of_equal_clips_is_98():
    assert psnr(noise(), noise()) == pytest.approx(98.13, abs=0.01)


# --- smaller and larger again -----------------------------------------------------------


@pytest.mark.parametrize("compression", [(1, 1, 1), (2, 4, 4), (8, 8, 8), (4, 2, 1)])
def test_a_constant_clip_comes_back_exactly(compression):
    video = np.broadcast_to(np.array([7, 130, 255], np.uint8), (6, 16, 24, 3)).copy()
    np.testing.assert_array_equal(down_and_up(video, compression), video)


@pytest.mark.parametrize("shape", [(5, 12, 16, 3), (1, 8, 8, 3)])
def test_compression_by_one_is_the_identity(shape):
    np.testing.assert_array_equal(down_and_up(noise(shape), (1, 1, 1)), noise(shape))


@pytest.mark.parametrize(("frames", "length"), [(2, 8), (4, 8), (4, 10), (3, 7)])
def test_a_linear_ramp_in_time_comes_back_between_the_centres_of_the_groups(frames, length):
    ramp = 10 + 6 * np.arange(length)
    video = np.broadcast_to(ramp[:, None, None, None], (length, 8, 8, 3)).astype(np.uint8)
    found = down_and_up(video, (frames, 1, 1))
    groups = [np.arange(length)[i : i + frames] for i in range(0, length, frames)]
    centres = [group.mean() for group in groups]
    between = np.arange(length).clip(centres[0], centres[-1])
    wanted = 10 + 6 * between  # constant before the first centre and after the last
    assert np.abs(found - wanted[:, None, None, None]).max() <= 0.5, (found[:, 0, 0, 0], wanted)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_smooth_ramp_in_space_comes_back_nearly_and_noise_does_not(axis):
    shape = [1, 1, 1, 1]
    shape[axis] = 32
    video = np.broadcast_to(4.0 * np.arange(32).reshape(shape), (2, 32, 32, 3)).astype(np.uint8)
    compression = [1, 1, 1]
    compression[axis] = 4
    apart = down_and_up(video, tuple(compression)).astype(float) - video
    inner = np.take(apart, range(8, 24), axis=axis)
    print(f"apart by {np.abs(inner).max():.0f} in the middle, {np.abs(apart).max():.0f} at all")
    assert np.abs(inner).max() <= 2
    assert psnr(noise(), down_and_up(noise(), tuple(compression))) < 20


def test_a_clip_smaller_than_the_compression_still_comes_back():
    assert down_and_up(noise((2, 4, 4, 3)), (8, 8, 8)).shape == (2, 4, 4, 3)


# --- of a run ---------------------------------------------------------------------------

FPS = 8.0
CONFIG = FrozenConfigDict(
    {"motion": {"sigma": 0.15}, "clip": {"fps": FPS}, "tae": {"compression": (2, 2, 2)}}
)


class Darker:
    """A net that gives back each clip so many levels darker, from the parameter."""

    def apply(self, variables, pixels):
        return pixels - variables["params"]["levels"] / 127.5, None, None


def measured(tmp_path, source, indices):
    mesh = make_mesh({"data": -1})
    made = HeldOut(CONFIG, Darker(), source, indices, lambda clip: clip.flow, tmp_path, mesh)
    levels = jax.device_put(np.float32(10), jax.sharding.NamedSharding(mesh, jax.P()))
    return made, {"autoencoder": {"levels": levels}}


@pytest.fixture
def guarded():
    with jax.transfer_guard("disallow"):
        yield


def test_clips_and_flow_clips_are_measured_apart_each_beside_its_baseline(tmp_path, guarded):
    source = TinyClips(6, bad=())
    made, params = measured(tmp_path, source, range(2, 6))
    values, found = made.measure(params)
    kinds = {"": [], "_flow": []}
    for i in range(2, 6):
        clip = source[i]
        flow = np.concatenate([clip.flow, clip.flow[-1:]])
        colours = np.round(255 * flow_rgb.flow_to_rgb(flow, 0.15)).astype(np.uint8)
        for suffix, video in (("", clip.video), ("_flow", colours)):
            darker = (video.astype(int) - 10).clip(0).astype(np.uint8)
            kinds[suffix].append((video, darker))
    for suffix, pairs in kinds.items():
        wanted = np.mean([psnr(*pair) for pair in pairs])
        assert values[f"held_out_psnr{suffix}"] == pytest.approx(wanted, abs=1e-6)
        wanted = np.mean([psnr(video, down_and_up(video, (2, 2, 2))) for video, _ in pairs])
        assert values[f"bicubic_psnr{suffix}"] == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_array_equal(found["clip"][0], kinds[""][0][1])
    np.testing.assert_array_equal(found["flow"][3], kinds["_flow"][3][1])


def test_a_bad_held_out_clip_is_told_and_left_out(tmp_path, capsys):
    made, params = measured(tmp_path, TinyClips(6, bad=(3,)), range(2, 6))
    _, found = made.measure(params)
    assert len(found["clip"]) == len(found["flow"]) == 3
    assert capsys.readouterr().out == "set aside: tiny:3: truncated\n"


def test_bad_held_out_clips_alone_are_an_error_that_names_the_key(tmp_path):
    made, params = measured(tmp_path, TinyClips(6, bad=(4, 5)), range(4, 6))
    with pytest.raises(UserError, match="none of the 2 held-out.*config.reconstruction.held_out"):
        made.measure(params)


class Log(RunLog):
    """Remembers, and writes nothing."""

    def __init__(self):
        self.rows, self.clips = [], []

    def scalars(self, step, values):
        self.rows.append((step, values))

    def clip(self, step, name, gif, shape):
        self.clips.append((name, gif[:6], shape))


def test_a_run_writes_some_clips_beside_their_reconstructions_and_all_numbers(tmp_path, guarded):
    made, params = measured(tmp_path, TinyClips(8, bad=()), range(1, 8))
    log = Log()
    made.show(params, 50, log)
    out = tmp_path / "samples" / "step_00000050"
    names = [f"{i:03}.mp4" for i in range(held_out.SHOWN)]
    assert sorted(path.name for path in out.iterdir()) == [*names, "psnr.json"]
    values = json.loads((out / "psnr.json").read_text())
    assert log.rows == [(50, values)]
    assert values.keys() == {
        "held_out_psnr", "held_out_psnr_flow", "bicubic_psnr", "bicubic_psnr_flow"
    }  # fmt: skip
    # Clip, and what came back of it; below, the same of its flow: 16 x 16 each, enlarged.
    scale = 256 // 32
    assert read_video(out / names[0]).shape == (4, 32 * scale, 32 * scale, 3)
    with av.open(str(out / names[0])) as container:
        assert float(container.streams.video[0].average_rate) == FPS
    assert log.clips == [
        (f"reconstructions/{i}", b"GIF89a", (256, 256)) for i in range(held_out.SHOWN)
    ]


def test_a_process_without_a_log_measures_along_and_writes_nothing(tmp_path):
    made, params = measured(tmp_path, TinyClips(4, bad=()), range(2, 4))
    made.show(params, 1, None)
    assert not list(tmp_path.iterdir())
