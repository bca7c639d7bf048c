"""Clips of gif and avi files: each frame is decoded once, and the clips are what they were."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numbered_videos import make_video, numbers, packet_places

from videojam_jax.data import onward, video_file
from videojam_jax.data.clip import BadClip, ClipSpec
from videojam_jax.data.sources import Folder
from videojam_jax.data.video_file import read_video
from videojam_jax.data.video_timing import probe

COUNT = 120
SEQUENTIAL = {
    "anim.gif": dict(codec="gif", pix_fmt="rgb8"),
    "b_frames.avi": dict(codec="mpeg4", options={"bf": "2", "g": "10"}),
    "h264.avi": dict(options={"bf": "2", "g": "10"}),
}
MJPEG = dict(codec="mjpeg", pix_fmt="yuvj420p")


def folder(place, name):
    make_video(place / name, count=COUNT, **{**SEQUENTIAL, "mj.avi": MJPEG}[name])
    return place


@pytest.fixture(scope="module", params=SEQUENTIAL)
def place(request, tmp_path_factory):
    return folder(tmp_path_factory.mktemp("videos"), request.param)


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by each frame that is decoded."""
    frames, decode = [], video_file._decode

    def counted(*arguments):
        for frame in decode(*arguments):
            frames.append(1)
            yield frame

    monkeypatch.setattr(video_file, "_decode", counted)
    return frames


def spec(frames=4, stride=0, **more):
    return ClipSpec(frames=frames, height=48, width=64, fps=24.0, stride=stride, **more)


def wanted(index, frames=4, stride=0):
    start = index * (stride or frames)
    return list(range(start, start + frames))


@pytest.mark.parametrize(("frames", "stride"), [(4, 0), (8, 3), (4, 11), (2, 1)])
def test_all_clips_of_a_file_take_one_decoding_of_it(place, decoded, frames, stride):
    source = Folder(place, spec(frames, stride))
    for index in range(len(source)):
        assert numbers(source[index].video) == wanted(index, frames, stride)
    print(f"{len(decoded)} frames for {len(source)} clips of {COUNT} frames")
    assert len(decoded) <= COUNT


def test_another_frame_rate_takes_the_frames_on_screen(place, decoded):
    source = Folder(place, ClipSpec(frames=5, height=48, width=64, fps=10.0, stride=2))
    for index in range(len(source)):
        times = (2 * index + np.arange(5)) / 10
        assert numbers(source[index].video) == np.floor(times * 24 + 1e-6).astype(int).tolist()
    assert len(decoded) <= COUNT


def test_in_any_order_the_clips_are_those_of_the_file_alone(place, decoded):
    source = Folder(place, spec(frames=4, stride=3, crop="random"))
    (path,) = place.iterdir()
    info = probe(path)
    for index in np.random.default_rng(0).permutation(len(source)):
        alone = read_video(path, (3 * index + np.arange(4)) / 24, info=info)
        np.testing.assert_array_equal(source[int(index)].video, alone)


def test_threads_that_share_a_file_decode_it_once(place, decoded):
    source = Folder(place, spec())
    with ThreadPoolExecutor(3) as pool:
        clips = list(pool.map(source.__getitem__, range(len(source))))
    assert [numbers(clip.video) for clip in clips] == [
        wanted(index) for index in range(len(source))
    ]
    # A thread may overtake another once in a while, whose clip is then decoded from the start.
    print(f"{len(decoded)} frames for {len(source)} clips of {COUNT} frames")
    assert len(decoded) < 4 * COUNT < sum(range(4, COUNT + 4, 4)) / 3


def test_a_damaged_part_costs_the_clips_that_it_cost_before(tmp_path):
    folder(tmp_path, "b_frames.avi")
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    for start, size in packet_places(path)[50:56]:
        data[start + 8 : start + size] = b"\xff" * (size - 8)
    path.write_bytes(data)
    source, info = Folder(tmp_path, spec()), probe(path)

    def outcome(read):
        try:
            return numbers(read())
        except (BadClip, video_file.VideoError) as error:
            return str(error).removeprefix(f"{path.name}#{index}: ")

    found, before = [], []
    for index in range(len(source)):
        found.append(outcome(lambda: source[index].video))
        times = (4 * index + np.arange(4)) / 24
        before.append(outcome(lambda: read_video(path, times, info=info)))
    assert found == before
    assert any(isinstance(one, str) for one in found) and found[0] == [0, 1, 2, 3]


def test_a_late_clip_of_an_avi_that_reorders_nothing_is_not_decoded_from_its_start(
    tmp_path, decoded
):
    source = Folder(folder(tmp_path, "mj.avi"), spec())
    for index in (28, 3, 29, 0):
        before = len(decoded)
        assert numbers(source[index].video) == wanted(index)
        assert len(decoded) - before <= 6


def test_few_files_are_open_at_a_time_and_none_that_was_read_to_its_end(tmp_path):
    for number in range(onward._OPEN_AT_MOST + 3):
        make_video(tmp_path / f"{number}.gif", "gif", "rgb8", count=12)
    source = Folder(tmp_path, spec())

    def open_now():
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return sum(os.path.exists(x) and os.readlink(x).startswith(str(tmp_path)) for x in links)

    for index in range(0, len(source), 3):  # the first clip of each
        source[index]
    assert open_now() == onward._OPEN_AT_MOST
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[1].video, source[1].video)
    del source, again
    assert open_now() == 0
