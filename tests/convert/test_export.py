"""From a checkpoint of ours to safetensors: which step, in how much memory, and what it is."""

import json
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shipped_runs
import tiny_run
from safetensors.numpy import load_file, save_file

from videojam_jax.checkpoints import exported
from videojam_jax.checkpoints.average import average_as_saved
from videojam_jax.checkpoints.later import Later
from videojam_jax.checkpoints.names import flat
from videojam_jax.checkpoints.read import all_steps, config_file, place_of, restore_params
from videojam_jax.checkpoints.safetensors_file import open_safetensors, write_safetensors
from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import loading, modelling
from videojam_jax.convert.job import convert
from videojam_jax.errors import UserError
from videojam_jax.train import checkpoint
from videojam_jax.train.state import TrainState

MB = 2**20


def command(source, out, *arguments):
    return tiny_run.here("convert", source, "--out", out, *arguments)


# --- memory ---

MEASURED = r"""
import pathlib, re, sys
from videojam_jax.checkpoints.average import average_as_saved
from videojam_jax.convert.job import convert

def most():
    # Of this process: getrusage begins with what the one had that started it.
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

source, *outs = map(pathlib.Path, sys.argv[1:])
small = min(average_as_saved(source).arrays.values(), key=lambda x: x.nbytes)
small.make()  # what its libraries take
before = most()
for out in outs:
    convert(source, out, dtype="bfloat16")
print(most() - before)
"""


def test_memory_follows_the_largest_array_and_not_the_model(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"small": np.ones(3, np.float32)}
    for number in range(16):
        draw = lambda: rng.standard_normal((4, MB), np.float32)  # noqa: E731
        arrays[f"large{number:02}"] = Later((4, MB), np.dtype(np.float32), draw)
    total = sum(x.nbytes for x in arrays.values())
    save_params(tmp_path / "run", arrays, {"model": {"motion": True}})
    (tmp_path / "run" / "config.json").write_text("{}")
    words = [tmp_path / "run", tmp_path / "folder", tmp_path / "file.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, words)],
        capture_output=True, text=True, env=tiny_run.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout) / 1024
    print(f"{total / MB:.0f} MB of parameters, the largest 16 MB: {grown:.0f} MB more")
    # Libraries, an array, its chunks as they are read, a piece that is cast. All at once took 500.
    assert grown < total / MB


# --- which step ---


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A base with checkpoints of steps 3 and 7 whose averages differ; the latter average."""
    workdir = tmp_path_factory.mktemp("export") / "run"
    average = shipped_runs.base(workdir)
    made = shipped_runs.config("base")
    other = jax.tree.map(jnp.asarray, jax.tree.map(lambda x: x + 1, average))
    with checkpoint.opened(workdir, keep=9) as manager:
        state = TrainState(jnp.int32(3), other, other, {})
        checkpoint.save(manager, state, modelling.architecture(made))
    (workdir / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()  # one that is being written
    assert all_steps(workdir) == [3, 7]
    return workdir, average


@pytest.mark.parametrize("name", ["folder", "file.safetensors"])
def test_the_step_that_is_asked_for_goes_out_or_the_newest_whole_one(name, run, tmp_path):
    workdir, average = run
    for words, step, more in (((), 7, 0), (("--step", "3"), 3, 1), (("--step", "7"), 7, 0)):
        out = tmp_path / str(len(words)) / str(step) / name
        status, said = command(workdir, out, *words)
        assert status == 0, said
        file = out if out.is_file() else out / exported.FILE
        assert exported.about_run(file)["step"] == step
        for path, x in load_file(file).items():
            np.testing.assert_array_equal(x, flat(average)[path.replace(".", "/")] + more)


def test_a_step_that_is_not_there_is_told_with_those_that_are(run, tmp_path):
    for out in (tmp_path / "folder", tmp_path / "file.safetensors"):
        status, said = command(run[0], out, "--step", "9")
        assert status == 2 and "checkpoints: no step 9; there are [3, 7]" in said, said
    convert(run[0], tmp_path / "a.safetensors")
    status, said = command(tmp_path / "a.safetensors", tmp_path / "b", "--step", "7")
    assert status == 2 and "no --step" in said, said
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


# --- an export stands for the run ---


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    """What a run may be exported to, each alone in a folder of its own."""
    place = tmp_path_factory.mktemp("exports")
    convert(run[0], place / "one" / "base.safetensors")
    *_, index = convert(run[0], place / "split" / "base.safetensors", shard_bytes=5_000)
    assert index.name == "base.safetensors.index.json" and len(list(index.parent.iterdir())) > 3
    convert(run[0], place / "folder")
    (place / "alone").mkdir()  # the folder's weights without the config beside them
    (place / "alone" / exported.FILE).write_bytes(
        (place / "folder" / exported.FILE).read_bytes()
    )
    convert(index, place / "again")
    convert(place / "alone", place / "once_more")
    return [
        place / "one" / "base.safetensors", index, place / "folder", place / "alone",
        place / "again", place / "once_more",
    ]  # fmt: skip


def test_every_export_has_the_config_and_the_weights_of_its_run(run, exports):
    workdir, average = run
    made = shipped_runs.config("base")
    wanted = loading.load_resolved(workdir / "config.json")
    for path in exports:
        assert loading.load_resolved(config_file(path)) == wanted, path
        asked = shipped_runs.abstract(made).params, modelling.architecture(made)
        params, step = restore_params(path, *asked, ema=True)
        assert step == (7 if path.name not in ("again", "once_more") else 0), path
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), average)
        assert place_of(path, step).exists()


def test_a_file_leaves_nothing_beside_it_that_another_run_could_take_for_its_own(exports):
    assert [path.name for path in exports[0].parent.iterdir()] == ["base.safetensors"]


def test_clips_are_sampled_from_the_file_alone(run, exports, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sample", "--prompt", "a disc falls", "--config.sample.steps=2", "--workdir"]
    status, said = tiny_run.here_alone(*words, exports[1])
    assert status == 0, said
    clip = tmp_path / "sample_out" / "base" / "samples" / "prompts"
    of_run = tiny_run.here_alone(*words, run[0], "--out", tmp_path / "of_run")
    assert of_run[0] == 0, of_run[1]
    gifs = sorted(path.name for path in clip.glob("*.gif"))
    assert gifs and all(
        (clip / name).read_bytes() == (tmp_path / "of_run" / name).read_bytes() for name in gifs
    )
    # One that was written before weights told of their config is refused in a line.
    old = tmp_path / "old.safetensors"
    about = {"architecture": {"model": {"motion": False}}}
    save_file({"x": np.zeros(2, np.float32)}, old, {exported.METADATA: json.dumps(about)})
    status, said = tiny_run.here_alone(*words, old)
    assert status == 2 and f"{old}: it says nothing of its run's config" in said, said


# --- the file itself ---


def test_a_file_is_the_library_s_own_to_the_byte(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a.b": rng.normal(size=(3, 5, 7)).astype(np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "ünique": np.array(1.5, np.float32),
        "z": rng.integers(0, 9, (4, 3)).astype(np.uint8),
    }
    save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    known = {name: (x.shape, x.dtype) for name, x in tensors.items()}
    write_safetensors(tmp_path / "ours", known, iter(tensors.values()), {"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_numbers_are_cast_and_turned_a_piece_at_a_time(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr("videojam_jax.checkpoints.safetensors_file.PIECE", 40)
    x = np.random.default_rng(0).normal(size=(5, 11, 3)).astype(np.float32).transpose(1, 2, 0)
    write_safetensors(tmp_path / "a", {"x": (x.shape, np.dtype(dtype))}, [x], {})
    found = open_safetensors(tmp_path / "a")[0]["x"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[...], x.astype(dtype))


def test_an_export_that_the_disk_does_not_take_leaves_nothing_under_its_name(run, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        with pytest.raises(UserError, match="model.safetensors: File too large"):
            convert(run[0], tmp_path / "model.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_of_a_damaged_checkpoint_nothing_is_left_under_the_name_and_the_step_is_named(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 300))
    save_params(tmp_path / "run", {"a": x}, {"model": {"motion": True}})
    item = tmp_path / "run" / "checkpoints" / "0" / "ema_params"
    data = max((path for path in item.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[: x.nbytes // 2] + bytes(x.nbytes // 2))
    assert average_as_saved(tmp_path / "run").arrays["a"].shape == (300, 300)  # not noticed yet
    with pytest.raises(UserError, match="checkpoints/0 cannot be read"):
        convert(tmp_path / "run", tmp_path / "a.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
