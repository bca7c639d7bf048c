"""One run of several processes: the same as a run of one, killed and resumed or not.

Real processes with real collectives (gloo), each with a CPU device or two.
"""

import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_run
from tiny_run import leaves, read_until

pytestmark = pytest.mark.multiprocess

STEPS = 18
RUN = [
    "--config.train.batch_size=12",  # divides by 1, 2, 3 and 4
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=2",
    "--config.mesh.data=-1",
]
# Each process holds a part of the parameters, and must write it: what all hold, one writes.
SPLIT = ["--config.mesh.data=1", "--config.mesh.fsdp=-1"]
STEP = ("rest", "['step']")
GO_ON = "run the same command to go on"


# Keeps no compiled programs.
UNCACHED = """
import jax
jax.config.update("jax_compilation_cache_dir", "")
"""
# The files of one process may have 48 KiB.
LIMITED = UNCACHED + """
import os, resource
if os.environ["VIDEOJAM_PROCESS"] == "{}":
    resource.setrlimit(resource.RLIMIT_FSIZE, (48 * 1024, 48 * 1024))
"""
# Tells of each program that it compiles.
TELLING = UNCACHED + """
jax.config.update("jax_log_compiles", True)
"""
# The data of process 1 never come after the fourth batch; process 0 would wait longer for it.
HANGING = """
import os, threading
from videojam_jax.parallel import watchdog
from videojam_jax.train import generation
if os.environ["VIDEOJAM_PROCESS"] == "0":
    watchdog.USUAL_STEPS = 10_000
batches = generation.loader.batches
def the_disk_that_hangs(*args, **kwargs):
    for number, batch in enumerate(batches(*args, **kwargs)):
        if number == 4 and os.environ["VIDEOJAM_PROCESS"] == "1":
            threading.Event().wait()
        yield batch
generation.loader.batches = the_disk_that_hangs
"""
# Shows no clips, for hours, and not in Python, where a signal would be heard.
SHOWING = """
import hashlib
from videojam_jax.train import generation, stop
stop.ORDERLY_SECONDS = 1
def show(self, state, step, log):
    print("showing", step, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
generation.Generation.show = show
"""
# Waits for 10 seconds, not 60, for a sign of life of another process.
IMPATIENT = """
from videojam_jax.parallel import distributed
distributed.HEARTBEAT_SECONDS = 10
"""


def train(workdir, *arguments):
    return tiny_run.command("train", "--workdir", workdir, *RUN, *arguments)


def finish(count, workdir, *arguments):
    """Trains to the last step with `count` processes; what process 0 said."""
    command = train(workdir, f"--config.train.steps={STEPS}", *arguments)
    ended = tiny_run.ends(tiny_run.start_together(count, command))
    assert [status for status, _ in ended] == [0] * count, ended
    return ended[0][1]


def rows_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def whole_steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def log_of(workdir, process):
    return (workdir / "logs" / f"train_{process:05}.log").read_text()


@pytest.fixture(scope="module")
def straight(data):
    """One process, not interrupted."""
    finish(1, data / "one_process")
    return data / "one_process"


def assert_same_run(workdir, straight):
    """Losses of every step and the last parameters agree within the rounding of sums."""
    rows, wanted = rows_of(workdir), rows_of(straight)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1)), "each step is told once"
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(
            [row[name] for row in rows], [row[name] for row in wanted], rtol=1e-5, err_msg=name
        )
    found, wanted, before = (
        leaves(run, step) for run, step in ((workdir, STEPS), (straight, STEPS), (straight, 2))
    )
    assert found.keys() == wanted.keys() and len(found) > 50
    for kind in ("params", "ema_params"):
        names = [name for name in wanted if name[0] == kind]
        moved = max(float(np.abs(wanted[name] - before[name]).max()) for name in names)
        apart = max(float(np.abs(wanted[name] - found[name]).max()) for name in names)
        print(f"{kind}: moved {moved:.1e} in the run, apart by {apart:.1e}")
        assert apart < 1e-3 * moved


def test_killed_at_random_steps_and_resumed_otherwise_equals_one_process(data, straight):
    """More processes go on, then fewer with parameters in parts, and one brings it to its end."""
    seed = random.randrange(2**32)
    # A save waits for the one before, so that at step 5 the first is whole.
    rng = random.Random(seed)
    steps = [rng.randint(first, first + 1) for first in (5, 9, 13)]
    print(f"seed {seed}: killed after steps {steps}")
    workdir = data / "killed"
    counts, parts = (3, 4, 2), ([], [], SPLIT)
    for number, (count, step, sizes) in enumerate(zip(counts, steps, parts, strict=True), 1):
        command = train(workdir, "--config.train.steps=100000", *sizes)
        processes = tiny_run.start_together(count, command)
        said = read_until(processes[0], rf"step {step}/")
        for process in processes:
            process.kill()
        tiny_run.ends(processes)
        assert ("going on from" in said) == (step > steps[0]), said
        for process in range(count):
            log = log_of(workdir, process)
            start = rf"^--- \S+ process {process} of (\d+) on \S+, pid \d+ \(found by: local, "
            took_part = [str(n) for n in counts[:number] if n > process]
            assert re.findall(start, log, re.M) == took_part, "it is appended to"
            assert f"step {step}/100000" in log or process > 0
    said = finish(1, workdir)
    assert int(re.search(r"going on from .*checkpoints/(\d+)\n", said)[1]) >= steps[1], said
    assert_same_run(workdir, straight)
    assert not (straight / "logs").exists(), "one process writes none"


def digests(count, devices, data, first, steps, sizes):
    """What each of `count` processes says of each step's batch: a step and a digest, and rows."""
    script = str(pathlib.Path(__file__).with_name("global_batches.py"))
    command = [sys.executable, script, str(data / "data")]
    command += [json.dumps(value) for value in (first, steps, 12, sizes)]
    ended = tiny_run.ends(tiny_run.start_together(count, command, devices))
    assert all(status == 0 for status, _ in ended), ended
    lines = [re.findall(r"^(\d+) (\d+) (\w{64})$", said, re.M) for _, said in ended]
    return [[(step, digest) for step, _, digest in of_one] for of_one in lines], lines


@pytest.fixture(scope="module")
def batches_of_one(data):
    ((whole,), _) = digests(1, 1, data, 0, 8, {"data": 1})
    assert len({digest for _, digest in whole}) == 8, "no two batches are alike"
    return whole


@pytest.mark.parametrize(
    ("count", "devices", "sizes"),
    [(2, 1, {"data": 2}), (3, 1, {"data": 3}), (4, 1, {"data": 2, "fsdp": 2}),
     (2, 2, {"data": 2, "context": 2})],
)  # fmt: skip
def test_batches_are_identical_on_any_number_of_processes(
    data, batches_of_one, count, devices, sizes
):
    found, lines = digests(count, devices, data, 3, 5, sizes)
    assert found == [batches_of_one[3:]] * count
    assert {int(rows) for of_one in lines for _, rows, _ in of_one} == {12 // count}


def test_sigterm_to_one_process_saves_one_step_of_all(data):
    workdir = data / "one_was_told"
    processes = tiny_run.start_together(2, train(workdir, "--config.train.steps=100000"))
    read_until(processes[0], "step 3/")
    told = time.monotonic()
    processes[1].send_signal(signal.SIGTERM)
    ended = tiny_run.ends(processes, timeout=60)
    print(f"both ended {time.monotonic() - told:.1f} s after the signal")
    assert [status for status, _ in ended] == [75, 75], ended
    steps = [
        re.findall(r"stopped by a signal at step (\d+), checkpoint saved", log_of(workdir, process))
        for process in (0, 1)
    ]
    assert len(steps[0]) == 1 and steps[0] == steps[1]
    step = int(steps[0][0])
    assert whole_steps(workdir)[-1] == step == rows_of(workdir)[-1]["step"]
    assert leaves(workdir, step)[STEP] == step


def test_sigterm_while_the_first_step_compiles_ends_at_once(data):
    workdir = data / "told_early"
    command = train(workdir, "--config.train.steps=100000", "--config.train.checkpoint_every=1000")
    processes = tiny_run.start_together(2, tiny_run.command_after(TELLING, command))
    read_until(processes[0], r"Compiling jit\(step\)")
    for process in processes:
        process.send_signal(signal.SIGTERM)
    ended = tiny_run.ends(processes, timeout=60)
    assert [status for status, _ in ended] == [75, 75], ended
    assert "stopped by a signal; what was finished is kept" in ended[0][1]
    assert whole_steps(workdir) == []


def test_sigterm_while_clips_are_shown_loses_no_step(data):
    workdir = data / "told_while_showing"
    words = ["--config.train.steps=100000", "--config.train.checkpoint_every=1000"]
    command = train(workdir, *words, "--config.train.sample_every=3")
    processes = tiny_run.start_together(2, tiny_run.command_after(SHOWING, command))
    read_until(processes[0], "showing 3")
    for process in processes:
        process.send_signal(signal.SIGTERM)
    ended = tiny_run.ends(processes, timeout=60)
    assert [status for status, _ in ended] == [75, 75], ended
    assert whole_steps(workdir) == [3]


def test_a_process_that_hangs_says_where_and_ends_the_run(data):
    workdir = data / "hangs"
    words = ["--config.train.steps=100000", "--config.train.stall_minutes=0.1"]
    command = tiny_run.command_after(HANGING, train(workdir, *words))
    processes = tiny_run.start_together(2, command)
    read_until(processes[0], "step 2/")
    ended = tiny_run.ends(processes, timeout=90)
    assert ended[1][0] == 75 and ended[0][0] in (75, -signal.SIGABRT), ended
    log = log_of(workdir, 1)
    assert re.search(r"a step.* has not ended for \d+ s \(config.train.stall_minutes is \d+ s\)", log)
    assert "in the_disk_that_hangs" in log


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_others_with_a_message(data, victim):
    workdir = data / f"lost_{victim}"
    processes = tiny_run.start_together(2, train(workdir, "--config.train.steps=100000"))
    read_until(processes[0], "step 5/")
    killed = time.monotonic()
    processes[victim].kill()
    ended = tiny_run.ends(processes, timeout=60)
    print(f"the other ended {time.monotonic() - killed:.1f} s later")
    status, said = ended[1 - victim]
    # JAX's own watch may be quicker, when process 0 with the meeting place is gone.
    if victim == 0 and status == -signal.SIGABRT:
        assert "another task died" in said
        return
    assert status == 75, said
    message = re.search(r"another process of this run was lost at step (\d+) \(.*\); (.*)", said)
    assert message and int(message[1]) >= 5, said
    # One that was being written in that moment may still become whole.
    assert message[2] in [
        f"the last whole checkpoint is {workdir}/checkpoints/{step}; {GO_ON}"
        for step in whole_steps(workdir)[-2:]
    ]


def test_a_checkpoint_whose_writers_were_killed_is_not_taken_for_whole(data, straight):
    workdir = data / "half_written"
    every = "--config.train.checkpoint_every=1"
    for _ in range(10):
        command = train(workdir, "--config.train.steps=100000", every, *SPLIT)
        processes = tiny_run.start_together(2, command)
        read_until(processes[0], "step 3/")
        saving = None
        while saving is None:
            assert processes[0].poll() is None, "no save was seen before the end"
            found = [p.name for p in (workdir / "checkpoints").glob("*tmp*")]
            saving = next((int(re.match(r"\d+", name)[0]) for name in found), None)
        processes[1].kill()
        tiny_run.ends(processes, timeout=60)
        if saving not in whole_steps(workdir):
            break
    assert saving not in whole_steps(workdir)
    for step in whole_steps(workdir):
        assert leaves(workdir, step)[STEP] == step
    latest = max(whole_steps(workdir))
    assert f"going on from {workdir}/checkpoints/{latest}\n" in finish(1, workdir)
    left = [p.name for p in (workdir / "checkpoints").iterdir() if not p.name.isdigit()]
    assert not left, "the half of one is cleared away"
    assert_same_run(workdir, straight)


def test_processes_agree_on_a_checkpoint_of_which_one_cannot_read_its_part(data, straight):
    workdir = data / "part_damaged"
    half = train(workdir, "--config.train.steps=8", *SPLIT)
    assert [status for status, _ in tiny_run.ends(tiny_run.start_together(2, half))] == [0, 0]
    assert whole_steps(workdir)[-2:] == [6, 8]
    parts = list((workdir / "checkpoints" / "8" / "params" / "ocdbt.process_1" / "d").iterdir())
    assert parts, "what process 1 wrote, and reads"
    for path in parts:
        path.write_bytes(b"")
    said = finish(2, workdir, *SPLIT)
    assert re.search(r"checkpoints/8 was damaged \(.*\): it is damaged_8 now", said), said
    assert f"going on from {workdir}/checkpoints/6\n" in said
    assert_same_run(workdir, straight)


def test_a_process_that_no_longer_answers_counts_as_lost_after_the_heartbeat(data):
    workdir = data / "silent"
    command = train(workdir, "--config.train.steps=100000")
    processes = tiny_run.start_together(2, tiny_run.command_after(IMPATIENT, command))
    read_until(processes[0], "step 3/")
    silent = time.monotonic()
    processes[1].send_signal(signal.SIGSTOP)
    status = processes[0].wait(60)
    print(f"the other ended {time.monotonic() - silent:.1f} s later")
    ended = tiny_run.ends(processes[:1])
    processes[1].kill()
    tiny_run.ends(processes[1:])
    assert status == -signal.SIGABRT and "stopped sending heartbeats" in ended[0][1]


@pytest.mark.parametrize("limited", [0, 1])
def test_a_process_that_cannot_write_its_part_of_a_checkpoint_ends_all(data, limited):
    workdir = data / f"disk_of_{limited}_full"
    command = train(
        workdir, "--config.train.steps=100000", "--config.model.trunk.width=64", *SPLIT
    )
    command = tiny_run.command_after(LIMITED.format(limited) + IMPATIENT, command)
    processes = tiny_run.start_together(2, command)
    ended = tiny_run.ends(processes, timeout=90)
    status, said = ended[limited]
    assert status == 2, said
    # The limit may meet the checkpoint, or what the libraries print of it into the log.
    told = r"error.*: (.*checkpoints: the checkpoint could not be written|File too large)"
    assert re.search(told, said), said
    status, said = ended[1 - limited]
    said += log_of(workdir, 1 - limited)
    assert status in (75, -signal.SIGABRT) and re.search("another (process|task)", said), said
    assert whole_steps(workdir) == []


def test_a_second_signal_ends_a_process_that_is_stuck(data):
    workdir = data / "stuck"
    processes = tiny_run.start_together(2, train(workdir, "--config.train.steps=100000"))
    read_until(processes[0], "step 3/")
    processes[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    while processes[0].poll() is None and time.monotonic() - began < 30:
        processes[0].send_signal(signal.SIGTERM)
        try:
            processes[0].wait(0.5)
        except subprocess.TimeoutExpired:
            continue
    processes[1].kill()
    (status, said), _ = tiny_run.ends(processes)
    assert status == 75 and "ended at once by a second signal" in said


def test_an_error_of_all_processes_is_told_by_each(data):
    workdir = data / "wrong"
    command = train(workdir, "--config.train.dataset=../no_data")
    ended = tiny_run.ends(tiny_run.start_together(2, command), timeout=60)
    assert [status for status, _ in ended] == [2, 2]
    assert re.search(r"^videojam: error: .*no_data: no such folder", ended[0][1], re.M)
    assert re.search(r"^videojam: error: .*no_data", ended[1][1], re.M)
    for process in (0, 1):
        assert "no_data: no such folder" in log_of(workdir, process)
