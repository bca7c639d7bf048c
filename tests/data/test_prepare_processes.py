"""`videojam prepare` by several processes: the same bytes as by one, killed or not."""

import signal

import pytest
import tiny_run
from tiny_clips import digest

from videojam_jax.data import manifest

pytestmark = pytest.mark.multiprocess

SHARDS = 6  # of 24 clips

# `videojam`, killed at shard 4 when FUNCTION is about to run for it.
KILLED = """
import os, signal
from videojam_jax.data import shards

function = shards.FUNCTION

def run_or_die(path, *rest):
    if "clips-00004" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(path, *rest)

shards.FUNCTION = run_or_die
"""


def command(out):
    return tiny_run.command("prepare", "--config.prepare.clips_per_shard=4", "--workdir", out)


def prepare(count, out):
    """What each of `count` processes printed."""
    ended = tiny_run.ends(tiny_run.start_together(count, command(out)))
    assert [status for status, _ in ended] == [0] * count, ended
    return [said for _, said in ended]


def data(folder):
    """Every file but the logs, which tell of the run."""
    return {
        name: found
        for name, found in digest(folder).items()
        if not name.endswith(".log")
    }


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "clips"
    (said,) = prepare(1, out)
    assert f"wrote {out / 'manifest.json'}" in said
    found = data(out)
    assert len(found) == 2 * SHARDS + 3
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_every_file_has_the_same_bytes_by_any_number_of_processes(by_one, tmp_path, count):
    prepare(count, tmp_path / "clips")
    assert data(tmp_path / "clips") == by_one


# With a whole shard that is not noted yet, and with one that has not got its name yet.
@pytest.mark.parametrize("function", ["write_note", "_holds"])
def test_one_of_three_is_killed_and_two_finish_what_it_left(by_one, tmp_path, function):
    out = tmp_path / "clips"
    killed = tiny_run.command_after(KILLED.replace("FUNCTION", function), command(out))
    ended = tiny_run.ends(tiny_run.start_together(3, killed))
    # The others do not need it, and say what is left.
    assert [status for status, _ in ended] == [0, -signal.SIGKILL, 0], ended
    assert not (out / "manifest.json").exists()
    assert list(manifest.unfinished(out)) == [4]

    done = {path.name: path.stat().st_ino for path in out.glob("clips-0000[01235]*")}
    prepare(2, out)
    assert data(out) == by_one
    assert {name: (out / name).stat().st_ino for name in done} == done


def test_a_process_whose_others_never_ran_names_what_is_missing(tmp_path):
    alone = tiny_run.start_together(1, command(tmp_path / "clips"), VIDEOJAM_PROCESSES="3")
    ((status, said),) = tiny_run.ends(alone)
    assert status == 0
    left = "4 are left to other processes (1, 2 of 3), the first clips-00001-of-00006.array_record"
    assert left in said, said
