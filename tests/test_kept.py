"""What a version before wrote still opens: tests/kept/README.md says what it is."""

import json
import pathlib
import shutil
import tarfile

import kept_run
import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading
from videojam_jax.data import loader
from videojam_jax.differences import flat

ARCHIVE = pathlib.Path(__file__).with_name("kept") / "b93b228.tar.xz"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of `data`, `base` and `videojam`, as that version left them."""
    root = tmp_path_factory.mktemp("kept")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return root


def words(job, workdir, variant, *more):
    config = f"{tiny_run.CONFIG}:{variant}"
    return [job, "--config", config, "--workdir", str(workdir), *kept_run.WORDS, *more]


@pytest.fixture(scope="module")
def done(kept):
    """What each job said: it prepares, samples, goes on with a run, and starts from another."""
    shutil.copytree(kept / "videojam", kept / "goes_on")
    further = kept_run.STEPS + 1
    jobs = [
        words("prepare", kept / "data", "base"),
        ["sample", "--workdir", str(kept / "videojam"), "--prompt", "a red disc falls"],
        words("train", kept / "goes_on", "videojam", f"--config.train.steps={further}"),
        words("train", kept / "starts", "videojam", "--config.train.steps=1"),
    ]
    ended = [tiny_run.here_alone(*job) for job in jobs]
    for status, said in ended:
        assert status == 0, said
    return [said for _, said in ended]


def test_its_prepared_clips_are_read_and_their_settings_are_those_of_today(kept, done):
    dataset = loader.open_dataset(kept / "data")
    assert len(dataset) == 8 and dataset.latent_shape == (4, 4, 4, 48)
    np.testing.assert_array_equal(dataset.null_text, [1])
    for number in range(8):
        record = dataset[number]
        assert record["caption"] and record["video"].shape == record["motion"].shape
        assert np.isfinite(record["video"].astype(np.float32)).all()
    assert "8 clips prepared, 0 set aside before; nothing was left to do" in done[0]


def test_its_run_is_sampled(kept, done):
    saved = json.loads((kept / "videojam" / "config.json").read_text())
    assert saved["sample"]["inner_steps"] == 1, "the key of that version"
    folder = kept / "videojam" / "samples" / "prompts"
    index = json.loads((folder / "samples.json").read_text())
    assert index["step"] == kept_run.STEPS and len(index["samples"][0]["files"]) == 4
    assert f"wrote {folder / 'samples.json'}" in done[1]


def test_its_run_is_gone_on_with_and_videojam_starts_from_its_base(kept, done):
    workdir = kept / "goes_on"
    assert f"going on from {workdir}/checkpoints/{kept_run.STEPS}\n" in done[2]
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == [1, 2, 3] and np.isfinite(rows[-1]["loss"])
    assert f"{kept}/base/checkpoints/{kept_run.STEPS} (widened" in done[3]
    assert (kept / "starts" / "checkpoints" / "1").is_dir()


def test_a_damaged_config_of_it_is_written_anew_by_the_training_that_the_error_names(kept):
    workdir = shutil.copytree(kept / "base", kept / "damaged_config")
    path = workdir / "config.json"
    before = flat(loading.load_resolved(path))
    path.write_bytes(b"\xff" + path.read_bytes())
    again = words("train", workdir, "base", f"--config.train.steps={kept_run.STEPS}")
    for job in (again, ["sample", "--workdir", workdir, "--prompt", "x"]):
        status, said = tiny_run.here_alone(*job)
        assert status == 2 and said.endswith(f"{loading.ANEW}\n"), said
        assert f"videojam: error: {path}: no text at byte 0; " in said
    path.unlink()
    status, said = tiny_run.here_alone(*again)
    assert status == 0 and f"going on from {workdir}/checkpoints/{kept_run.STEPS}\n" in said, said
    assert flat(loading.load_resolved(path)).keys() == before.keys()


def test_a_damaged_checkpoint_of_it_is_set_aside_and_the_one_before_is_used(kept):
    workdir = shutil.copytree(kept / "base", kept / "damaged_checkpoint")
    last = workdir / "checkpoints" / str(kept_run.STEPS)
    (last / "rest" / "_METADATA").write_bytes(b"{")
    again = words("train", workdir, "base", f"--config.train.steps={kept_run.STEPS - 1}")
    status, said = tiny_run.here_alone(*again)
    assert status == 0 and f"{last} was damaged (" in said, said
    assert f"going on from {workdir}/checkpoints/{kept_run.STEPS - 1}\n" in said
    assert last.with_name(f"damaged_{kept_run.STEPS}").is_dir() and not last.exists()
