"""Which of a run's two sets of parameters is read, by whom."""

import functools
import re
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_run
from jax.sharding import NamedSharding, PartitionSpec

from videojam_jax.checkpoints.read import all_steps, latest_step, restore_params
from videojam_jax.config import loading, modelling
from videojam_jax.errors import UserError
from videojam_jax.models.joint import widen
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.sample.job import trained_params
from videojam_jax.train import checkpoint, generation
from videojam_jax.train.program import optimizer_of
from videojam_jax.train.state import TrainState, abstract_state

STEP = 7


@functools.cache
def config(variant, **keys):
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    return loading.load(f"{tiny_run.CONFIG}:{variant}", tiny | keys)


@functools.cache  # a trace of the model
def abstract(config):
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    return abstract_state(modelling.init(config), optimizer_of(config), mesh)


@pytest.fixture(scope="module", params=["base", "videojam"])
def run(request, tmp_path_factory):
    """A run's workdir, its kind, its last raw parameters and their average."""
    rng = np.random.default_rng(0)
    made = config(request.param)

    def random():
        return jax.tree.map(
            lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), abstract(made).params
        )

    folder = tmp_path_factory.mktemp(request.param)
    with checkpoint.opened(folder, keep=2) as manager:
        for step in (STEP - 1, STEP):
            params, average = random(), random()
            state = TrainState(jnp.int32(step), params, average, {"count": jnp.int32(step)})
            checkpoint.save(manager, state, modelling.architecture(made))
    return folder, request.param, params, average


def test_the_last_checkpoints_and_those_of_chosen_steps_are_kept(tmp_path):
    array = {"w": jnp.ones(2)}
    for first in (1, 4):  # the second time, a run that goes on
        with checkpoint.opened(tmp_path, keep=2, keep_steps=(2, 4, 9)) as manager:
            for step in range(first, first + 3):
                state = TrainState(jnp.int32(step), array, array, {"count": jnp.int32(step)})
                checkpoint.save(manager, state, {})
    assert all_steps(tmp_path) == [2, 4, 5, 6] and latest_step(tmp_path) == 6


assert_same = chex.assert_trees_all_equal


def test_a_run_s_parameters_or_their_average_are_read_as_asked(run):
    folder, kind, params, average = run
    given = abstract(config(kind)).params, modelling.architecture(config(kind))
    for ema, wanted in ((False, params), (True, average)):
        found, step = restore_params(folder, *given, ema=ema)
        assert step == STEP
        assert_same(found, wanted)


def test_clips_are_sampled_from_what_the_config_says(run):
    folder, kind, params, average = run
    for ema, wanted in (("False", params), ("True", average)):
        found, step = trained_params(config(kind, **{"sample.ema": ema, "mesh.data": "-1"}), folder)
        assert step == STEP
        assert_same(found, wanted)


def test_what_is_shown_on_the_way_is_of_the_average_or_not_and_of_the_run_s_seed(
    monkeypatch, tmp_path
):
    shown = []

    def make_writer(config, autoencoder):
        return lambda *given: shown.append(given)

    monkeypatch.setattr(generation, "make_writer", make_writer)
    state = TrainState(jnp.int32(3), "params", "average", None)
    for ema in ("True", "False"):
        made = config("base", **{"sample.ema": ema, "seed": "8", "train.sample_prompts": "('a',)"})
        generation.sample_writer(made, tmp_path, [])(state, 3, None)
    out = tmp_path / "samples" / "step_00000003"
    assert shown == [(out, "average", ["a"], 8, 3), (out, "params", ["a"], 8, 3)]


@pytest.mark.parametrize("further", ["base", "videojam"])
def test_another_run_starts_from_the_average(run, further):
    folder, kind, _, average = run
    made = config(further)
    if (kind, further) == ("videojam", "base"):
        with pytest.raises(UserError, match="another architecture: model.motion"):
            generation.params_of(made, folder, abstract(made))
        return
    found, step, how = generation.params_of(made, folder, abstract(made))
    assert step == STEP and "averaged parameters" in how
    assert_same(found, average if kind == further else widen(average))


# --- damage ---------------------------------------------------------------------------------------


def written(folder, steps=(1, 2, 3)):
    """Checkpoints of these steps, and what restores the last whole one."""
    mesh = make_mesh({"data": 2}, jax.devices()[:2])
    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())

    def state(step):
        w = jax.device_put(np.random.default_rng(step).normal(size=(8, 8192)).astype("f"), split)
        count = jax.device_put(np.int32(step), whole)
        return TrainState(count, {"w": w}, {"w": 2 * w}, {"count": count})

    with checkpoint.opened(folder, keep=9) as manager:
        for step in steps:
            checkpoint.save(manager, state(step), {"model": {"width": 8}})
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )

    def restored():
        with checkpoint.opened(folder, keep=9) as manager:
            found = checkpoint.restore(manager, abstract, {"model": {"width": 8}})
        chex.assert_trees_all_equal(found, state(int(found.step)))
        return int(found.step)

    return restored


def largest(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)


def cut(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(folder):
    path = largest(folder)
    path.write_bytes(bytes(path.stat().st_size))


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        zeroed,
        emptied,
        lambda folder: largest(folder).unlink(),
        lambda folder: shutil.rmtree(folder / "ema_params"),
        lambda folder: (folder / "architecture" / "metadata").write_bytes(b"\xff"),
    ],
    ids=["cut", "zeroed", "emptied", "file gone", "item gone", "json"],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(tmp_path, damage, capsys):
    restored = written(tmp_path)
    assert restored() == 3
    damage(tmp_path / "checkpoints" / "3")
    assert restored() == 2
    said = capsys.readouterr().out.strip()
    assert re.fullmatch(r".*/checkpoints/3 was damaged \(.+\): it is damaged_3 now", said), said
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["1", "2", "damaged_3"]
    assert restored() == 2, "and is not looked at again"


def test_bits_that_flipped_on_the_disk_are_noticed(tmp_path, capsys):
    restored = written(tmp_path)
    item = tmp_path / "checkpoints" / "3" / "params"
    arrays = ocp.PyTreeCheckpointer().restore(item)
    changed = np.array(arrays["w"])
    changed.view(np.uint32)[5, 7] ^= 1 << 3
    shutil.rmtree(item)
    ocp.PyTreeCheckpointer().save(item, {"w": changed})
    assert restored() == 2
    assert "damaged (its arrays are not those that were saved)" in capsys.readouterr().out


def test_where_all_are_damaged_nothing_begins_anew_by_itself(tmp_path):
    restored = written(tmp_path, steps=(1, 2))
    for step in (1, 2):
        emptied(tmp_path / "checkpoints" / str(step))
    with pytest.raises(UserError, match="all checkpoints were damaged.*or run again to begin anew"):
        restored()


def test_a_checkpoint_from_before_fingerprints_is_read(tmp_path):
    restored = written(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "3" / "bits")
    assert restored() == 3
