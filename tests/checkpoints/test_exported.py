"""A finished run as a small folder: what it gives back, to whom, and what it refuses."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shipped_runs
import tiny_run
import tiny_tae
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from videojam_jax.checkpoints.average import average_as_saved
from videojam_jax.checkpoints.exported import FILE, METADATA
from videojam_jax.checkpoints.names import flat
from videojam_jax.checkpoints.read import (
    latest_step,
    latest_whole,
    place_of,
    read_architecture,
    restore_params,
)
from videojam_jax.config import frozen, loading, modelling
from videojam_jax.convert.job import convert
from videojam_jax.errors import UserError
from videojam_jax.models.joint import widen
from videojam_jax.train import generation

STEP = shipped_runs.STEP
DTYPES = ["float32", "bfloat16"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The workdir of a base, its averaged parameters, and a folder of it for each dtype."""
    root = tmp_path_factory.mktemp("base")
    average = shipped_runs.base(root / "run")
    folders = {x: shipped_runs.exported(root / "run", root / x, x) for x in DTYPES}
    return root / "run", average, folders


@pytest.fixture(scope="module")
def tae(tmp_path_factory):
    root = tmp_path_factory.mktemp("tae")
    params = shipped_runs.tae(root / "run")
    return root / "run", params, shipped_runs.exported(root / "run", root / "tae")


def rounded(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), tree)


def asked(variant="base", devices=1):
    config = shipped_runs.config(variant)
    return shipped_runs.abstract(config, devices).params, modelling.architecture(config)


# --- what comes back ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_average_comes_back_rounded_once_with_its_step(base, dtype):
    _, average, folders = base
    with jax.transfer_guard("disallow"):  # as in a job
        found = [restore_params(folders[dtype], *asked(), ema=ema) for ema in (True, False)]
    for params, step in found:  # it has but one set of parameters
        assert step == STEP
        chex.assert_trees_all_equal(jax.device_get(params), rounded(average, dtype))
    assert latest_step(folders[dtype]) == STEP
    assert read_architecture(folders[dtype]) == asked()[1]
    assert place_of(folders[dtype], STEP) == folders[dtype] / FILE


def test_each_device_gets_the_part_that_it_is_asked_to_hold(base):
    _, average, folders = base
    abstract, architecture = asked(devices=2)
    params, _ = restore_params(folders["float32"], abstract, architecture, ema=True)
    chex.assert_trees_all_equal(jax.device_get(params), average)
    for x, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(abstract), strict=True):
        assert x.sharding == wanted.sharding
    assert any(not x.sharding.is_fully_replicated for x in jax.tree.leaves(params))


def test_what_went_out_comes_in_and_goes_out_again_to_the_bit(base, tmp_path):
    _, average, folders = base
    convert(folders["bfloat16"], tmp_path / "ours")  # a checkpoint once more
    there = {x: np.asarray(y) for x, y in average_as_saved(tmp_path / "ours").arrays.items()}
    wanted = {name: x.astype(jnp.bfloat16) for name, x in flat(average).items()}
    again = load_file(shipped_runs.exported(tmp_path / "ours", tmp_path / "again") / FILE)
    assert there.keys() == wanted.keys() and len(again) == len(wanted)
    for name, x in wanted.items():
        for found in (there[name], again[name.replace("/", ".")]):
            assert (found.dtype, found.tobytes()) == (x.dtype, x.tobytes()), name


def test_the_folder_has_the_config_and_nothing_else(base):
    run, _, folders = base
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == {FILE, "config.json"}
        assert (folder / "config.json").read_bytes() == (run / "config.json").read_bytes()
        assert (folder / FILE).stat().st_mode & 0o777 == 0o644


# --- who starts from it ---


def test_control_and_videojam_start_from_it(base):
    _, average, folders = base
    start = rounded(average, "bfloat16")
    for variant, wanted in (("control", start), ("videojam", widen(start))):
        made = shipped_runs.config(variant)
        params, step, how = generation.params_of(
            made, folders["bfloat16"], shipped_runs.abstract(made)
        )
        assert step == STEP and ("widened" in how) == (variant == "videojam")
        chex.assert_trees_all_equal(jax.device_get(params), jax.device_get(wanted))


def test_a_run_in_the_same_folder_goes_before_what_it_began_with(base, tmp_path):
    _, average, folders = base
    folder = tmp_path / "run"
    shipped_runs.base(folder)
    file = (folders["bfloat16"] / FILE).read_bytes()
    (folder / FILE).write_bytes(file)
    found, _ = restore_params(folder, *asked(), ema=True)
    chex.assert_trees_all_equal(jax.device_get(found), average)
    assert place_of(folder, STEP) == latest_whole(folder)


def tae_config(path):
    words = [*tiny_run.TINY, *tiny_tae.READER, f"--config.autoencoder.weights={path}"]
    given = dict(word.removeprefix("--config.").split("=", 1) for word in words)
    return loading.load(f"{tiny_run.CONFIG}:base", given)


def test_an_autoencoder_is_the_run_s_with_its_latents_scale(tae):
    run, params, folder = tae
    found, its = (frozen.autoencoder(tae_config(path)) for path in (folder, run))
    chex.assert_trees_all_equal(jax.device_get(found.params), params["autoencoder"])
    for name in ("shift", "scale"):
        wanted = np.asarray(shipped_runs.LATENT[name], np.float32)
        np.testing.assert_array_equal(getattr(found, name), wanted)
    # So clips that were prepared with the one are those of the other.
    assert frozen.fingerprints(found) == frozen.fingerprints(its)
    file = shipped_runs.exported(run, run.with_name("alone.safetensors"))
    assert frozen.fingerprints(frozen.autoencoder(tae_config(file))) == frozen.fingerprints(its)


# --- what is refused ---


def test_another_step_another_architecture_or_a_damaged_file_is_told(base, tae, tmp_path):
    folder = base[2]["bfloat16"]
    with pytest.raises(UserError, match=rf"{FILE}: no step 3; there are \[{STEP}\]"):
        restore_params(folder, *asked(), ema=True, step=3)
    with pytest.raises(UserError, match="another architecture: model.motion is False there"):
        restore_params(folder, *asked("videojam"), ema=True)
    with pytest.raises(UserError, match="config.autoencoder.weights: .*no temporal autoencoder"):
        frozen.autoencoder(tae_config(folder))

    file, arrays = folder / FILE, load_file(folder / FILE)
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
    lost = sorted(arrays)[0]
    assert json.loads(metadata[METADATA])["step"] == STEP
    bad = tmp_path / FILE
    save_file({name: x for name, x in arrays.items() if name != lost}, bad, metadata)
    with pytest.raises(UserError, match=f"{FILE}: not the parameters .*1 missing: ") as told:
        restore_params(tmp_path, *asked(), ema=True)
    assert lost.replace(".", "/") in str(told.value)
    save_file(arrays, bad, {"format": "pt"})
    with pytest.raises(UserError, match=f"{FILE}: no run of ours"):
        read_architecture(tmp_path)
    bad.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match=f"{FILE}: not a whole safetensors file"):
        restore_params(tmp_path, *asked(), ema=True)


def test_a_folder_is_made_of_a_run_with_its_config_where_no_weights_are(base, tmp_path):
    run, _, folders = base
    before = (folders["float32"] / FILE).read_bytes()
    for there in (run, folders["float32"]):
        with pytest.raises(UserError, match=f"{there}: there are weights already"):
            convert(run, there)
    assert (folders["float32"] / FILE).read_bytes() == before
    (run / "config.json").rename(tmp_path / "config.json")
    try:
        with pytest.raises(UserError, match="config.json: no such file; a run"):
            convert(run, tmp_path / "out")
    finally:
        (tmp_path / "config.json").rename(run / "config.json")
    assert not (tmp_path / "out").exists()
