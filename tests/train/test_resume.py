"""A step number is the whole position of a run: shown with real processes."""

import json
import re
import signal

import numpy as np
import pytest
import tiny_run
from tiny_run import leaves, read_until


def train(*arguments):
    """A run that nothing disturbs, in a process as those that are killed; what it printed."""
    status, said = tiny_run.run(tiny_run.command("train", *arguments))
    assert status == 0, said
    return said


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def straight(data):
    """40 steps without a break."""
    train("--workdir", data / "straight", "--config.train.steps=40",
          "--config.train.checkpoint_every=10")  # fmt: skip
    return data / "straight"


def assert_same(one, other, step=40):
    a, b = leaves(one, step), leaves(other, step)
    assert a.keys() == b.keys() and len(a) > 50
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=str(name))


def test_killed_and_resumed_equals_uninterrupted_to_the_bit(data, straight):
    workdir = data / "killed"
    arguments = ["--workdir", workdir, "--config.train.checkpoint_every=20"]
    # With later steps logged, and a later checkpoint half written.
    endless = ["--config.train.steps=100000", "--config.train.keep=100000"]
    tiny_run.killed_after(20, tiny_run.command("train", *arguments, *endless), workdir)
    # It comes to its end, and that is then put off.
    for before, steps in ((20, 30), (30, 40)):
        said = train(*arguments, f"--config.train.steps={steps}")
        assert re.search(rf"going on from .*checkpoints/{before}\n", said), said
    assert_same(straight, workdir)
    told = [[(row["step"], row["loss"]) for row in rows_of(run)] for run in (workdir, straight)]
    assert told[0] == told[1], "each step is told once"
    assert not (workdir / "checkpoints" / "10").exists()


def test_sigterm_saves_and_says_so(data):
    workdir = data / "terminated"
    words = ["--workdir", workdir, "--config.train.steps=100000"]
    process = tiny_run.start(tiny_run.command("train", *words))
    read_until(process, r"step 5/")
    process.send_signal(signal.SIGTERM)
    ((status, out),) = tiny_run.ends([process], timeout=60)
    assert status == 75, out
    (step,) = re.findall(r"stopped by a signal at step (\d+), checkpoint saved", out)
    assert (workdir / "checkpoints" / step).is_dir()
    assert rows_of(workdir)[-1]["step"] == int(step)


def test_videojam_starts_from_a_base_and_equals_it_in_its_video_half(data, straight):
    workdir = data / "joint"
    words = tiny_run.words(
        "train", "--workdir", workdir, "--config.train.init_from=../straight",
        "--config.train.steps=5", "--config.optimizer.learning_rate=0.0", variant="videojam",
    )
    status, said = tiny_run.here_alone(*words)
    assert status == 0, said
    assert "widened for motion" in said
    base, joint = leaves(straight, 40), leaves(workdir, 5)
    for name, array in base.items():
        if name[0] != "ema_params":
            continue
        wide = joint[("params", *name[1:])]
        part = wide[tuple(slice(n) for n in array.shape)]
        np.testing.assert_array_equal(part, array, err_msg=str(name))
        assert not wide[tuple(slice(n, None) for n in array.shape)].any() or wide.shape == array.shape
