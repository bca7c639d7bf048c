"""Every frame of the test videos carries its own number, so timing is checked exactly."""

import errno
import os
import pickle
import re
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from numbered_videos import HEIGHT, WIDTH, make_video, numbered, numbers, packet_places
from PIL import Image

from videojam_jax.data import video_timing
from videojam_jax.data.video_file import read_video, write_gif, write_mp4
from videojam_jax.data.video_timing import VideoError, open_video, probe
from videojam_jax.errors import UserError

CONTAINERS = {
    "b_frames.mp4": dict(options={"bf": "3", "g": "12"}),
    "open_gop.mp4": dict(options={"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
    "hevc.mp4": dict(
        codec="libx265", options={"x265-params": "keyint=12:bframes=4:log-level=none"}
    ),
    "fragments.mp4": dict(
        options={"g": "12"}, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "still_index.mov": dict(codec="png", pix_fmt="rgb24"),
    "h264.mkv": dict(options={"bf": "3", "g": "10"}),
    "grey.mkv": dict(codec="ffv1", pix_fmt="gray"),
    "vp9.webm": dict(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "no_length.webm": dict(codec="libvpx", container_options={"live": "1"}),
    "mpeg4.avi": dict(codec="mpeg4", options={"bf": "2", "g": "10"}),
    "h264.avi": dict(options={"bf": "2", "g": "10"}),
    "motion_jpeg.avi": dict(codec="mjpeg", pix_fmt="yuvj420p"),
    "anim.gif": dict(codec="gif", pix_fmt="rgb8"),
}


@pytest.fixture(scope="module", params=CONTAINERS)
def any_video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / request.param
    return make_video(path, **CONTAINERS[request.param])


def test_every_container_gives_each_frame_at_its_time(any_video):
    info = probe(any_video)
    assert info.frames == 60
    assert info.fps == pytest.approx(24, rel=2e-2)
    assert info.samples(24.0) == 60
    assert numbers(read_video(any_video)) == list(range(60))
    assert numbers(read_video(any_video, np.arange(60) / 24)) == list(range(60))


def test_every_container_gives_the_right_frames_from_any_start(any_video):
    info = probe(any_video)
    for start in range(0, 56, 5):
        times = (start + np.arange(4)) / 24
        assert numbers(read_video(any_video, times, info=info)) == list(range(start, start + 4))


def test_resampling_takes_the_frame_on_screen(any_video):
    times = np.arange(20) / 10
    expected = np.floor(times * 24 + 1e-6).astype(int).tolist()
    assert numbers(read_video(any_video, times)) == expected
    twice = np.arange(20) / 48
    assert numbers(read_video(any_video, twice)) == [i // 2 for i in range(20)]


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_variable_frame_rate_is_honoured(tmp_path, name):
    # A burst at 50 frames a second, a pause of one second, then slow frames.
    stamps = [0, 20, 40, 60, 80, 1080, 1280, 1480, 1980]
    path = make_video(tmp_path / name, frames=[numbered(i) for i in range(9)], stamps=stamps)
    times = np.arange(0, 1.99, 0.02)
    shown = [max(i for i in range(9) if stamps[i] <= 1000 * t + 0.6) for t in times]
    assert numbers(read_video(path, times)) == shown
    assert numbers(read_video(path, times[60:70])) == shown[60:70]


def test_a_late_clip_of_a_long_file_is_not_decoded_from_its_start(tmp_path):
    path = make_video(tmp_path / "long.mp4", count=1200, options={"g": "24", "preset": "ultrafast"})
    decoded = []
    times = (1180 + np.arange(4)) / 24

    def counting(frame):
        decoded.append(frame)
        return frame

    # The frames decoded are counted by reading them from a file of which the middle,
    # all that lies between the first keyframes and the last ones, is overwritten.
    data = bytearray(path.read_bytes())
    for start, size in packet_places(path)[48:1128]:
        data[start : start + size] = bytes(size)
    path.write_bytes(data)
    assert numbers(read_video(path, times, fit=counting)) == [i % 256 for i in range(1180, 1184)]
    assert len(decoded) == 4


def test_a_frame_shown_twice_is_fitted_once(any_video):
    calls = []
    video = read_video(any_video, np.zeros(5), fit=lambda frame: calls.append(1) or frame)
    assert len(video) == 5
    assert len(calls) == 1


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_metadata_is_honoured(tmp_path, degrees):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:16, :32] = (255, 0, 0)  # red at the top left of the stored frame
    path = make_video(tmp_path / "phone.mp4", frames=[image] * 4, rotation=degrees)
    # Degrees count anticlockwise, as libav and NumPy's rot90 do.
    expected = np.rot90(image, degrees // 90 % 4)
    video = read_video(path)
    assert video[0].shape == expected.shape
    assert np.abs(video[0].astype(int) - expected).mean() < 3


def test_a_turned_frame_is_shrunk_by_its_upright_size(tmp_path):
    path = make_video(tmp_path / "phone.mp4", count=2, rotation=90)
    assert read_video(path, at_least=(WIDTH // 2, HEIGHT // 2)).shape == (2, 32, 24, 3)
    assert read_video(path, at_least=(HEIGHT // 2, WIDTH // 2)).shape == (2, 64, 48, 3)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = make_video(tmp_path / "dv.mp4", count=4, aspect=Fraction(2, 1))
    video = read_video(path)
    assert video.shape == (4, HEIGHT, 2 * WIDTH, 3)
    assert numbers(video) == [0, 1, 2, 3]
    path = make_video(tmp_path / "tall.mkv", count=4, aspect=Fraction(1, 2))
    assert read_video(path).shape == (4, 2 * HEIGHT, WIDTH, 3)


def test_grey_becomes_three_equal_channels(tmp_path):
    path = make_video(tmp_path / "grey.mkv", codec="ffv1", pix_fmt="gray", count=3)
    video = read_video(path)
    assert np.ptp(video.astype(int), axis=-1).max() == 0


def test_transparency_is_laid_over_black(tmp_path):
    image = np.full((HEIGHT, WIDTH, 4), (200, 100, 50, 255), np.uint8)
    image[:, :16, 3] = 0
    image[:, 16:32, 3] = 128
    path = make_video(tmp_path / "cut_out.mov", "qtrle", "argb", frames=[image] * 2)
    row = read_video(path)[0, 0]
    assert row[0].tolist() == [0, 0, 0]
    assert row[20].tolist() == [100, 50, 25]
    assert row[40].tolist() == [200, 100, 50]


def test_stated_colour_matrix_and_range_are_honoured(tmp_path):
    colours = np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)
    colours[:, :, :32], colours[:, :, 32:] = (0, 200, 30), (180, 20, 220)
    video = read_video(write_mp4(tmp_path / "bt709.mp4", colours, 8.0))
    inner = np.abs(np.arange(WIDTH) - 31.5) > 2  # where one colour's chroma meets no other's
    assert np.abs(video.astype(int) - colours)[:, :, inner].max() <= 3
    full = make_video(tmp_path / "full_range.avi", "mjpeg", "yuvj420p", frames=list(colours))
    assert np.abs(read_video(full).astype(int) - colours).mean() < 3


@pytest.mark.parametrize("faststart", [True, False])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_cut_off_mp4_is_refused(tmp_path, faststart, part):
    options = {"movflags": "faststart"} if faststart else {}
    path = make_video(tmp_path / "a.mp4", container_options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(VideoError, match="cut off"):
        probe(path)


@pytest.mark.parametrize("name", ["h264.mkv", "vp9.webm", "mpeg4.avi", "anim.gif", "fragments.mp4"])
def test_a_cut_off_file_of_another_kind_is_refused(tmp_path, name):
    path = make_video(tmp_path / name, **CONTAINERS[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(VideoError, match="cut off"):
        probe(path)


def test_frames_past_the_end_are_missing_not_invented(any_video):
    with pytest.raises(VideoError, match=r"nothing can be decoded at 2\.6"):
        read_video(any_video, [2.0, 2.6])


def test_damage_inside_a_file_is_found_when_it_is_read(tmp_path):
    path = make_video(tmp_path / "a.mp4", options={"g": "10"})
    data = bytearray(path.read_bytes())
    for start, size in packet_places(path)[20:40]:
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    assert probe(path).frames == 60
    with pytest.raises(VideoError):
        read_video(path, np.arange(20, 40) / 24)
    assert numbers(read_video(path, np.arange(50, 60) / 24)) == list(range(50, 60))


def test_what_is_no_video_is_refused_in_words(tmp_path):
    cases = {
        "text.mp4": b"This is a text file.\n" * 200,
        "playlist.mp4": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
        "zeros.mkv": bytes(4096),
        "short.gif": b"GIF89a",
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(VideoError, match="not a readable video|cut off|no frames"):
            probe(tmp_path / name)
    for name in ("raw.h264", "stream.ts"):
        path = make_video(tmp_path / name, count=4)
        path = path.rename(tmp_path / f"{name}.mp4")
        with pytest.raises(VideoError, match=r"none of mp4, .*`ffmpeg -i FILE -c copy NEW.mp4`"):
            probe(path)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="empty"):
        probe(tmp_path / "empty.mp4")
    with pytest.raises(VideoError, match="cannot be read: No such file"):
        probe(tmp_path / "absent.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="not a regular file"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_absurd_times_are_refused(tmp_path, name):
    path = make_video(tmp_path / name, count=3, stamps=[0, 40, 900_000])
    with pytest.raises(VideoError, match="its timing is wrong: 3 frames in "):
        probe(path)


def test_frames_that_change_size_are_refused_unless_they_are_fitted(tmp_path):
    path = make_video(tmp_path / "a.mov", "mjpeg", "yuvj420p", count=4)
    third, _ = packet_places(path)[2]
    data = bytearray(path.read_bytes())
    height = data.index(b"\xff\xc0", third) + 5  # in the JPEG's start of frame
    data[height : height + 2] = (32).to_bytes(2, "big")
    path.write_bytes(data)
    with pytest.raises(VideoError, match="its frames change size"):
        read_video(path)
    assert numbers(read_video(path, fit=lambda frame: frame[:32])) == [0, 1, 2, 3]


MOST_MEMORY = r"""
import pathlib, re, sys
import numpy as np
from videojam_jax.data.video_file import read_video
from videojam_jax.data.video_timing import VideoError, probe

def most():
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

before = most()
try:
    info = probe(sys.argv[1])
    read_video(sys.argv[1], np.arange(3) / 24, info=info, fit=lambda frame: frame[:8, :8].copy())
except VideoError as error:
    print((most() - before) // 1024, error)
"""


def refused_within(megabytes, path):
    """What is said of a file that is refused; that it took no more memory."""
    command = [sys.executable, "-c", MOST_MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, said = done.stdout.split(" ", 1)
    assert int(taken) < megabytes, done.stdout
    return said


@pytest.mark.parametrize("name", ["bomb.gif", "png.mov", "motion_jpeg.avi", "ffv1.mkv"])
def test_a_small_file_of_enormous_frames_is_refused_before_they_are_decoded(tmp_path, name):
    path = tmp_path / name
    if name == "bomb.gif":
        frames = [Image.new("P", (9000, 9000), colour) for colour in (1, 2, 3)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    else:
        codec = {"png.mov": "png", "motion_jpeg.avi": "mjpeg", "ffv1.mkv": "ffv1"}[name]
        kind = {"png": "rgb24", "mjpeg": "yuvj420p", "ffv1": "yuv420p"}[codec]
        make_video(path, codec, kind, frames=[np.zeros((9000, 9000, 3), np.uint8)])
    assert path.stat().st_size < 2_000_000
    said = refused_within(100, path)  # one frame is 81 million pixels
    assert "too large to decode" in said and "at most 35.7 million pixels are read" in said


def test_a_frame_that_is_larger_than_the_header_says_is_refused_too(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mov", "mjpeg", "yuvj420p", count=3)
    info = probe(path)
    monkeypatch.setitem(video_timing._OPEN_OPTIONS, "max_pixels", str(WIDTH * HEIGHT - 1))
    with pytest.raises(VideoError, match="damaged"):
        read_video(path, info=info)


def test_8k_is_read(tmp_path):
    image = np.zeros((4352, 8192, 3), np.uint8)
    path = make_video(tmp_path / "8k.mkv", "mjpeg", "yuvj420p", frames=[image])
    assert len(read_video(path, fit=lambda frame: frame[:8, :8].copy(), at_least=(8, 8))) == 1


def test_a_sound_file_has_no_video_stream(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video stream"):
        probe(path)


def test_no_reason_is_an_errno_of_libav(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=2)
    of_system = (errno.EINVAL, errno.ENOSYS, errno.ENOMEM, errno.EOPNOTSUPP, errno.EIO)
    for number in (*of_system, *(kind.value for kind in av.error.ErrorType)):
        with pytest.raises(VideoError) as caught, open_video(path):
            raise av.error.classes.get(number, av.error.UndefinedError)(number, "Its text")
        reason = str(caught.value)
        assert re.search("damaged|not known|cannot decode", reason)
        assert "Its text" not in reason


def test_dolby_visions_own_colours_are_refused_in_words(tmp_path):
    path = make_video(tmp_path / "a.mp4", "libx265", options={"x265-params": "log-level=none"})
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvh1"))
    with pytest.raises(VideoError, match="Dolby Vision without a standard picture"):
        probe(path)


def make_streams(path, counts, container_options):
    """Write a file of several video streams with so many frames; each frame shows its number."""
    with av.open(str(path), "w", options=container_options) as container:
        streams = [container.add_stream("mpeg4", rate=24) for _ in counts]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for stream, count in zip(streams, counts, strict=True):
            for i in range(count):
                frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "name, options",
    [("a.mkv", {}), ("no_length.mkv", {"live": "1"}), ("a.mp4", {}), ("a.avi", {})],
)
def test_the_stream_with_the_most_frames_is_the_video(tmp_path, name, options):
    path = make_streams(tmp_path / name, (1, 12, 5), options)
    info = probe(path)
    assert info.frames == 12
    assert numbers(read_video(path)) == list(range(12))
    assert numbers(read_video(path, np.arange(4, 12) / 24, info=info)) == list(range(4, 12))
    assert info.stream == 1
    assert probe(make_streams(tmp_path / name, (6, 6), options)).stream == 0


def test_a_cover_picture_is_never_the_video(tmp_path):
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover, film = (container.add_stream(name, rate=24) for name in ("mjpeg", "mpeg4"))
        cover.disposition = Disposition.attached_pic
        for stream, kind in ((cover, "yuvj420p"), (film, "yuv420p")):
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, kind
        for stream, number in ((cover, 5), (film, 77)):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    assert numbers(read_video(path)) == [77]


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_dropped_frames_of_an_avi_are_no_cut(tmp_path, codec):
    path = tmp_path / "a.avi"
    places = [0, 1, 2, 5, 6, 12]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = HEIGHT, WIDTH
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i, place in enumerate(places):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probe(path).duration == pytest.approx(13 / 24)
    shown = [max(i for i, place in enumerate(places) if place <= t) for t in range(13)]
    for start in range(13):
        assert numbers(read_video(path, np.arange(start, 13) / 24)) == shown[start:]


def test_libav_writes_nothing_to_the_terminal(tmp_path):
    path = make_video(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[:-300])
    (tmp_path / "b.mp4").write_bytes(b"no video" * 100)
    program = (
        "import sys\n"
        "from videojam_jax.data.video_file import read_video, write_mp4\n"
        "from videojam_jax.data.video_timing import VideoError\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_video(name)\n"
        "    except VideoError: pass\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "b.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_timing_can_be_pickled(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", count=4))
    assert pickle.loads(pickle.dumps(info)) == info


def counter_clip(count: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.stack([numbered(i, height, width) for i in range(count)])


@pytest.mark.parametrize("write, name", [(write_mp4, "a.mp4"), (write_gif, "a.gif")])
@pytest.mark.parametrize("fps", [8.0, 24.0, 30.0])
def test_a_written_clip_reads_back_at_its_rate(tmp_path, write, name, fps):
    video = counter_clip(16)
    path = write(tmp_path / name, video, fps)
    info = probe(path)
    assert info.duration == pytest.approx(16 / fps, abs=0.011)
    assert numbers(read_video(path, np.arange(16) / fps)) == list(range(16))
    assert np.abs(read_video(path)[3].astype(int) - video[3]).mean() < 3
    assert os.listdir(tmp_path) == [name]


def test_writing_the_same_gif_twice_gives_the_same_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8)
    first = write_gif(tmp_path / "a.gif", noise, 8.0).read_bytes()
    assert write_gif(tmp_path / "a.gif", noise, 8.0).read_bytes() == first


@pytest.mark.parametrize("write, name", [(write_mp4, "a.mp4"), (write_gif, "a.gif")])
def test_a_small_clip_is_enlarged_by_whole_pixels(tmp_path, write, name):
    video = np.random.default_rng(0).integers(0, 2, (4, 8, 8, 3), np.uint8) * 255
    big = read_video(write(tmp_path / name, video, 8.0, scale=8))
    assert big.shape == (4, 64, 64, 3)
    middles = big[:, 4::8, 4::8].astype(int)
    assert np.abs(middles - video).max() < 24


def test_odd_sizes_are_made_even_for_mp4_without_moving_pixels(tmp_path):
    video = np.zeros((3, 33, 47, 3), np.uint8)
    video[:, :, 46] = 250
    back = read_video(write_mp4(tmp_path / "odd.mp4", video, 8.0))
    assert back.shape == (3, 34, 48, 3)
    assert back[:, :, 46:].min() > 240
    assert back[:, :, :44].max() < 12


def test_a_gif_of_one_frame_and_of_equal_frames_can_be_written(tmp_path):
    still = np.full((6, 16, 16, 3), 77, np.uint8)
    assert len(read_video(write_gif(tmp_path / "one.gif", still[:1], 8.0))) == 1
    path = write_gif(tmp_path / "still.gif", still, 8.0)
    assert (read_video(path, np.arange(6) / 8) == 77).all()


@pytest.mark.parametrize("write, name", [(write_mp4, "a.mp4"), (write_gif, "a.gif")])
def test_a_missing_folder_is_one_line(tmp_path, write, name):
    with pytest.raises(UserError, match="there is no folder .*absent") as caught:
        write(tmp_path / "absent" / name, counter_clip(2), 8.0)
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_written_is_one_line():
    # Not even root may make a file in /sys.
    with pytest.raises(UserError, match="Permission denied|Read-only file system"):
        write_gif("/sys/a.gif", counter_clip(2), 8.0)


def test_a_name_that_is_a_folder_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        write_gif(tmp_path / "a.gif", counter_clip(2), 8.0)
    assert os.listdir(tmp_path) == ["a.gif"]


@pytest.mark.parametrize("write, name", [("write_mp4", "a.mp4"), ("write_gif", "a.gif")])
def test_a_full_disk_is_one_line_and_keeps_the_file_that_was_there(tmp_path, write, name):
    (tmp_path / name).write_bytes(b"the old one")
    program = (
        "import resource, sys, numpy as np\n"
        f"from videojam_jax.data.video_file import {write}\n"
        "from videojam_jax.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)\n"
        f"try: {write}(sys.argv[1], noise, 8.0)\n"
        "except UserError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {tmp_path / name}: File too large\n"
    assert done.stderr == ""
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"the old one"


def test_no_space_left_is_one_line(tmp_path, monkeypatch):
    # /dev/full refuses every byte as a full disk does.
    full = "videojam_jax.files.open"
    monkeypatch.setattr(full, lambda path, mode: open("/dev/full", "wb"), raising=False)
    with pytest.raises(UserError, match="No space left on device"):
        write_gif(tmp_path / "a.gif", counter_clip(2), 8.0)
    assert os.listdir(tmp_path) == []
