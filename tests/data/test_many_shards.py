"""6,000 shards in a process that may open 1,024 files: batches, and a training over them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import tiny_run
from tiny_clips import TinyClips, prepare_tiny

from videojam_jax.data import manifest, shards

pytestmark = pytest.mark.slow

SHARDS = 6000
STEPS = 300
LIMIT = 1024

LIMITED = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
"""

# Prints how many batches were read, of how many shards, and the most files that were open.
READ = LIMITED + f"""
import os, sys
from videojam_jax.data import loader

dataset = loader.open_dataset(sys.argv[1])
batches = loader.batches(dataset, seed=0, batch_size=32, text_length=32)
most = 0
for step in range({STEPS}):
    batch = next(batches)
    assert batch["video"].shape == (32, *dataset.latent_shape)
    most = max(most, len(os.listdir("/proc/self/fd")))
print(step + 1, dataset.data._opened.cache_info().misses, most, dataset.data.most_open)
"""


def spread(few, many):
    """A folder of `SHARDS` shards, each a link to one of those of a folder with a clip in each."""
    settings = manifest.read_settings(few)
    paths = manifest.shard_paths(few, settings)
    notes = shards.whole_shards(paths)
    assert settings["clips_per_shard"] == 1 and None not in notes
    settings = {**settings, "clips": SHARDS}
    many.mkdir()
    for number, path in enumerate(manifest.shard_paths(many, settings)):
        for suffix in (".array_record", ".json"):
            os.link(paths[number % len(paths)].with_suffix(suffix), path.with_suffix(suffix))
    notes = [notes[number % len(notes)] for number in range(SHARDS)]
    shutil.copy(few / manifest.NULL_TEXT, many)
    (many / manifest.SETTINGS).write_bytes(shards.to_json(settings))
    whole = manifest.build(many, settings, notes, set_aside=[])
    (many / manifest.MANIFEST).write_bytes(shards.to_json(whole))


def test_batches_are_read_from_more_shards_than_files_may_be_open(tmp_path):
    prepare_tiny(tmp_path / "few", TinyClips(6, (), ()), clips_per_shard=1)
    spread(tmp_path / "few", tmp_path / "many")
    said = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "many")],
        env=tiny_run.environment(), capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    read, opened, most, may = map(int, said.stdout.split())
    print(f"{read} batches of 32, {opened} times a shard was opened, {most} files at most")
    # All were read, many of them twice as each was closed for others meanwhile.
    assert read == STEPS and opened > SHARDS > may and most < LIMIT


def test_a_training_goes_over_more_shards_than_files_may_be_open(tmp_path):
    few, many, run = (tmp_path / name for name in ("few", "many", "run"))
    prepared = tiny_run.command(
        "prepare", "--config.prepare.clips_per_shard=1", "--workdir", few
    )
    assert tiny_run.run(prepared)[0] == 0
    spread(few, many)
    words = (f"--config.train.dataset={many}", f"--config.train.steps={STEPS}", "--workdir", run)
    command = tiny_run.command_after(LIMITED, tiny_run.command("train", *words))
    status, said = tiny_run.run(command)
    assert status == 0, said
    assert f"this process may keep {LIMIT - 256} open" in said
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == STEPS
