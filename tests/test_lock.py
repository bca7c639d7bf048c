"""One run at a time in a folder: with real processes that hold it, are killed and are suspended."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from tiny_run import ROOT, read_until

from videojam_jax import lock
from videojam_jax.errors import UserError

# Holds the folders until its input ends. CHANGES are set in the module; `_machine` is a name.
HOLD = """
import json, sys
from pathlib import Path
from videojam_jax import lock

def say(line):
    print(line, flush=True)

changes, *folders = sys.argv[1:]
for name, value in json.loads(changes).items():
    setattr(lock, name, (lambda value=value: value) if name == "_machine" else value)
BEFORE
try:
    with lock.alone([Path(folder) for folder in folders], say):
        say("held")
        sys.stdin.read()
except lock.UserError as error:
    say(error)
    sys.exit(2)
"""
# Both find the folder free before either takes it.
PAUSE = """
find = lock._wait_until_free
lock._wait_until_free = lambda *given: (find(*given), say("free"), sys.stdin.readline())[0]
"""
QUICK = {"BEAT_SECONDS": 0.1, "SETTLE_SECONDS": 0.1, "POLL_SECONDS": 0.05}
ELSEWHERE = {"_machine": "elsewhere", **QUICK}
LONG = 30  # seconds that none of these may come near


@contextlib.contextmanager
def holder(*folders, before="", **changes):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("BEFORE", before), json.dumps(changes),
         *map(str, folders)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process, told=True):
    """Its status and what it said since, after it was told to end or by itself."""
    if not told:
        process.wait(LONG)
    said, _ = process.communicate(timeout=LONG)
    return process.returncode, said


def kill(process):
    """Killed, and not yet asked for by its parent: the kernel still lists it."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def content(folder):
    return json.loads((folder / lock.NAME).read_bytes())


def refused(said, folder, process):
    line = (
        rf"{folder}: another run is at work here: process {process.pid} on "
        rf"{re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\dT[\d:+-]+; wait .*\n"
    )
    assert re.fullmatch(line, said), said


def test_a_second_run_is_refused_by_host_process_and_since_when_until_the_first_ends(tmp_path):
    with holder(tmp_path) as first:
        read_until(first, "held")
        with holder(tmp_path) as second:
            status, said = end(second, told=False)
        assert status == 2
        refused(said, tmp_path, first)
        assert content(tmp_path)["pid"] == first.pid
        assert end(first) == (0, "")
        assert not list(tmp_path.iterdir()), "nothing is left of it"
        with holder(tmp_path) as third:
            assert read_until(third, "held") == "held\n"


def test_a_killed_run_of_this_machine_holds_nobody_up(tmp_path):
    with holder(tmp_path) as first:
        read_until(first, "held")
        kill(first)
        assert content(tmp_path)["pid"] == first.pid
        with holder(tmp_path) as second:
            assert read_until(second, "held") == "held\n", "without a wait"
            assert content(tmp_path)["turn"] == 2


def test_a_process_that_was_given_the_number_of_a_killed_one_is_not_taken_for_it(tmp_path):
    with lock.alone([tmp_path]):
        mine = content(tmp_path)
    (tmp_path / lock.NAME).write_text(json.dumps(mine | {"started": mine["started"] - 1}))
    with lock.alone([tmp_path], pytest.fail):
        assert content(tmp_path)["turn"] == 2


def test_a_killed_run_of_another_machine_is_overcome_once_it_was_silent_for_long(tmp_path):
    with holder(tmp_path, **ELSEWHERE) as first:
        read_until(first, "held")
        kill(first)
    began = time.monotonic()
    with holder(tmp_path, **QUICK, SILENT_SECONDS=1.0, GRACE_SECONDS=0.5) as second:
        said = read_until(second, "held")
        assert 1.0 <= time.monotonic() - began < LONG
    assert f"process {first.pid} on " in said and "will be known in at most 2 seconds" in said


def test_a_living_run_of_another_machine_is_seen_by_its_signs_of_life(tmp_path):
    with holder(tmp_path, **ELSEWHERE) as first:
        read_until(first, "held")
        with holder(tmp_path, **QUICK, GRACE_SECONDS=0.5) as second:
            status, said = end(second, told=False)
        told, _, said = said.partition("\n")
        assert status == 2 and "has worked here" in told
        refused(said, tmp_path, first)
        assert end(first) == (0, "")


def test_a_run_of_another_machine_that_is_being_stopped_is_waited_for(tmp_path):
    with holder(tmp_path, **ELSEWHERE) as first:
        read_until(first, "held")
        with holder(tmp_path, **QUICK) as second:
            read_until(second, "has worked here")
            assert end(first) == (0, "")
            read_until(second, "held")


def test_a_run_that_wakes_after_another_took_its_place_ends_and_leaves_the_folder_alone(tmp_path):
    with holder(tmp_path, **ELSEWHERE) as first:
        read_until(first, "held")
        first.send_signal(signal.SIGSTOP)
        with holder(tmp_path, **QUICK, SILENT_SECONDS=0.5) as second:
            read_until(second, "held")
            first.send_signal(signal.SIGCONT)
            status, said = end(first, told=False)
            assert status == 2 and said.startswith("videojam: error: "), said
            assert f"taken the place of this one: process {second.pid} on" in said
            assert content(tmp_path)["pid"] == second.pid
            assert end(second) == (0, "")


def test_of_two_that_take_a_folder_in_the_same_moment_one_stays(tmp_path):
    with holder(tmp_path, before=PAUSE, **QUICK) as one, (
        holder(tmp_path, before=PAUSE, **QUICK)
    ) as other:
        for process in (one, other):
            read_until(process, "free")
        for process in (one, other):
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            read_until(process, "held")
        deadline = time.monotonic() + LONG
        while one.poll() is None and other.poll() is None:
            assert time.monotonic() < deadline, "both stay"
            time.sleep(0.01)
        gone, stays = (one, other) if one.poll() is not None else (other, one)
        assert gone.returncode == 2
        assert f"process {stays.pid} on" in gone.stdout.read()
        assert end(stays) == (0, "")


def test_a_run_whose_file_is_taken_away_ends_since_another_may_have_come_and_gone(tmp_path):
    with holder(tmp_path, **QUICK) as process:
        read_until(process, "held")
        (tmp_path / lock.NAME).unlink()
        status, said = end(process, told=False)
        assert status == 75 and f"{tmp_path / lock.NAME} is gone" in said
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bytes_", [b"", b"\xff\x00", b"[]", b'{"host": 1}'])
def test_a_damaged_file_is_watched_as_one_of_another_machine(tmp_path, monkeypatch, bytes_):
    for name, value in {**QUICK, "SILENT_SECONDS": 0.2}.items():
        monkeypatch.setattr(lock, name, value)
    (tmp_path / lock.NAME).write_bytes(bytes_)
    told = []
    with lock.alone([tmp_path], told.append):
        assert content(tmp_path)["turn"] == 1
    assert len(told) == 1 and "an unknown run" in told[0]


def test_a_living_run_mends_its_damaged_file(tmp_path):
    with holder(tmp_path, **QUICK) as process:
        read_until(process, "held")
        (tmp_path / lock.NAME).write_bytes(b"{")
        deadline = time.monotonic() + LONG
        while (tmp_path / lock.NAME).read_bytes() == b"{":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert content(tmp_path)["pid"] == process.pid
        assert end(process) == (0, "")


def test_of_several_folders_all_are_taken_or_none(tmp_path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    with lock.alone([two]):
        with pytest.raises(UserError, match=f"{two}: another run is at work here"):
            with lock.alone([one, two, three]):
                pass
        assert not (one / lock.NAME).exists() and not (three / lock.NAME).exists()
        with lock.alone([one, three]):
            pass
    with lock.alone([one, two, three]):
        assert {path.parent.name for path in tmp_path.rglob(lock.NAME)} == {"one", "two", "three"}
    assert not list(tmp_path.rglob("*.json*"))
