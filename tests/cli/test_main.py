"""What a person types and reads."""

import errno
import os
import signal

import pytest
import tiny_run

from videojam_jax.config import preparing
from videojam_jax.errors import MayPass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--config", tiny_run.CONFIG, "--config.optimizer.lr=1", "--workdir", "w"],
         "unknown key config.optimizer.lr: did you mean config.optimizer.learning_rate?"),
        (["train", "--config", "no_such.py", "--workdir", "w"], "no_such.py: no such config file"),
        (["sample", "--workdir", "no_such", "--prompt", "x"], "no_such/config.json: no such file"),
        (["report", "--workdir", "no_such"], "no_such/base/config.json: no such file"),
        (["prepare", "--config", tiny_run.CONFIG, "--workdir", "/proc/here"], "/proc/here: cannot write"),
        (["prepare", "--config", tiny_run.CONFIG, "--workdir", "w",
          "--config.source={'name':'folder','path':'no_folder'}", "--config.motion.flow=dis"],
         "no_folder: there is no such folder"),
        (["prepare", "--config", tiny_run.CONFIG, "--workdir", "w", "--config.motion.flow=raft"],
         "config.motion.flow = 'raft' needs weights: set config.motion.raft.weights"),
        (["bench", "data", "--pairs", "2"], "bench data: --pairs is of bench raft alone"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_names_what_is_wrong(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out = tiny_run.here(*words)
    assert status == 2
    assert out.startswith("videojam: error: ") and len(out.splitlines()) == 1
    assert message in out


@pytest.mark.parametrize("words", [["trian"], [], ["train", "--workdir", "w", "--confg", "x"]])
def test_a_wrong_word_shows_the_usage(words):
    status, out = tiny_run.here(*words)
    assert status == 2 and "usage: videojam" in out


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError(errno.EIO, "Input/output error", "clips"), 75, "clips: Input/output error; run the same"),
        (MayPass("x cannot be read"), 75, "x cannot be read; run the same command to go on"),
        (OSError(errno.ENOSPC, "No space left", "clips"), 2, "clips: the disk is full; free some"),
        (OSError(errno.EROFS, "Read-only file system", "clips"), 2, "clips: Read-only file system"),
    ],
)  # fmt: skip
def test_what_may_pass_ends_with_75_and_what_a_person_mends_with_2(
    error, status, said, tmp_path, monkeypatch
):
    def fails(*_):
        raise error

    monkeypatch.setattr(preparing, "source", fails)
    found, out = tiny_run.here(*tiny_run.words("prepare", "--workdir", tmp_path))
    assert found == status and f"videojam: error: {said}" in out and len(out.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_any_job_that_is_told_to_stop_ends_with_75_in_one_line(number, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "source", lambda *_: os.kill(os.getpid(), number))
    # As it is in a program that a shell started in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        status, out = tiny_run.here(*tiny_run.words("prepare", "--workdir", tmp_path))
        after = signal.signal(signal.SIGINT, before[0]), signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert status == 75 and "stopped by a signal; what was finished is kept" in out
    assert len(out.splitlines()) == 1 and after == (signal.SIG_IGN, before[1])
