"""Sample files, as a person and as a program reads them."""

import json
import resource
import signal

import av
import numpy as np
import pytest
from PIL import Image

from videojam_jax.data.video_file import read_video
from videojam_jax.errors import UserError
from videojam_jax.sample.files import PROMPTS_A_SHEET, sample_folder

PROMPTS = ["A red ball falls.", "über 100 % / ..\\ schnell!", ""]


def clips(count=3, shade=0):
    """Clips that are told apart: clip i is a grey of its own, brighter with time."""
    levels = shade + 40 * np.arange(count)[:, None] + 8 * np.arange(6)
    return np.broadcast_to(
        levels.astype(np.uint8)[:, :, None, None, None], (count, 6, 16, 24, 3)
    ).copy()


def write(out, videos=None, flow_rgbs=None, prompts=PROMPTS, **changes):
    """All clips, added one after the other; the files that are there then."""
    videos = clips() if videos is None else videos
    motion = flow_rgbs is not None
    with sample_folder(out, prompts, motion=motion, **{"fps": 8.0, **changes}) as folder:
        for number, video in enumerate(videos):
            if number not in folder.finished:
                folder.add(number, video, flow_rgbs[number] if motion else None)
    return folder.files()


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


def test_the_same_samples_are_the_same_bytes_but_for_what_x264_writes(tmp_path):
    for one, other in zip(write(tmp_path / "one"), write(tmp_path / "other"), strict=True):
        assert one.name == other.name
        assert one.suffix == ".mp4" or one.read_bytes() == other.read_bytes(), one.name


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


def interrupted(out, after, **changes):
    """A run that is stopped by Ctrl-C after so many clips."""

    class Videos(list):
        def __iter__(self):
            yield from self[:after]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(out, Videos(clips()), **changes)


def test_an_interruption_leaves_the_earlier_samples_whole(tmp_path):
    write(tmp_path / "out", prompts=["one", "two", "three"])
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    interrupted(tmp_path / "out", after=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_nothing_stays_of_a_run_that_finished_no_clip(tmp_path):
    interrupted(tmp_path / "out", after=0)
    assert names(tmp_path) == []


def test_the_next_run_goes_on_with_what_an_interrupted_one_had_finished(tmp_path):
    interrupted(tmp_path / "out", after=2)
    (passing,) = tmp_path.iterdir()
    (passing / "001_über_100_schnell.gif").unlink()  # as if it were killed at this file
    (passing / ".002_no_text.mp4.0123abcd.part").write_bytes(b"half")
    with sample_folder(tmp_path / "out", PROMPTS, motion=False, fps=8.0) as folder:
        assert folder.finished == {0}
        for number in (1, 2):
            folder.add(number, clips()[number])
    undisturbed = write(tmp_path / "undisturbed")
    assert names(tmp_path) == ["out", "undisturbed"]
    assert names(tmp_path / "out") == sorted(path.name for path in undisturbed)
    for path in undisturbed:
        found = tmp_path / "out" / path.name
        if path.suffix == ".mp4":  # now and then x264 gives other bytes for the same frames
            one, other = (read_video(file).astype(int) for file in (found, path))
            assert one.shape == other.shape and np.abs(one - other).mean() < 1, path.name
        else:
            assert found.read_bytes() == path.read_bytes(), path.name


def test_a_clip_whose_row_of_the_sheet_is_missing_is_not_finished(tmp_path):
    interrupted(tmp_path / "out", after=2)
    (passing,) = tmp_path.iterdir()
    (passing / ".001_über_100_schnell.png").unlink()
    with sample_folder(tmp_path / "out", PROMPTS, motion=False, fps=8.0) as folder:
        assert folder.finished == {0}
        for number in (1, 2):
            folder.add(number, clips()[number])


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {"seed": 1}},
        {"origin": "other parameters"},
        {"fps": 9.0},
        {"enlarge": 2},
        {"prompts": [*PROMPTS[:2], "another"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_clips_of_an_interrupted_run_are_not_taken_for_others(tmp_path, changes):
    interrupted(tmp_path / "out", after=2)
    changes = {"motion": False, "fps": 8.0, "prompts": PROMPTS} | changes
    with sample_folder(tmp_path / "out", **changes) as folder:
        assert not folder.finished
        for number, video in enumerate(clips()):
            folder.add(number, video)
    assert names(tmp_path) == ["out"]


def test_a_folder_beside_it_that_only_looks_alike_stays(tmp_path):
    for name in (".out.part", ".out.b.0123456789ab.part", ".outer.0123456789ab.part"):
        (tmp_path / name).mkdir()
    before = names(tmp_path)
    write(tmp_path / "out")
    assert names(tmp_path) == [*before, "out"]


def test_a_clip_that_was_not_added_is_named(tmp_path):
    write(tmp_path / "out")
    before = names(tmp_path / "out")
    with pytest.raises(UserError, match="1 clips are missing, the first is 002_no_text"):
        write(tmp_path / "out", clips(2), about={"seed": 1})
    assert names(tmp_path / "out") == before


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write samples to .*file/out"):
        write(tmp_path / "file" / "out")


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
