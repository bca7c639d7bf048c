import json
import shutil

import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.measure.vbench import write_videos
from videojam_jax.sample.files import sample_folder
from videojam_jax.vote.folders import fingerprint, pair_folders


def video(shade):
    return np.full((3, 16, 16, 3), shade, np.uint8)


def test_clips_of_both_layouts_are_paired_by_prompt_and_motion_is_left_out(folders, prompts):
    found = pair_folders(*folders)
    assert [pair.prompt for pair in found.pairs] == sorted(prompts)
    for pair in found.pairs:
        assert pair.a.mp4.parent == folders[0] and "flow" not in pair.a.mp4.name
        assert pair.prompt.replace(" ", "_") in pair.a.mp4.name
        assert pair.a.gif == pair.a.mp4.with_suffix(".gif")
        assert pair.b.mp4 == folders[1] / f"{pair.prompt}-0.mp4" and pair.b.gif is None
    assert found.notes == ()


def test_what_the_package_itself_writes_in_either_layout_is_paired(tmp_path):
    prompts = ["a/b", "water flow", "water flow", ""]
    videos = [video(50 * i) for i in range(4)]
    with sample_folder(tmp_path / "a", prompts, motion=True, fps=8.0) as folder:
        for i, one in enumerate(videos):
            folder.add(i, one, one)
    write_videos(tmp_path / "b", prompts, videos, 8.0)
    found = pair_folders(tmp_path / "a", tmp_path / "b")
    keys = [(pair.prompt, pair.number) for pair in found.pairs]
    assert keys == [("", 0), ("a/b", 0), ("water flow", 0), ("water flow", 1)]
    # Both folders hold the same clips, so the right ones are paired if each is the same file.
    assert all(pair.a.digest == pair.b.digest for pair in found.pairs)
    assert len({pair.a.digest for pair in found.pairs}) == 4
    assert found.notes == ("pairs of twice the same clip: 4 (“”, number 0, say)",)


def test_motion_in_the_other_layout_is_left_out_but_not_a_prompt_that_sounds_like_it(
    tmp_path, clip, vbench
):
    for name in "ab":
        folder = vbench(tmp_path / name, ["x", "water_flow"], shade=ord(name))
        clip(folder / "x-0_flow.mp4", 0)
        clip(folder / "x_flow-0.mp4", 0)
    found = pair_folders(tmp_path / "a", tmp_path / "b")
    assert [pair.prompt for pair in found.pairs] == ["water_flow", "x"]
    assert found.notes == ()


def test_clips_that_only_one_folder_has_and_other_files_are_left_out_and_counted(
    tmp_path, clip, vbench
):
    a = vbench(tmp_path / "a", ["one", "two", "three"])
    b = vbench(tmp_path / "b", ["two", "four"], shade=9)
    clip(b / "two-1.mp4", 9)
    clip(b / "nonsense.mp4", 9)
    found = pair_folders(a, b)
    assert [(pair.prompt, pair.number) for pair in found.pairs] == [("two", 0)]
    assert len(found.notes) == 3
    assert f"left out, as only {a} has them: 2 (“one”" in found.notes[0]
    assert f"left out, as only {b} has them: 2 (“four”" in found.notes[1]
    assert f"left out of {b}" in found.notes[2] and ": 1 (nonsense.mp4" in found.notes[2]


def test_a_prompt_with_accents_taken_apart_by_the_file_system_is_the_same_prompt(tmp_path, vbench):
    a = vbench(tmp_path / "a", ["cafe\u0301  noir"])
    b = vbench(tmp_path / "b", ["caf\u00e9 noir"])
    assert len(pair_folders(a, b).pairs) == 1


def test_clips_of_unlike_size_length_or_rate_are_told(tmp_path, vbench):
    a = vbench(tmp_path / "a", ["one"])
    b = vbench(tmp_path / "b", ["one"], size=32)
    (note,) = pair_folders(a, b).notes
    assert "4 frames of 16 x 16 at 8 fps; 4 frames of 32 x 32 at 8 fps" in note


def broken(tmp_path, vbench, what):
    """A folder that has something wrong with it."""
    folder = tmp_path / "wrong"
    if what == "missing":
        return folder
    if what == "empty":
        folder.mkdir()
        return folder
    vbench(folder, ["one"])
    if what == "unplayable":
        (folder / "one-0.mp4").write_bytes(b"no video")
    elif what == "twice":
        shutil.copy(folder / "one-0.mp4", folder / "other-0.mp4")
        (folder / "prompts.json").write_text('{"one-0.mp4": "one", "other-0.mp4": "one"}')
    elif what == "prompts":
        (folder / "prompts.json").write_text('["one"]')
    else:
        content = {
            "index": '{"samples": [{"prompt": "one"}]}',
            "text": "{",
            "outside": json.dumps({"samples": [{"prompt": "one", "files": ["../b/one-0.mp4"]}]}),
        }[what]
        (folder / "samples.json").write_text(content)
    return folder


@pytest.mark.parametrize(
    "what,words",
    [
        ("missing", "wrong: no such folder"),
        ("empty", "wrong: holds no clips"),
        ("unplayable", "one-0.mp4: cannot be shown"),
        ("twice", "one-0.mp4 and other-0.mp4 are the same clip"),
        ("prompts", "prompts.json: must be an object"),
        ("index", 'samples.json: is not what `videojam sample` writes; "samples" must list'),
        ("text", "samples.json: is not JSON"),
        ("outside", "names '../b/one-0.mp4', and there is no such file beside it"),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_error_that_says_why(tmp_path, vbench, what, words):
    wrong = broken(tmp_path, vbench, what)
    right = vbench(tmp_path / "b", ["one"])
    for order in ((wrong, right), (right, wrong)):
        with pytest.raises(UserError) as error:
            pair_folders(*order)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_folders_without_a_common_prompt_are_an_error(tmp_path, vbench):
    a, b = vbench(tmp_path / "a", ["one"]), vbench(tmp_path / "b", ["two", "three"])
    with pytest.raises(UserError, match=r"no prompt in common \(1 and 2 clips\)"):
        pair_folders(a, b)


def test_fingerprint_tells_other_clips_and_exchanged_folders_but_not_another_place(
    tmp_path, clip, vbench
):
    a, b = vbench(tmp_path / "a", ["one", "two"]), vbench(tmp_path / "b", ["one", "two"], shade=9)
    first = fingerprint(pair_folders(a, b).pairs)
    assert fingerprint(pair_folders(b, a).pairs) != first
    moved = shutil.copytree(a, tmp_path / "moved")
    assert fingerprint(pair_folders(moved, b).pairs) == first
    clip(moved / "two-0.mp4", 200)
    assert fingerprint(pair_folders(moved, b).pairs) != first
