"""What a run keeps and tells for those who look after it."""

import json
import re

import numpy as np
import pytest
import tiny_run
from ml_collections import FrozenConfigDict

from videojam_jax.train import checkpoint, interval, saving
from videojam_jax.train.run_log import describe
from videojam_jax.train.state import TrainState


@pytest.fixture(scope="module")
def run(data):
    """Workdir and words of a run of twelve steps with all that there is to tell."""
    workdir = data / "on_call"
    status, said = tiny_run.here_alone(
        *tiny_run.words(
            "train", "--workdir", workdir, "--config.train.steps=12", "--config.train.log_every=4",
            "--config.train.checkpoint_every=4", "--config.train.keep=1",
            "--config.train.keep_every=5", "--profile=2", "--config.optimizer.warmup_steps=0",
            f"--config.train.alert=cat >> {workdir}/alerts.jsonl",
        )
    )  # fmt: skip
    assert status == 0, said
    return workdir, said


def rows(path):
    return [json.loads(line) for line in path.open()]


def test_milestones_stay_beside_the_last_checkpoint(run):
    workdir, said = run
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"5", "10", "12"}
    saved = re.findall(r"^saved step (\d+): [\d.]+ MB in \d+\.\d s$", said, re.M)
    assert saved[-1] == "12" and set(saved) <= {"4", "5", "8", "10", "12"}


def test_lines_and_metrics_say_when_and_what_the_time_went_into(run):
    workdir, said = run
    line = re.search(r"^\d\d:\d\d:\d\d  step 8/12  loss .*grad .*rate 2.00e-03.*steps/s", said, re.M)
    assert line, said
    for row in rows(workdir / "metrics.jsonl"):
        assert row["grad_norm_max"] >= row["grad_norm"] and row["host_memory_gb"] > 0.01
        assert 0 <= row["data_wait"] <= 1 and row["learning_rate"] == pytest.approx(2e-3)
        assert row["time"] > 1.7e9


def test_a_workdir_says_how_it_came_about(run):
    (start,) = rows(run[0] / "starts.jsonl")
    assert start["step"] == 0 and start["processes"] == 1
    assert start["command"].startswith("videojam train --config ")
    assert start["versions"].keys() > {"jax", "flax", "optax", "python"}


def test_steps_are_traced(run):
    workdir, said = run
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    assert f"traced 2 steps into {workdir}/profile" in said


def test_the_end_is_told(run):
    *_, told = rows(run[0] / "alerts.jsonl")  # a machine that has more to do may be slow before
    assert (told["event"], told["step"], told["workdir"]) == ("done", 12, str(run[0]))


def test_steps_that_were_left_out_do_not_count_in_the_means():
    good, spike = {"loss": 1.0, "grad_norm": 2.0, "skipped": 0.0}, {"loss": 3.0, "grad_norm": 4.0}
    bad = {"loss": np.nan, "grad_norm": np.inf, "skipped": 1.0}
    found = interval.summary([good, bad, {**spike, "skipped": 0.0}, bad])
    assert found == {"loss": 2.0, "grad_norm": 3.0, "skipped": 2.0, "grad_norm_max": 4.0}
    line = describe(5, 9, {**found, "grad_norm_max": 90.0, "steps_per_second": 1, "data_wait": 0.3}, 0)
    assert "grad 3.000 (at most 90)  2 steps left out" in line and "waits for data 30%" in line


def test_a_run_that_became_slow_is_told_once_until_it_is_quick_again():
    watched = interval.Interval()
    paces = [1.0, 1.1, 0.9, 1.0, 2.5, 2.6, 1.0, 2.4]
    told = [watched.became_slow(seconds) for seconds in paces]
    assert told == [False] * 4 + [True, False, False, True]


def test_a_checkpoint_is_due_once_when_the_last_one_is_old(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(saving.checkpoint, "save", lambda *_: None)
    monkeypatch.setattr(saving.checkpoint, "size", lambda state: 2e9)
    options = {"checkpoint_minutes": 15.0, "steps": 10}
    with checkpoint.opened(tmp_path, keep=1) as manager:
        monkeypatch.setattr(manager, "is_saving_in_progress", lambda: clock[0] < 1000)
        saves = saving.Saves(manager, FrozenConfigDict(options))
        due = []
        for clock[0] in (10.0, 901.0, 902.0):
            due.append(saves.overdue())
        assert due == [False, True, False]
        saves.begin(TrainState(np.int32(7), {}, {}, {}), {}, None)
        assert saves.written() is None and not saves.overdue()
        clock[0] = 1900.0
        assert saves.written() == "saved step 7: 2.0 GB in 998.0 s" and saves.written() is None
        assert saves.overdue()
