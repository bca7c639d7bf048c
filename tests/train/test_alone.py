"""Two runs on one workdir: the second is refused, and nothing of a killed one holds up the next."""

import json
import re
import signal
import socket

import pytest
import tiny_run
from tiny_run import read_until

from videojam_jax import lock

pytestmark = pytest.mark.multiprocess

ENDLESS = ["--config.train.steps=100000", "--config.train.log_every=1",
           "--config.train.checkpoint_every=5", "--config.mesh.data=-1"]  # fmt: skip


def train(workdir, *arguments):
    return tiny_run.command("train", "--workdir", workdir, *ENDLESS, *arguments)


def start(count, workdir, *arguments):
    return tiny_run.start_together(count, train(workdir, *arguments))


def assert_refused(ended, workdir, holder):
    assert [status for status, _ in ended] == [2] * len(ended), ended
    line = (
        rf"videojam: error: {workdir}: another run is at work here: process {holder.pid} on "
        rf"{re.escape(socket.gethostname())}, since \S+; wait until it has ended or stop it, or "
        "choose another --workdir"
    )
    assert re.search(rf"^{line}$", ended[0][1], re.M), ended
    assert "step " not in ended[0][1]


def steps_of(workdir):
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]


def test_a_second_run_is_refused_and_a_killed_first_one_is_gone_on_with_at_once(data):
    workdir = data / "twice"
    (first,) = start(1, workdir)
    read_until(first, "step 6/")
    assert_refused(tiny_run.ends(start(1, workdir)), workdir, first)
    while not (workdir / "checkpoints" / "5").exists():
        read_until(first, r"step \d+/")
    first.send_signal(signal.SIGKILL)
    tiny_run.ends([first])
    steps = steps_of(workdir)
    assert steps == list(range(1, len(steps) + 1)), "the first lost nothing"
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    assert (workdir / lock.NAME).exists(), "what a killed run leaves"

    (second,) = start(1, workdir)
    said = read_until(second, r"step \d+/")
    assert "has worked here" not in said and "going on from" in said, said
    second.send_signal(signal.SIGTERM)
    ((status, _),) = tiny_run.ends([second])
    assert status == 75 and not (workdir / lock.NAME).exists()


def test_all_processes_of_a_second_run_are_refused_alike(data):
    workdir = data / "twice_two"
    first = start(2, workdir)
    read_until(first[0], "step 3/")
    ended = tiny_run.ends(start(2, workdir))
    assert_refused(ended, workdir, first[0])
    assert "another run is at work here" in ended[1][1]
    first[1].send_signal(signal.SIGTERM)
    assert [status for status, _ in tiny_run.ends(first)] == [75, 75]
    assert not (workdir / lock.NAME).exists()
