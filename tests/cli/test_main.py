"""What a person types and reads."""

import os
import signal
import types

import pytest
import tiny_run

from videojam_jax import build, lock
from videojam_jax.cli.main import _throughput
from videojam_jax.data.encode import Rates


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_any_job_that_is_told_to_stop_ends_with_75_in_one_line(number, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "source", lambda config: os.kill(os.getpid(), number))
    # As it is in a program that a shell started in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        status, out = tiny_run.here(*tiny_run.words("prepare", "--workdir", tmp_path))
        after = signal.signal(signal.SIGINT, before[0]), signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert status == 75 and "stopped by a signal; what was finished is kept" in out
    assert len(out.splitlines()) == 1 and after == (signal.SIG_IGN, before[1])


@pytest.mark.parametrize("job", ["prepare", "plan"])
def test_a_config_of_an_autoencoder_is_for_train_alone(job, tmp_path):
    config = str(tiny_run.ROOT / "configs" / "tae_small.py:tiny")
    rest = ["--workdir", tmp_path] if job == "prepare" else ["--platform", "cpu:1"]
    status, said = tiny_run.here(job, "--config", config, *rest)
    assert status == 2 and "this trains an autoencoder" in said.splitlines()[-1], said


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (".", ["train", "--config", tiny_run.CONFIG]),
        ("ablation", tiny_run.experiment("ablation")),
        ("seed_0/control", tiny_run.experiment("ablation")),
    ],
    ids=["a run", "an experiment", "a run that an experiment is to train"],
)
def test_what_another_run_works_in_is_refused_in_one_line(held, words, tmp_path):
    with lock.alone([tmp_path / held]):
        status, out = tiny_run.here(*words, "--workdir", tmp_path)
        assert status == 2 and len(out.splitlines()) == 1, out
        said = f"videojam: error: {tmp_path / held}: another run is at work here: process "
        assert out.startswith(said)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_prepare_says_that_devices_waited_only_where_they_have_work():
    config = types.SimpleNamespace(clip=types.SimpleNamespace(frames=4))
    said = [_throughput(Rates(10, 2.0, waiting), config) for waiting in (None, 0.2, 0.91)]
    assert said[0] == "5.0 clips/s  20 frames/s"
    assert said[1] == said[0] + "  devices waited 20% of the time"
    assert said[2].endswith("waited 91% of the time; more config.prepare.workers may help")
