"""What goes wrong in a run is one line that says what and why."""

import collections
import json
import shutil

import jax
import pytest
import tiny_run

from videojam_jax.train import generation


def train(*arguments, variant="base"):
    """`videojam train ARGUMENTS` in this process: its exit status and what it printed."""
    return tiny_run.here_alone(*tiny_run.words("train", *arguments, variant=variant))


@pytest.fixture(scope="module")
def base(data):
    """A run of five steps; it is only read, or copied."""
    status, said = train("--workdir", data / "a_base", "--config.train.steps=5")
    assert status == 0, said
    return data / "a_base"


def refused(done, *words):
    status, said = done
    assert status == 2, said
    errors = [line for line in said.splitlines() if line.startswith("videojam: error: ")]
    assert errors == said.strip().splitlines()[-1:] and "Traceback" not in said, said
    for word in words:
        assert word in errors[0]


def test_a_checkpoint_of_another_architecture_is_named(base):
    done = train("--workdir", base, "--config.model.trunk.ffn=48")
    refused(done, "another architecture", "model.trunk.ffn is 32 there and 48 in this config")


def test_a_base_of_another_architecture_is_named(base, data):
    done = train(
        "--workdir", data / "other", "--config.train.init_from=../a_base",
        "--config.text.width=16", variant="videojam",
    )
    refused(done, "another architecture", "text.width is 8 there and 16")


def test_a_run_to_start_from_must_be_one(data):
    done = train(
        "--workdir", data / "orphan", "--config.train.init_from=../nowhere",
        variant="videojam",
    )
    refused(done, "nowhere", "no checkpoints there")


def test_missing_clips_are_named(data):
    done = train("--workdir", data / "x", "--config.train.dataset=../no_data")
    refused(done, "no_data", "videojam prepare")


def test_clips_of_another_shape_are_named(data):
    done = train("--workdir", data / "y", "--config.clip.frames=8")
    refused(done, "(4, 4, 4, 48)", "(8, 4, 4, 48)", "prepare")


def test_a_damaged_record_is_named_and_passed_over_if_that_is_allowed(data):
    shutil.copytree(data / "data", data / "damaged_data")
    (shard, *_) = sorted((data / "damaged_data").glob("*.array_record"))
    content = bytearray(shard.read_bytes())
    content[20_000] ^= 1
    shard.write_bytes(content)
    words = "--config.train.dataset=../damaged_data", "--config.train.steps=3"
    done = train("--workdir", data / "z", *words)
    refused(done, f"{shard} cannot be read at its record ", "delete it", "skip_records (0)")
    status, said = train("--workdir", data / "z", *words, "--config.train.skip_records=1")
    assert status == 0, said
    assert said.count("note: record 1 of at most 1 passed over: ") == said.count(str(shard)) == 1


def test_a_step_that_does_not_fit_into_memory_is_not_tried_again_and_again(data, monkeypatch):
    def step(state, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.")

    monkeypatch.setattr(generation.Generation, "jitted_step", lambda self: step)
    done = train("--workdir", data / "large", "--config.train.steps=5")
    refused(done, "does not fit into the memory", "allocating 7 bytes", "config.train.accumulate")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(base, data):
    workdir = shutil.copytree(base, data / "diverged")
    done = train(
        "--workdir", workdir, "--config.train.steps=50",
        "--config.optimizer.learning_rate=1e30",
    )
    refused(done, "not finite", "last good checkpoint is", "checkpoints/5", "learning_rate")
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert rows[-1]["step"] == 5
    assert not (workdir / "checkpoints" / "10").exists()


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_not_begun(data, monkeypatch):
    free = collections.namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    status, out = train("--workdir", data / "small", "--config.train.steps=5")
    assert status == 2 and "the disk is full" in out.splitlines()[-1], out
    assert not any(path.name.isdigit() for path in (data / "small" / "checkpoints").iterdir())


# Files of at most 4 KiB. Compiled programs are files as well, and would have to be kept.
FULL_DISK = """
import resource, jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
"""


def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint(base, data):
    workdir = shutil.copytree(base, data / "full")
    command = tiny_run.command("train", "--workdir", workdir, "--config.train.steps=10")
    status, said = tiny_run.run(tiny_run.command_after(FULL_DISK, command))
    # orbax's own threads say much on the way; the last word is ours, and no traceback is.
    assert status == 2, said
    # A thread of theirs may have begun a line that ours then ends.
    error = [line for line in said.splitlines() if "videojam: error: " in line]
    assert len(error) == 1 and "could not be written" in error[0], said[-2000:]
    assert "last whole one is step 5" in error[0]
    assert "videojam_jax/" not in said
    assert (workdir / "checkpoints" / "5").is_dir()
    assert not (workdir / "checkpoints" / "10").exists()
