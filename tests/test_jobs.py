"""From a folder of real video files to sampled clips and a report, as a person does it."""

import json
import re

import av
import numpy as np
import pytest
import tiny_run
from numbered_videos import make_video
from PIL import Image

from videojam_jax.data import probes


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Files of mixed kinds, a moving square in each, and a broken one among them."""
    root = tmp_path_factory.mktemp("videos")
    frames = []
    for i in range(30):
        frame = np.full((40, 56, 3), 60, np.uint8)
        frame[8:24, i : i + 16] = (220, 40, 40)
        frames.append(frame)
    make_video(root / "one.mp4", frames=frames)
    make_video(root / "two.mkv", frames=[frame[:, ::-1].copy() for frame in frames])
    make_video(root / "three.webm", "libvpx", frames=frames, rate=12)
    make_video(root / "four.gif", "gif", "rgb8", frames=frames)
    for name in ("one", "two", "three"):
        (root / f"{name}.txt").write_text(f"a red square moves, {name}")
    whole = (root / "one.mp4").read_bytes()
    (root / "broken.mp4").write_bytes(whole[: len(whole) // 3])
    (root / "broken.txt").write_text("what is left of a clip")
    return root


@pytest.fixture(scope="module")
def runs(videos, tmp_path_factory):
    """The folder of a base and a VideoJAM trained on those files."""
    root = tmp_path_factory.mktemp("jobs")
    folder = [
        "--config.source.name=folder",
        f"--config.source.path={videos}",
        "--config.motion.flow=dis",
        "--config.clip.fps=12.0",
    ]
    tiny = [word for word in tiny_run.TINY if "source" not in word]
    tiny.append("--config.mesh.data=-1")  # all devices of the tests
    config = ["--config", tiny_run.CONFIG]
    base = ["--config", f"{tiny_run.CONFIG}:base"]
    jobs = [
        ["prepare", *config, *tiny, *folder, "--workdir", root / "data"],
        ["train", *base, *tiny, *folder, "--workdir", root / "base", "--config.train.steps=10"],
        ["train", *config, *tiny, *folder, "--workdir", root / "videojam",
         "--config.train.steps=50", "--config.train.sample_every=50"],
    ]  # fmt: skip
    printed = {"jobs": jobs}
    for job in jobs:
        status, printed[job[0]] = tiny_run.here(*job)
        assert status == 0, printed[job[0]]
    return root, printed


def test_the_broken_file_is_named_and_the_others_are_used(runs):
    root, printed = runs
    manifest = json.loads((root / "data" / "manifest.json").read_text())
    assert [one["source"] for one in manifest["set_aside"]["clips"]] == ["broken.mp4"]
    # 30 frames at 24 a second are three clips of 4 frames at 12, at 12 a second seven.
    assert manifest["clips"] >= 3 + 3 + 7
    assert f"{manifest['clips']} clips prepared, 1 set aside" in printed["prepare"]


def test_the_same_prepare_again_probes_no_video_that_it_knows(runs, monkeypatch):
    root, printed = runs
    monkeypatch.setattr(probes, "probe", None)
    status, said = tiny_run.here(*printed["jobs"][0])
    assert status == 0 and "nothing was left to do" in said, said
    # The kept answers alone are of the run, not of its clips.
    assert [path.name for path in (root / "data").iterdir() if path.is_dir()] == ["probed"]


def test_fifty_steps_are_trained_and_sampled_on_the_way(runs):
    root, printed = runs
    assert "trained to step 50" in printed["train"]
    rows = [json.loads(line) for line in (root / "videojam" / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == list(range(5, 51, 5))
    assert {"appearance_loss", "motion_loss", "grad_norm"} <= set(rows[0])
    for name in ("appearance_floor", "motion_floor"):
        assert len({row[name] for row in rows}) == 1 and 0 < rows[0][name] < 2
    assert "linear floor of the loss: appearance " in printed["train"]
    assert "note: a token of both halves has 192 + 192 numbers" in printed["train"]
    samples = root / "videojam" / "samples" / "step_00000050"
    assert json.loads((samples / "samples.json").read_text())["step"] == 50
    assert list((root / "videojam" / "tensorboard").iterdir())


def test_samples_are_clips_with_their_motion(runs):
    root, _ = runs
    status, out = tiny_run.here(
        "sample", "--workdir", root / "videojam", "--prompt", "a red square moves",
        "--prompt", "ein Würfel", "--seed", "3", "--config.sample.w_text=1.5",
    )  # fmt: skip
    assert status == 0, out
    folder = root / "videojam" / "samples" / "prompts"
    index = json.loads((folder / "samples.json").read_text())
    assert index["seed"] == 3 and index["sample"]["w_text"] == 1.5
    assert [sample["prompt"] for sample in index["samples"]] == ["a red square moves", "ein Würfel"]
    for sample in index["samples"]:
        assert len(sample["files"]) == 4
        for name in sample["files"]:
            assert f"wrote {folder / name}" in out
            with av.open(str(folder / name)) as container:
                frames = list(container.decode(video=0))
            assert len(frames) == 4 and frames[0].width == 16 * index["sample"]["enlarge"]
    Image.open(folder / "contact_sheet.png").verify()


def test_a_clip_does_not_change_with_the_prompts_beside_it(runs, tmp_path):
    root, _ = runs
    gifs = []
    for name, prompts in (("alone", ["red"]), ("first", ["red", "blue", "green"])):
        words = [word for prompt in prompts for word in ("--prompt", prompt)]
        out = tmp_path / name
        status, said = tiny_run.here("sample", "--workdir", root / "videojam", *words, "--out", out)
        assert status == 0, said
        gifs.append((out / "000_red.gif").read_bytes())
    assert gifs[0] == gifs[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no prompt: give --prompt TEXT or --prompts FILE"),
        (["--prompt", "x", "--step", "7"], "no step 7; there are"),
        (["--prompt", "x", "--config.model.patch=(1,1,1)"], "another architecture"),
        (["--prompts", "none.txt"], "none.txt: there is no such file"),
    ],
)
def test_a_sample_that_cannot_be_made_says_why(runs, words, message):
    root, _ = runs
    status, out = tiny_run.here("sample", "--workdir", root / "videojam", *words)
    assert status == 2 and message in out and len(out.splitlines()) == 1, out


def test_the_report_shows_both_models_beside_real_clips(runs):
    root, _ = runs
    status, out = tiny_run.here("report", "--workdir", root, "--clips", "3")
    assert status == 0, out
    page = (root / "report.html").read_text()
    assert page.count("data:image/gif;base64,") == 3 * 6
    assert not re.search(r"""(src|href)=["']?(http|//)""", page), "the page needs a network"
    measured = json.loads((root / "report.json").read_text())["measured"][0]
    assert set(measured["values"]) == {"real", "untrained", "base", "VideoJAM"}
    assert all(0 <= share <= 1 for share in measured["values"].values())


def test_a_job_done_before_returns_at_once(runs):
    _, printed = runs
    for job in printed["jobs"]:
        status, out = tiny_run.here(*job)
        assert status == 0, out
        assert "nothing was left to do" in out or "going on from" in out and "loss" not in out, out
