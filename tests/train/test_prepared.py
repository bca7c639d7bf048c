"""Prepared clips are those of a run's config and those it began with, or it does not start."""

import copy
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tiny_run
import tiny_tae

from videojam_jax.config import loading, preparing
from videojam_jax.data import loader, manifest
from videojam_jax.data.skipped import Skipped
from videojam_jax.differences import flat
from videojam_jax.errors import UserError
from videojam_jax.train import generation, prepared

PAPER = loading.load(str(tiny_run.ROOT / "configs" / "videojam_4b.py"))


def tiny(*words, variant="videojam"):
    given = dict(word.removeprefix("--config.").split("=", 1) for word in (*tiny_run.TINY, *words))
    return loading.load(f"{tiny_run.CONFIG}:{variant}", given)


def of_settings(settings, shape=(4, 4, 4, 48)):
    """A prepared folder that is there as far as its settings go."""
    whole = {"settings": settings, "shapes": {"latent": list(shape)}, "clips": 24, "shards": []}
    null_text, nothing = np.array([1], np.int32), loader.Shards([], 1)
    return loader.Dataset(pathlib.Path("data"), whole, null_text, nothing, Skipped(0, print))


def told(config, change=lambda settings: None):
    """What is said of clips that were prepared with the config, but for a change."""
    settings = json.loads(json.dumps(preparing.preparation(config)))
    change(settings["config"])
    return prepared._other_settings(of_settings(settings), config)


# --- are they those of the config? ---------------------------------------------------------------


def test_clips_that_were_prepared_with_the_config_are_not_told_of():
    assert told(PAPER) == told(tiny()) == []
    assert prepared._other_settings(of_settings({}), PAPER) == [], "made elsewhere"


def test_clips_of_another_flow_or_reading_are_told_of():
    # As a folder that was prepared for the paper's config with what once was the default.
    def change(there):
        del there["text"]["reads"]
        there["motion"]["flow"] = "dis"
        there["motion"]["latent_mean"] = [0.5]

    flow, reads, mean = told(PAPER, change)
    assert "config.motion.latent_mean = [0.5], where this config says []" in mean
    assert "data was prepared with config.motion.flow = 'dis', where this config says 'ra" in flow
    assert "config.text.reads = [], where this config says ['prompt', 'quoted', 'prompt']" in reads


def test_every_setting_that_shapes_clips_is_told_of():
    config = tiny("--config.motion.flow=dis")
    for key in flat(preparing.preparation(config)["config"]):
        *sections, name = key.split(".")

        def change(there, sections=sections, name=name):
            for section in sections:
                there = there[section]
            there[name] = "another"

        assert [key in line for line in told(config, change)] == [True], key


def test_a_base_is_not_told_of_motion_which_it_does_not_read():
    def change(there):
        there["motion"] |= {"sigma": 0.5, "flow": "dis", "latent_std": [2.0]}

    assert len(told(tiny(variant="videojam"), change)) == 3
    assert told(tiny(variant="base"), change) == []


def test_keys_that_another_version_had_or_lacked_are_one_line():
    def change(there):
        del there["motion"]["sigma"], there["clip"]["stride"]
        there["motion"]["angle"] = 1

    (line,) = told(tiny(), change)
    assert "prepared by another version" in line and "trained on as it is" in line
    assert {"config.motion.sigma", "config.clip.stride", "config.motion.angle"} <= set(
        line.replace(",", "").split()
    )


@pytest.mark.parametrize(
    ("key", "there"), [("scale", 2.0), ("shift", 0.1), ("name", "tae")]
)
def test_latents_of_another_meaning_are_refused(key, there):
    settings = preparing.preparation(tiny())
    prepared._check_latents(of_settings(settings), tiny())
    other = copy.deepcopy(settings)
    other["config"]["autoencoder"][key] = there
    with pytest.raises(UserError) as error:
        prepared._check_latents(of_settings(other), tiny())
    assert f"data was prepared with config.autoencoder.{key} = {there!r}, where" in str(error.value)
    # A folder of before there was such a key, or that was made elsewhere.
    del other["config"]["autoencoder"][key]
    for settings in (other, {}):
        prepared._check_latents(of_settings(settings), tiny())


def test_latents_that_were_made_elsewhere_are_known_by_their_shape():
    words = ["name=precomputed", "compression=(1,4,4)", "channels=48"]
    config = tiny(*(f"--config.autoencoder.{word}" for word in words))
    dataset = of_settings(preparing.preparation(tiny()))
    prepared._check_latents(dataset, config)
    assert prepared._other_settings(dataset, config) == []


def test_an_autoencoder_of_other_weights_does_not_show_the_clips():
    dataset = of_settings({"weights": ["a1", "b2"]})
    prepared.check_weights(dataset, ["a1"])
    prepared.check_weights(of_settings({}), ["c3"])
    with pytest.raises(UserError, match="fingerprint a1.*autoencoder.weights .c3.*sample_every"):
        prepared.check_weights(dataset, ["c3"])


def test_weights_that_show_samples_are_compared_with_those_that_encoded_the_clips(tmp_path):
    words = [*tiny_tae.READER, "--config.autoencoder.weights=random", "--config.source.clips=2"]
    status, said = run("prepare", tmp_path / "data", *words)
    assert status == 0, said
    config, dataset = tiny(*words), loader.open_dataset(tmp_path / "data")
    with jax.transfer_guard("disallow"):  # as `train` forbids it
        generation.sample_writer(config, tmp_path, dataset)
    dataset.manifest["settings"]["weights"] = ["others"]
    with pytest.raises(UserError, match="prepared with other weights .of fingerprint others"):
        generation.sample_writer(config, tmp_path, dataset)


# --- are they those that the run began with? ----------------------------------------------------


def run(job, workdir, *words):
    return tiny_run.here_alone(*tiny_run.words(job, "--workdir", workdir, *words))


SIZES = ["--config.train.checkpoint_every=1", "--config.train.dataset=../data"]


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """A folder of prepared clips, and of a run that was trained on them."""
    root = tmp_path_factory.mktemp("begun")
    shutil.copytree(data / "data", root / "data")
    status, said = run("train", root / "run", *SIZES, "--config.train.steps=1")
    assert status == 0, said
    return root


def test_a_run_goes_on_with_its_clips_alone(begun, tmp_path):
    root = shutil.copytree(begun, tmp_path / "root")
    kept = root / "run" / prepared.KEPT
    identity = json.loads(kept.read_text())["identity"]
    shutil.rmtree(root / "data")
    status, said = run("prepare", root / "data", "--config.source.seed=1")
    assert status == 0, said
    status, said = run("train", root / "run", *SIZES, "--config.train.steps=2")
    assert status == 2 and "step 2/" not in said
    now = manifest.identity(manifest.read_manifest(root / "data"))
    (line,) = [line for line in said.splitlines() if "videojam: error: " in line]
    for words in (
        f"{root}/run has been trained on the clips {identity} of ", f"{root}/data holds the clips "
        f"{now} (source.seed was 0, and is 1): ", f"to go on with these, delete {kept}",
    ):  # fmt: skip
        assert words in line, line
    # As the line says.
    kept.unlink()
    status, said = run("train", root / "run", *SIZES, "--config.train.steps=2")
    assert status == 0 and f"not kept; from here on {kept} says it" in said, said
    assert json.loads(kept.read_text())["identity"] == now
    status, said = run("train", root / "run", *SIZES, "--config.train.steps=3")
    assert status == 0 and "note: which clips" not in said, said


def test_clips_that_were_prepared_again_alike_or_moved_are_the_same(begun, tmp_path):
    root = shutil.copytree(begun, tmp_path / "root")
    (root / "data").rename(root / "moved")
    path = root / "moved" / "manifest.json"
    whole = json.loads(path.read_text())
    whole["versions"]["jax"] = "0.9"
    path.write_text(json.dumps(whole))
    words = [*SIZES, "--config.train.steps=2", "--config.train.dataset=../moved"]
    status, said = run("train", root / "run", *words)
    assert status == 0 and "step 2/2" in said, said


def test_a_run_without_a_checkpoint_has_not_begun(begun, tmp_path):
    root = shutil.copytree(begun, tmp_path / "root")
    shutil.rmtree(root / "run" / "checkpoints")
    path = root / "run" / prepared.KEPT
    path.write_text("{")
    prepared._began_with(loader.open_dataset(root / "data"), root / "run")
    assert json.loads(path.read_text())["clips"] == 24


@pytest.mark.parametrize("wrong", [b"\xff", b"[]", b"{}", b'{"identity": 1}'])
def test_what_is_kept_of_them_is_named_where_it_was_damaged(begun, tmp_path, wrong):
    root = shutil.copytree(begun, tmp_path / "root")
    path = root / "run" / prepared.KEPT
    path.write_bytes(wrong)
    with pytest.raises(UserError, match=f"^{path} is not what .* delete it, if"):
        prepared._began_with(loader.open_dataset(root / "data"), root / "run")
