import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from numbered_videos import make_video, numbered, numbers, packet_places

from videojam_jax.data.clip import BadClip, ClipSpec
from videojam_jax.data.fit import cover, crop_position
from videojam_jax.data.simulate import Options, SimulatedOptions, simulate
from videojam_jax.data.sources import Folder, Simulated
from videojam_jax.data.tfds_source import Tfds
from videojam_jax.errors import UserError

SPEC = ClipSpec(frames=16, height=48, width=64, fps=24.0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder with a bit of everything."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "sub" / "deep").mkdir(parents=True)
    make_video(root / "long.mp4", count=60, options={"g": "20"})
    make_video(root / "sub" / "b.MKV", count=20)
    make_video(root / "sub" / "deep" / "c.gif", "gif", "rgb8", count=33)
    make_video(root / "brief.mp4", count=6)
    make_video(root / "cut.mp4")
    data = (root / "cut.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(data[: len(data) // 2])
    make_video(root / "odd_caption.webm", "libvpx", count=16)
    (root / "odd_caption.txt").write_bytes(b"\xff\xfe")
    (root / "text.avi").write_text("this is no video")
    (root / "empty.mov").write_bytes(b"")
    (root / "long.txt").write_text("bits that count up")
    (root / "lost.txt").write_text("nobody's caption")
    (root / "notes.md").write_text("not a video, and not listed")
    (root / "._long.mp4").write_bytes(b"what macOS leaves behind")
    return root


def test_a_folder_is_cut_into_clips_sorted_by_name(mixed):
    source = Folder(mixed, SPEC)
    clips = [source[i] for i in range(len(source))]
    assert [clip.source_id for clip in clips] == [
        "long.mp4#0",
        "long.mp4#1",
        "long.mp4#2",
        "sub/b.MKV#0",
        "sub/deep/c.gif#0",
        "sub/deep/c.gif#1",
    ]
    assert [numbers(clip.video)[0] for clip in clips] == [0, 16, 32, 0, 0, 16]
    for clip in clips:
        first = numbers(clip.video)[0]
        assert clip.video.shape == (16, 48, 64, 3)
        assert clip.video.dtype == np.uint8
        assert numbers(clip.video) == list(range(first, first + 16))
        assert clip.fps == 24.0
        assert clip.flow is None
    assert [clip.caption for clip in clips] == ["bits that count up"] * 3 + [""] * 3


def test_what_cannot_be_used_is_set_aside_with_its_reason(mixed):
    source = Folder(mixed, SPEC)
    reasons = {one["source"]: one["reason"] for one in source.set_aside}
    expected = {
        "brief.mp4": "too short: 6 frames at 24 frames a second (0.25 s), "
        "a clip has 16 (0.67 s)",
        "cut.mp4": "not a readable video, or cut off",
        "empty.mov": "the file is empty (0 bytes)",
        "lost.txt": "a caption without a video",
        "odd_caption.webm": "its caption odd_caption.txt is not UTF-8 (byte 0xff)",
        "text.avi": "not a readable video, or cut off",
    }
    assert reasons == expected
    assert list(reasons) == sorted(reasons)
    assert source.describe() == {
        "name": f"folder:{mixed}",
        "files": 3,
        "clips": 6,
        "without_caption": 2,
        "set_aside": 6,
    }


def test_stride_sets_how_far_apart_clips_start(mixed):
    source = Folder(mixed, ClipSpec(16, 48, 64, 24.0, stride=10))
    long = [source[i] for i in range(len(source)) if source[i].source_id.startswith("long")]
    assert [numbers(clip.video)[0] for clip in long] == [0, 10, 20, 30, 40]


def test_clips_are_resampled_to_the_wanted_rate(mixed):
    source = Folder(mixed, ClipSpec(4, 48, 64, 6.0))
    assert source[1].source_id == "brief.mp4#0" or source[0].source_id == "long.mp4#0"
    long = [source[i] for i in range(len(source)) if source[i].source_id.startswith("long")]
    assert [numbers(clip.video) for clip in long] == [
        [0, 4, 8, 12],
        [16, 20, 24, 28],
        [32, 36, 40, 44],
    ]


def test_any_order_and_any_thread_give_the_same_clips(mixed):
    source = pickle.loads(pickle.dumps(Folder(mixed, SPEC)))
    forward = [source[i].video for i in range(len(source))]
    with ThreadPoolExecutor(4) as pool:
        backward = list(pool.map(lambda i: source[i].video, reversed(range(len(source)))))
    for one, other in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(one, other)


def test_numbers_past_the_end_are_index_errors(mixed):
    source = Folder(mixed, SPEC)
    for index in (-1, len(source)):
        with pytest.raises(IndexError):
            source[index]


def test_captions_may_come_from_a_table(mixed, tmp_path):
    make_video(tmp_path / "one.mp4", count=16)
    make_video(tmp_path / "two.mp4", count=16)
    (tmp_path / "captions.jsonl").write_text(
        '{"file": "two.mp4", "caption": "second"}\n{"file": \n'
    )
    source = Folder(tmp_path, SPEC)
    assert [source[0].caption, source[1].caption] == ["", "second"]
    assert [one["source"] for one in source.set_aside] == ["captions.jsonl:2"]
    assert source.describe()["without_caption"] == 1


def test_a_clip_that_cannot_be_decoded_is_bad_and_the_others_are_not(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=96, options={"g": "16", "sc_threshold": "0"})
    source = Folder(tmp_path, SPEC)
    data = bytearray(path.read_bytes())
    for start, size in packet_places(path)[36:48]:
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    assert numbers(source[0].video) == list(range(16))
    assert numbers(source[4].video) == list(range(64, 80))
    with pytest.raises(BadClip, match="a.mp4#2: damaged or cut off") as caught:
        source[2]
    assert caught.value.source_id == "a.mp4#2"
    path.unlink()
    with pytest.raises(BadClip, match="No such file"):
        source[0]


def test_a_missing_folder_a_file_and_an_empty_folder_are_errors(tmp_path):
    with pytest.raises(UserError, match="absent: there is no such folder"):
        Folder(tmp_path / "absent", SPEC)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: is not a folder"):
        Folder(tmp_path / "file", SPEC)
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(UserError, match=r"empty: the folder holds no video files \(mp4, mov"):
        Folder(tmp_path / "empty", SPEC)


def test_a_folder_of_nothing_usable_is_an_error_with_the_first_reasons(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.mp4").write_text("text")
    with pytest.raises(UserError) as caught:
        Folder(tmp_path, SPEC)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: none of its 5 video files can be used (0.mp4: not a")
    assert message.endswith("; ...)")
    assert "3.mp4" not in message
    assert "\n" not in message


def test_links_are_followed_once_even_in_a_circle(tmp_path):
    (tmp_path / "real").mkdir()
    make_video(tmp_path / "real" / "a.mp4", count=16)
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    assert len(Folder(tmp_path, SPEC)) == 1


def test_a_name_that_is_not_utf8_is_set_aside(tmp_path):
    make_video(tmp_path / "a.mp4", count=16)
    os.rename(tmp_path / "a.mp4", os.fsencode(tmp_path) + b"/\xff.mp4")
    make_video(tmp_path / "a.mp4", count=16)
    source = Folder(tmp_path, SPEC)
    assert len(source) == 1
    assert source.set_aside == [{"source": "\\udcff.mp4", "reason": "its name is not UTF-8"}]


def test_an_unknown_crop_is_an_error(mixed):
    with pytest.raises(UserError, match='"center".*"centre" or "random"'):
        Folder(mixed, ClipSpec(16, 48, 64, 24.0, crop="center"))


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right and green downwards, each by one a pixel."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1)


def test_a_centre_crop_takes_the_middle():
    image = cover(ramp(40, 100), 40, 20)
    assert image.shape == (40, 20, 3)
    assert image[0, 0].tolist() == [40, 0, 0]
    image = cover(ramp(100, 40), 20, 40)
    assert image[0, 0].tolist() == [0, 40, 0]


def test_a_frame_is_resized_to_cover_and_keeps_its_shape():
    image = cover(ramp(80, 200), 20, 20)
    np.testing.assert_allclose(image[0, 0], [4 * 15 + 1.5, 1.5, 0], atol=1)
    np.testing.assert_allclose(np.diff(image[5, :, 0].astype(int)).mean(), 4, atol=0.1)
    np.testing.assert_allclose(np.diff(image[:, 5, 1].astype(int)).mean(), 4, atol=0.1)
    large = cover(ramp(10, 20), 40, 40)
    assert large.shape == (40, 40, 3)
    np.testing.assert_allclose(np.diff(large[20, 5:35, 0].astype(int)).mean(), 0.25, atol=0.05)


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(cover(stripes, 16, 16).astype(int) - 128).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (299, 3), (480, 853)])
def test_any_size_can_be_covered(size):
    for position in [(0.0, 0.0), (0.5, 0.5), (0.999999, 0.999999)]:
        assert cover(ramp(*size), 24, 32, position).shape == (24, 32, 3)


def test_a_random_crop_is_a_function_of_seed_and_clip_and_is_spread_evenly():
    spec = ClipSpec(16, 48, 64, 24.0, crop="random", seed=3)
    assert crop_position(spec, "a#0") == crop_position(spec, "a#0")
    other = ClipSpec(16, 48, 64, 24.0, crop="random", seed=4)
    assert crop_position(spec, "a#0") != crop_position(other, "a#0")
    positions = np.array([crop_position(spec, f"clip#{i}") for i in range(4000)])
    assert positions.min() >= 0 and positions.max() < 1
    counts = np.histogram2d(*positions.T, bins=4, range=[(0, 1), (0, 1)])[0]
    assert np.abs(counts - 250).max() < 80  # five standard deviations


def test_a_random_crop_holds_for_all_frames_of_a_clip_and_differs_between_clips(tmp_path):
    wide = [np.broadcast_to(ramp(32, 192), (32, 192, 3)).copy()] * 64
    make_video(tmp_path / "a.mkv", "ffv1", "bgr0", frames=wide)
    source = Folder(tmp_path, ClipSpec(8, 32, 32, 24.0, crop="random", seed=1))
    lefts = []
    for i in range(len(source)):
        video = source[i].video
        assert (video == video[0]).all()
        lefts.append(int(video[0, 0, 0, 0]))
    assert len(set(lefts)) > 4
    again = Folder(tmp_path, ClipSpec(8, 32, 32, 24.0, crop="random", seed=1))
    assert [int(again[i].video[0, 0, 0, 0]) for i in range(len(again))] == lefts


def test_simulated_clips_carry_their_exact_flow_and_caption():
    spec = ClipSpec(frames=8, height=32, width=48, fps=8.0)
    source = Simulated(
        SimulatedOptions(clips=5, seed=2, kinds=("fall", "spin"), bodies=(1, 2), pan=0.0), spec
    )
    assert len(source) == 5
    options = Options(
        frames=8, height=32, width=48, kinds=("fall", "spin"), bodies=(1, 2), pan=0.0
    )
    for i in (0, 4):
        clip, expected = source[i], simulate(i, options, 2)
        np.testing.assert_array_equal(clip.video, expected.video)
        np.testing.assert_array_equal(clip.flow, expected.flow)
        assert clip.caption == expected.caption
        assert clip.source_id == f"simulated:2:{i}"
        assert clip.fps == 8.0
    with pytest.raises(IndexError):
        source[5]
    assert source.set_aside == []
    assert source.describe()["options"]["kinds"] == ["fall", "spin"]
    assert pickle.loads(pickle.dumps(source))[3].caption == source[3].caption


def test_no_simulated_clips_is_an_error():
    with pytest.raises(UserError, match="config.source.clips = 0: at least 1"):
        SimulatedOptions(clips=0)


class NumberedClips(tfds.core.GeneratorBasedBuilder):
    """Videos of counted frames: `fixed` of 40 frames, `varied` of 8, 20 and 32."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="fixed"),
        tfds.core.BuilderConfig(name="varied"),
        tfds.core.BuilderConfig(name="no_video"),
    ]
    url_infos = {}

    def _info(self):
        frames = {"fixed": 40, "varied": None}.get(self.builder_config.name)
        channels = 3 if frames else 1
        features = {
            "video": tfds.features.Tensor(shape=(frames, 48, 64, channels), dtype=np.uint8),
            "text": tfds.features.Text(),
        }
        if frames:
            features["flow"] = tfds.features.Tensor(shape=(39, 48, 64, 2), dtype=np.float32)
            features["fps"] = tfds.features.Scalar(np.float32)
        if self.builder_config.name == "no_video":
            features = {"text": tfds.features.Text()}
        info = tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )
        # TFDS would ask its bucket, and leave a folder in the temporary directory.
        info.initialize_from_bucket = lambda: None
        return info

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        if self.builder_config.name == "no_video":
            yield 0, {"text": "words"}
        elif self.builder_config.name == "fixed":
            video = np.stack([numbered(i) for i in range(40)])
            flow = np.zeros((39, 48, 64, 2), np.float32) + np.arange(39)[:, None, None, None]
            flow = flow.astype(np.float32)
            for i in range(2):
                yield i, {"video": video, "text": f"clip  {i}\n", "flow": flow, "fps": 24.0}
        else:
            for i, count in enumerate((8, 20, 32)):
                video = np.stack([numbered(j)[..., :1] for j in range(count)])
                yield i, {"video": video, "text": f"{count} frames"}


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for config in ("fixed", "varied", "no_video"):
        NumberedClips(
            config=config, data_dir=folder, file_format="array_record"
        ).download_and_prepare()
    return folder


def test_a_tfds_data_set_is_cut_into_clips_with_its_flow(tfds_dir):
    source = Tfds("numbered_clips/fixed:train", SPEC, tfds_dir)
    assert len(source) == 4
    clip = source[3]
    assert clip.source_id == "tfds:numbered_clips/fixed:train:1#1"
    assert numbers(clip.video) == list(range(16, 32))
    assert clip.caption == "clip 1"
    assert clip.flow.shape == (15, 48, 64, 2)
    assert clip.flow[:, 0, 0, 0].tolist() == list(range(16, 31))
    assert source.describe() == {
        "name": "tfds:numbered_clips/fixed:train",
        "examples": 2,
        "clips": 4,
        "caption_key": "text",
    }
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3].video, clip.video)


def test_a_tfds_clip_of_another_size_or_rate_has_no_flow(tfds_dir):
    smaller = Tfds("numbered_clips/fixed:train", ClipSpec(16, 24, 32, 24.0), tfds_dir)[0]
    assert smaller.video.shape == (16, 24, 32, 3)
    assert numbers(smaller.video) == list(range(16))
    assert smaller.flow is None
    slower = Tfds("numbered_clips/fixed", ClipSpec(16, 48, 64, 12.0), tfds_dir)
    assert len(slower) == 2
    assert numbers(slower[0].video) == list(range(0, 32, 2))
    assert slower[0].flow is None


def test_tfds_examples_of_varied_length_give_one_clip_each(tfds_dir):
    source = Tfds("numbered_clips/varied:train", SPEC, tfds_dir)
    assert len(source) == 3
    assert numbers(source[1].video) == list(range(16))
    assert source[1].video.shape == (16, 48, 64, 3)  # from one channel
    with pytest.raises(BadClip, match="too short: 8 frames"):
        source[0]


def test_tfds_splits_may_be_sliced(tfds_dir):
    source = Tfds("numbered_clips/fixed:1.0.0:train[1:]", SPEC, tfds_dir)
    assert len(source) == 2
    assert source[0].caption == "clip 1"


@pytest.mark.parametrize(
    "name, message",
    [
        ("nosuch_set:train", "tfds:nosuch_set: Dataset nosuch_set not found"),
        ("numbered_clips/other:train", "BuilderConfig other not found"),
        ("numbered_clips/fixed:test", "Unknown split 'test'"),
        ("numbered_clips/fixed:2.0.0:train", "cannot be loaded at version 2.0.0"),
        ("numbered_clips/no_video:train", "has no feature `video` of frames; it has text"),
        ("a::b", "is no TFDS name"),
    ],
)
def test_a_wrong_tfds_name_is_one_line(tfds_dir, name, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        Tfds(name, SPEC, tfds_dir)
    assert "\n" not in str(caught.value)


def test_tfds_clips_shorter_than_asked_are_an_error(tfds_dir):
    with pytest.raises(UserError, match="too short: 40 frames .* a clip has 41"):
        Tfds("numbered_clips/fixed:train", ClipSpec(41, 48, 64, 24.0), tfds_dir)


def test_a_tfds_set_that_is_not_prepared_names_the_command_that_prepares_it(tmp_path):
    with pytest.raises(UserError) as caught:
        Tfds("videojam_physics/tiny:train", SPEC, tmp_path)
    message = str(caught.value)
    assert f"videojam_physics/tiny is not prepared in {tmp_path}" in message
    assert "file_format='array_record').download_and_prepare()" in message
    assert os.listdir(tmp_path) == []


def test_the_simulated_tfds_set_gives_the_clips_of_the_simulation(tmp_path):
    spec = ClipSpec(8, 32, 32, 8.0)
    with pytest.raises(UserError) as caught:
        Tfds("videojam_physics/tiny:test", spec, tmp_path)
    # The command in the message does what it says.
    program = str(caught.value).split('python -c "')[1].removesuffix('"')
    exec(program, {})
    source = Tfds("videojam_physics/tiny:test", spec, tmp_path)
    options = Options(frames=8, height=32, width=32, bodies=(1, 1), pan=0.0)
    expected = simulate(3, options, seed=1)
    np.testing.assert_array_equal(source[3].video, expected.video)
    np.testing.assert_array_equal(source[3].flow, expected.flow)
    assert source[3].caption == expected.caption


def test_the_source_opens_no_more_threads_of_opencv_than_before(mixed):
    before = cv2.getNumThreads()
    Folder(mixed, SPEC)[0]
    assert cv2.getNumThreads() == before
