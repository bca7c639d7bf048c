"""Sample files, as a person and as a program reads them."""

import json
import resource
import signal

import av
import numpy as np
import pytest
from PIL import Image

from videojam_jax.errors import UserError
from videojam_jax.sample.files import PROMPTS_A_SHEET, contact_sheet, write_samples

PROMPTS = ["A red ball falls.", "über 100 % / ..\\ schnell!", ""]


def clips(count=3, shade=0):
    """Clips that are told apart: clip i is a grey of its own, brighter with time."""
    levels = shade + 40 * np.arange(count)[:, None] + 8 * np.arange(6)
    return np.broadcast_to(
        levels.astype(np.uint8)[:, :, None, None, None], (count, 6, 16, 24, 3)
    ).copy()


def write(out, videos=None, flow_rgbs=None, prompts=PROMPTS, **changes):
    videos = clips() if videos is None else videos
    return write_samples(out, videos, flow_rgbs, prompts, **{"fps": 8.0, **changes})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def decode(path):
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]), rate


def test_every_clip_is_an_mp4_and_a_gif_and_so_is_its_flow(tmp_path):
    paths = write(tmp_path / "out", flow_rgbs=clips(shade=100))
    stems = ["000_a_red_ball_falls", "001_über_100_schnell", "002_no_text"]
    expected = [
        f"{stem}{flow}.{kind}"
        for stem in stems
        for flow in ("", "_flow")
        for kind in ("mp4", "gif")
    ]
    assert [path.name for path in paths] == ["samples.json", "contact_sheet.png", *expected]
    assert names(tmp_path / "out") == sorted(path.name for path in paths)
    assert all(path.is_file() for path in paths)


def test_files_hold_the_clips_they_are_named_after(tmp_path):
    videos, flows = clips(), clips(shade=100)
    write(tmp_path / "out", videos, flows, enlarge=2)
    for i, stem in enumerate(["000_a_red_ball_falls", "001_über_100_schnell", "002_no_text"]):
        for array, name in [(videos[i], stem), (flows[i], f"{stem}_flow")]:
            shown, rate = decode(tmp_path / "out" / f"{name}.mp4")
            assert shown.shape == (6, 32, 48, 3) and rate == 8
            enlarged = array.repeat(2, 1).repeat(2, 2).astype(int)
            assert np.abs(shown - enlarged).max() <= 3, name
            with Image.open(tmp_path / "out" / f"{name}.gif") as gif:
                assert gif.n_frames == 6 and gif.size == (48, 32)


def test_a_base_model_has_no_flow_files(tmp_path):
    write(tmp_path / "out")
    assert not [name for name in names(tmp_path / "out") if "flow" in name]


def test_the_index_tells_prompt_files_and_what_it_was_told(tmp_path):
    about = {"seed": 3, "step": 7, "sample": {"guidance": "videojam", "sizes": (1, 2)}}
    write(tmp_path / "out", about=about)
    index = json.loads((tmp_path / "out" / "samples.json").read_text(encoding="utf-8"))
    assert [sample["prompt"] for sample in index["samples"]] == PROMPTS
    assert index["samples"][2]["files"] == ["002_no_text.mp4", "002_no_text.gif"]
    assert (index["seed"], index["step"], index["fps"]) == (3, 7, 8.0)
    assert index["sample"] == {"guidance": "videojam", "sizes": [1, 2]}
    listed = {name for sample in index["samples"] for name in sample["files"]}
    assert listed | {"samples.json", *index["contact_sheets"]} == set(names(tmp_path / "out"))


def test_the_same_samples_are_the_same_bytes(tmp_path):
    for one, other in zip(write(tmp_path / "one"), write(tmp_path / "other"), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_writing_again_leaves_nothing_of_the_earlier_samples(tmp_path):
    write(tmp_path / "out", flow_rgbs=clips(), prompts=["one", "two", "three"])
    paths = write(tmp_path / "out", clips(1), prompts=["four"])
    assert names(tmp_path / "out") == sorted(path.name for path in paths)
    assert names(tmp_path) == ["out"]


def test_parents_are_made_and_an_empty_folder_is_used(tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "a" / "b", tmp_path / "empty"):
        write(out)
        assert "samples.json" in names(out)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = names(tmp_path / "out")
    with pytest.raises(UserError, match=r"out holds something.*notes\.txt"):
        write(tmp_path / "out", clips(1), prompts=["other"])
    assert names(tmp_path / "out") == before and names(tmp_path) == ["out"]


def test_clips_that_no_index_lists_are_not_taken_for_samples(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000_holiday.mp4").write_bytes(b"precious")
    with pytest.raises(UserError, match="000_holiday"):
        write(tmp_path / "out")
    assert (tmp_path / "out" / "000_holiday.mp4").read_bytes() == b"precious"


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out is a file"):
        write(tmp_path / "out")


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="folder you are in"):
        write(".")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and "samples.json" in names(tmp_path / "real")


def test_a_full_disk_leaves_the_earlier_samples_whole(tmp_path):
    write(tmp_path / "out", prompts=["one", "two", "three"])
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    noise = np.random.default_rng(0).integers(0, 256, (3, 6, 64, 64, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match="File too large"):
            write(tmp_path / "out", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert names(tmp_path) == ["out"]


def test_an_interruption_leaves_the_earlier_samples_whole(tmp_path):
    write(tmp_path / "out")
    before = names(tmp_path / "out")

    class Interrupting(list):
        def __getitem__(self, index):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", prompts=Interrupting(["a", "b", "c"]))
    assert names(tmp_path / "out") == before and names(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write samples to .*file/out"):
        write(tmp_path / "file" / "out")


def test_clips_and_prompts_must_be_one_for_each(tmp_path):
    with pytest.raises(ValueError, match="3 videos, None flows and 2 prompts"):
        write(tmp_path / "out", prompts=["a", "b"])
    assert names(tmp_path) == []


def test_long_prompts_give_short_names_cut_between_words(tmp_path):
    write(tmp_path / "out", clips(1), prompts=["extraordinarily " * 30])
    assert "000_extraordinarily_extraordinarily.mp4" in names(tmp_path / "out")


def test_many_prompts_are_spread_over_several_sheets(tmp_path):
    count = PROMPTS_A_SHEET + 2
    videos = np.zeros((count, 1, 2, 2, 3), np.uint8)
    paths = write(tmp_path / "out", videos, prompts=[f"clip {i}" for i in range(count)])
    sheets = [path for path in paths if path.suffix == ".png"]
    assert [path.name for path in sheets] == ["contact_sheet_000.png", "contact_sheet_032.png"]
    heights = [np.asarray(Image.open(path)).shape[0] for path in sheets]
    assert heights[0] > 10 * heights[1]


def test_a_sheet_shows_frames_from_the_first_to_the_last_in_order():
    video = np.zeros((21, 32, 32, 3), np.uint8)
    video[..., 0] = 10 * np.arange(21)[:, None, None]
    sheet = contact_sheet([video], [""], frames=5, frame_width=64)
    row = sheet[12 + 32, :, 0]
    assert [int(row[12 + 32 + i * (64 + 4)]) for i in range(5)] == [0, 50, 100, 150, 200]


def test_pixels_of_small_clips_stay_sharp_and_large_clips_shrink():
    small = np.random.default_rng(0).integers(0, 256, (1, 10, 10, 3), np.uint8)
    sheet = contact_sheet([small], [""], frame_width=35)
    np.testing.assert_array_equal(sheet[12:-12, 12:-12], small[0].repeat(3, 0).repeat(3, 1))
    large = np.full((1, 300, 500, 3), 77, np.uint8)
    sheet = contact_sheet([large], [""], frame_width=125)
    assert sheet.shape == (75 + 24, 125 + 24, 3) and (sheet[12:-12, 12:-12] == 77).all()


def test_rows_may_differ_in_size_and_length():
    rows = [np.zeros((3, 32, 48, 3), np.uint8), np.zeros((9, 64, 64, 3), np.uint8)]
    sheet = contact_sheet(rows, ["short", "long"])
    assert sheet.shape[1] == 8 * (128 + 4) - 4 + 24


def test_a_label_is_drawn_above_its_row_and_a_row_without_one_follows_closely():
    black = np.zeros((1, 32, 32, 3), np.uint8)
    bare, labelled = contact_sheet([black], [""]), contact_sheet([black], ["a label"])
    caption = labelled[12 : labelled.shape[0] - bare.shape[0] + 12]
    assert caption.shape[0] >= 16 and caption.min() < 100
    pair = contact_sheet([black, black], ["a label", ""])
    apart = contact_sheet([black, black], ["a label", "another"])
    assert labelled.shape[0] < pair.shape[0] < apart.shape[0]
    dark = (pair[:, 12 + 64] == 0).all(-1)
    assert dark.sum() >= 2 * 128  # both rows are there


@pytest.mark.parametrize("label", ["word " * 500, "w" * 3000, "球が落ちる" * 300])
def test_labels_of_any_length_take_at_most_three_lines(label):
    video = np.zeros((8, 32, 32, 3), np.uint8)
    plain = contact_sheet([video], [""]).shape[0]
    assert contact_sheet([video], [label]).shape[0] <= plain + 3 * 22 + 4
