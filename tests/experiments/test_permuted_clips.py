"""Held-out clips beside themselves with their frames, or their latents, permuted."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from tiny_clips import BAD, TinyClips

from videojam_jax.config import frozen, loading, preparing
from videojam_jax.data import loader
from videojam_jax.data.permuted import permutation
from videojam_jax.errors import UserError
from videojam_jax.experiments import permuted_clips, sampling_stages
from videojam_jax.experiments.setting import Setting

FRAMES, CLIPS = 4, 10


def setting(folder, **given):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "permutation.py:tiny")
    tiny = dict(
        word.removeprefix("--config.").split("=", 1) for word in tiny_run.TINY_EXPERIMENT
    )
    return Setting(loading.load_experiment(path, tiny | given), folder)


def make(here):
    """The stage of the permuted clips, made."""
    (stage,) = permuted_clips.stages(here)
    assert not stage.is_done()
    stage.make()
    assert stage.is_done()
    return stage


def with_the_held_out_of(workdir, other):
    (other / "permutation").mkdir()
    held_out = workdir / "permutation" / "held_out_data"
    (other / "permutation" / "held_out_data").symlink_to(held_out)


def data(here, name):
    return loader.open_dataset(here.folder / name)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("permuted")
    sampling_stages.held_out_stage(setting(folder)).make()
    make(setting(folder))
    return folder


def assert_permuted(here, seed):
    """That each latent, which is of one frame here, lies where its frame does."""
    ordered, permuted = data(here, "held_out_data"), data(here, "permuted_data")
    for clip in range(CLIPS):
        order = permutation(seed, clip, FRAMES)
        for half in ("video", "motion"):
            np.testing.assert_array_equal(permuted[clip][half], ordered[clip][half][order])


def test_frames_are_permuted_with_their_flow_and_then_encoded(workdir):
    assert_permuted(setting(workdir), seed=0)


@pytest.mark.parametrize("motion", [False, True])
def test_where_a_latent_is_of_one_frame_permuting_either_is_the_same(workdir, motion):
    frames, latents = (
        permuted_clips.Pairs(setting(workdir, **{"experiment.permute": what}), motion)
        for what in ("frames", "latents")
    )
    halves = ("video", "motion") if motion else ("video",)
    assert len(frames) == len(latents) == CLIPS
    for (one, text), (other, same) in zip(frames, latents, strict=True):
        assert one.keys() == other.keys() == {*halves, *(f"permuted_{half}" for half in halves)}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert text.tolist() == same.tolist() and len(text) > 1


def test_latents_are_permuted_without_another_stage(workdir):
    here = setting(workdir, **{"experiment.permute": "latents"})
    assert permuted_clips.stages(here) == []
    assert permuted_clips.origin(here) != permuted_clips.origin(setting(workdir))


def test_those_of_another_seed_or_number_are_made_anew(workdir, tmp_path):
    with_the_held_out_of(workdir, tmp_path)
    first = make(setting(tmp_path))
    other = setting(tmp_path, sample_seed="1")
    make(other)
    assert_permuted(other, seed=1)
    assert not first.is_done()
    make(setting(tmp_path, clips="9"))
    assert len(data(other, "permuted_data")) == 9


def test_clips_that_were_set_aside_shift_no_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "source", lambda config, *shared: TinyClips())
    here = setting(tmp_path)
    sampling_stages.held_out_stage(here).make()
    make(here)
    pairs = permuted_clips.Pairs(here, motion=True)
    assert len(pairs) == CLIPS > BAD[0]
    numbers = [number for number in range(len(TinyClips())) if number not in BAD]
    for number, (latents, _) in zip(numbers, pairs, strict=False):
        order = permutation(0, number, FRAMES)  # of its place in the source
        for half in ("video", "motion"):
            np.testing.assert_array_equal(latents[f"permuted_{half}"], latents[half][order])


def test_latents_whose_source_is_gone_have_one_way_left_which_is_named(workdir):
    gone = {"held_out.source.name": "folder", "held_out.source.path": str(workdir / "no")}
    (stage,) = permuted_clips.stages(setting(workdir, **gone))
    with pytest.raises(UserError, match="there is no such folder") as error:
        stage.make()
    assert "config.experiment.permute = 'latents' permutes these" in str(error.value)
    assert data(setting(workdir), "permuted_data"), "what was there is gone"


def test_latents_of_another_source_than_the_config_names_are_no_pairs(workdir, tmp_path):
    with_the_held_out_of(workdir, tmp_path)
    other = setting(tmp_path, **{"held_out.source.seed": "5"})
    make(other)
    with pytest.raises(UserError, match="has no clip of .* the first being simulated:1:0: name"):
        permuted_clips.Pairs(other, motion=False)


def test_frames_are_permuted_before_an_autoencoder_that_joins_some_of_them(tmp_path):
    here = setting(tmp_path, **{"change.autoencoder.patch": "(2, 4, 4)"})
    sampling_stages.held_out_stage(here).make()
    make(here)
    decoder = frozen.autoencoder(here.held_out())
    pairs = permuted_clips.Pairs(here, motion=True)
    for clip, (latents, _) in enumerate(pairs):
        order = permutation(0, clip, FRAMES)
        for half in ("video", "motion"):
            assert len(latents[half]) == FRAMES // 2
            frames, permuted = (
                np.asarray(decoder.decode(jnp.asarray(latents[name][None], jnp.float32))[0])
                for name in (half, f"permuted_{half}")
            )
            np.testing.assert_array_equal(permuted, frames[order])
