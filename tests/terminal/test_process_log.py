"""What one of several processes prints, and where it can be read afterwards."""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, sys
from videojam_jax.parallel.launch import Launch
from videojam_jax.terminal.process_log import log_process
workdir, process, job = sys.argv[1:]
place = Launch(2, int(process), "host:1", "flags")
log_process(pathlib.Path(workdir), place, job, f"videojam {job} --workdir 'a run'")
print("step 1/9", "loss 2")
print("lost", end=" ", file=sys.stderr)
print("one", file=sys.stderr)
print("half a line", end="", flush=True)
"""
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def start(workdir, process, job):
    command = [sys.executable, "-c", PROGRAM, workdir, str(process), job]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("process", [0, 1])
def test_every_process_prints_to_its_own_streams_and_with_the_time_to_its_log(tmp_path, process):
    ended = start(tmp_path, process, "train")
    assert (ended.stdout, ended.stderr) == ("step 1/9 loss 2\nhalf a line", "lost one\n")
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == f"train_0000{process}.log"
    said = re.findall(rf"^{TIME} (.*)$", log.read_text(), re.M)
    assert sorted(said) == ["half a line", "lost one", "step 1/9 loss 2"]


def test_a_log_is_of_one_job_and_each_start_is_marked_in_it(tmp_path):
    for job in ("train", "sample", "train"):
        start(tmp_path, 1, job)
    for job, starts in (("train", 2), ("sample", 1)):
        text = (tmp_path / "logs" / f"{job}_00001.log").read_text()
        marks = re.findall(r"^--- (.*)$", text, re.M)
        assert len(marks) == starts and len(text.splitlines()) == 4 * starts
        for mark in marks:
            assert re.fullmatch(
                rf"\S+T\S+ process 1 of 2 on \S+, pid \d+ \(found by: flags, meeting at host:1\): "
                rf"videojam {job} --workdir 'a run' \(Python \S+, .*\bjax \S+, jaxlib .*\)",
                mark,
            ), mark
