"""Experiments in processes of their own: stopped, killed, several at once."""

import json
import signal
import time

import numpy as np
import pytest
import tiny_run

from videojam_jax.experiments import store

# Each starts JAX several times over, which the default run has no time for.
pytestmark = pytest.mark.multiprocess

# One run less to train than there could be.
WORDS = [*tiny_run.TINY_EXPERIMENT, "--config.runs.control="]
# Few rows, a batch of two clips each, and sampling that takes a while.
ABLATION = ["--config.experiment.rows=('base','videojam')", "--config.clips=8"]


def command(name, workdir, *words):
    experiment = [*tiny_run.experiment(name), "--workdir", str(workdir)]
    return [*tiny_run.CLI, *experiment, *WORDS, *words]


def start(name, workdir, *words):
    return tiny_run.start(command(name, workdir, *words))


def finish(process):
    ((status, said),) = tiny_run.ends([process])
    return status, said


def test_a_signal_in_training_and_one_in_measuring_end_with_75_and_the_rest_is_done(tmp_path):
    words = ["--config.experiment.times=4", "--config.change.train.log_every=1"]
    process = start("permutation", tmp_path, *words)
    tiny_run.read_until(process, r"step 1/10")
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    assert status == 75 and "run the same command to go on" in said, said
    assert "Traceback" not in said

    process = start("permutation", tmp_path, *words)
    tiny_run.read_until(process, r"losses of base .* seed 0$")
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    assert status == 75 and "stopped by a signal" in said and "Traceback" not in said, said

    status, said = finish(start("permutation", tmp_path, *words))
    assert status == 0, said
    assert "train videojam, seed 0: done" in said
    assert (tmp_path / "permutation" / "report.html").exists()


def test_a_killed_experiment_goes_on_and_ends_as_one_that_was_left_alone(tmp_path):
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    process = start("ablation", killed, *ABLATION)
    row = killed / "ablation" / "seed_0" / "videojam"
    while not store.batches(row):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.005)
    process.kill()
    finish(process)
    status, said = finish(start("ablation", killed, *ABLATION))
    assert status == 0, said
    assert "train videojam, seed 0: done" in said
    status, said = finish(start("ablation", alone, *ABLATION))
    assert status == 0, said
    for one, other in zip(*(store.batches(w / "ablation/seed_0/videojam") for w in (killed, alone)),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(store.load(one[1]).videos, store.load(other[1]).videos)
    reports = [json.loads((w / "ablation" / "report.json").read_text()) for w in (killed, alone)]
    assert reports[0]["measured"] == reports[1]["measured"]


def test_two_processes_do_one_experiment_together(tmp_path):
    for name, words in (("ablation", ABLATION), ("permutation", ["--config.experiment.times=4"])):
        processes = tiny_run.start_together(2, command(name, tmp_path / "two", *words))
        ended = tiny_run.ends(processes)
        assert [status for status, _ in ended] == [0, 0], ended
    status, said = finish(start(name, tmp_path / "one", *words))
    assert status == 0, said
    two, one = (
        json.loads((tmp_path / which / "permutation/seed_0/videojam.json").read_text())["losses"]
        for which in ("two", "one")
    )
    for half in ("appearance", "motion"):
        for question in one[half]:
            np.testing.assert_allclose(two[half][question], one[half][question], rtol=1e-3)
    # Both wrote a share of the clips, and all are there.
    for row in ("base", "videojam"):
        assert len(store.finished(tmp_path / "two" / "ablation" / "seed_0" / row)) == 8
