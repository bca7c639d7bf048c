"""`sample` and `report` by several processes: the same files as by one, killed or not.

Real processes with real collectives (gloo), each with a CPU device.
"""

import json
import signal

import numpy as np
import pytest
import tiny_run

from videojam_jax.data.video_file import read_video

pytestmark = pytest.mark.multiprocess

PROMPTS = [f"a red disc falls {i}" for i in range(5)]  # three batches, the last one short

# `videojam`, killed when it is about to write clip 3.
KILLED = """
import os, signal
from videojam_jax.sample.files import SampleFolder

add = SampleFolder.add

def add_or_die(self, number, *clips):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, number, *clips)

SampleFolder.add = add_or_die
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a base and a VideoJAM that were trained for a few steps."""
    root = tmp_path_factory.mktemp("runs")
    for job, *words in (
        ["prepare", "--workdir", root / "data"],
        ["train", "--workdir", root / "base"],
        ["train", "--workdir", root / "videojam"],
    ):
        steps = ["--config.train.steps=20", "--config.mesh.data=-1"] if job == "train" else []
        variant = "videojam" if "videojam" in str(words) else "base"
        status, said = tiny_run.run(tiny_run.command(job, *words, *steps, variant=variant))
        assert status == 0, said
    return root


def sample_command(runs, out):
    words = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    return tiny_run.command("sample", "--workdir", runs / "videojam", *words, "--out", out)


def sample(count, runs, out):
    ended = tiny_run.ends(tiny_run.start_together(count, sample_command(runs, out)))
    assert [status for status, _ in ended] == [0] * count, ended
    return ended


@pytest.fixture(scope="module")
def by_one(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("samples") / "by_one"
    sample(1, runs, out)
    return out


def assert_same_samples(out, wanted):
    """Every file byte by byte, but the mp4s: x264 does not promise that."""
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in wanted.iterdir())
    assert len(names) == 2 + 4 * len(PROMPTS)
    for name in names:
        if name.endswith(".mp4"):
            found, one = (read_video(folder / name).astype(int) for folder in (out, wanted))
            assert np.abs(found - one).mean() < 1, name
        else:
            assert (out / name).read_bytes() == (wanted / name).read_bytes(), name


@pytest.mark.parametrize("count", [2, 3])
def test_samples_are_the_same_by_any_number_of_processes(runs, by_one, tmp_path, count):
    ended = sample(count, runs, tmp_path / "out")
    assert_same_samples(tmp_path / "out", by_one)
    # Each in its own stream, all that there is now.
    assert {said.count("wrote ") for _, said in ended} == {2 + 4 * len(PROMPTS)}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_when_one_is_killed_nothing_is_there_and_the_next_run_goes_on(runs, by_one, tmp_path):
    out = tmp_path / "out"
    killed = tiny_run.command_after(KILLED, sample_command(runs, out))
    ended = tiny_run.ends(tiny_run.start_together(2, killed))
    assert ended[1][0] == -signal.SIGKILL and ended[0][0] not in (0, 2), ended
    (passing,) = tmp_path.iterdir()
    assert passing.name.startswith(".out.") and not out.exists()
    finished = {path.name: path.stat().st_ino for path in passing.glob("00[01]*")}
    assert len(finished) == 8

    sample(1, runs, out)
    assert_same_samples(out, by_one)
    assert {name: (out / name).stat().st_ino for name in finished} == finished
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_report_of_two_processes_says_what_that_of_one_says(runs, tmp_path):
    def report(count, name):
        words = ["--base", runs / "base", "--videojam", runs / "videojam", "--clips", "3"]
        command = tiny_run.command("report", "--workdir", tmp_path / name, *words)
        ended = tiny_run.ends(tiny_run.start_together(count, command))
        assert [status for status, _ in ended] == [0] * count, ended
        page = (tmp_path / name / "report.html").read_text()
        content = json.loads((tmp_path / name / "report.json").read_text())
        assert content["facts"].pop("device").startswith(f"{count} x ")
        return content, page[: page.index("How this was made")]

    assert report(2, "two") == report(1, "one")
