"""Clips on disk, measured by one process or several, and the score that sums them up."""

import numpy as np
import pytest

from videojam_jax.data.simulate import Options, simulate
from videojam_jax.errors import UserError
from videojam_jax.experiments import folder_measures, store
from videojam_jax.experiments.score import PHYSICAL, motion_score
from videojam_jax.measure.physics import physics_measures
from videojam_jax.motion.flow_rgb import repeat_last
from videojam_jax.sample.clips import Clips

OPTIONS = Options(
    frames=6, height=16, width=16, kinds=("fall", "bounce", "roll", "collide"),
    shapes=("disc", "square"), bodies=(1, 1), pan=0.0, texture=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder of 7 simulated clips in batches of 4, and their captions."""
    folder = tmp_path_factory.mktemp("clips") / "row"
    made = [simulate(i, OPTIONS, seed=2) for i in range(7)]
    store.begin(folder, {"of": "a test"})
    for first in (0, 4):
        part = made[first : first + 4]
        videos = np.stack([clip.video for clip in part])
        flows = np.stack([repeat_last(clip.flow) for clip in part])
        store.save(folder, first, Clips(videos, np.zeros_like(videos), flows))
    return folder, made


def test_clips_come_back_as_they_were_saved(stored):
    folder, made = stored
    assert store.finished(folder) == set(range(7))
    assert [first for first, _ in store.batches(folder)] == [0, 4]
    for video, clip in zip(store.videos(folder), made, strict=True):
        np.testing.assert_array_equal(video, clip.video)
    five = store.first_clips(folder, 5)
    assert len(five.videos) == len(five.flows) == 5
    wanted = np.stack([repeat_last(clip.flow) for clip in made[:5]])
    np.testing.assert_allclose(five.flows, wanted, rtol=5e-4, atol=1e-6)


def test_clips_of_another_origin_make_room(stored, tmp_path):
    folder = tmp_path / "row"
    store.begin(folder, {"seed": 0})
    store.save(folder, 0, Clips(np.zeros((1, 2, 8, 8, 3), np.uint8)))
    store.begin(folder, {"seed": 0})
    assert store.finished(folder) == {0}
    store.begin(folder, {"seed": 1})
    assert store.finished(folder) == set()


def test_a_torn_file_is_named(tmp_path):
    store.begin(tmp_path / "row", {})
    store.save(tmp_path / "row", 0, Clips(np.zeros((2, 2, 8, 8, 3), np.uint8)))
    path = tmp_path / "row" / "clips_00000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="clips_00000.npz: cannot be read"):
        store.load(path)


def test_json_keeps_its_origin_and_has_null_for_what_is_no_number(tmp_path):
    path = tmp_path / "deep" / "one.json"
    store.write_json(path, {"values": [1.0, np.nan, np.float32(0.5)]}, {"a": (1, 2)})
    assert store.read_json(path)["values"] == [1.0, None, 0.5]
    assert store.is_of(path, {"a": [1, 2]}) and not store.is_of(path, {"a": [1, 3]})
    assert not store.is_of(tmp_path / "none.json", {})


def test_several_processes_measure_what_one_does(stored, monkeypatch):
    folder, made = stored
    arguments = store.batches(folder), [clip.caption for clip in made], 8.0
    told = []
    alone = folder_measures.measure(*arguments, simulated=True, tell=told.append)
    assert told == [4, 7]
    monkeypatch.setattr(folder_measures, "FEW", 2)
    monkeypatch.setattr(folder_measures.os, "sched_getaffinity", lambda _: {0, 1})
    together = folder_measures.measure(*arguments, simulated=True)
    assert alone.values.keys() == together.values.keys()
    for name, values in alone.values.items():
        np.testing.assert_array_equal(values, together.values[name], err_msg=name)
    for name, vectors in alone.features.items():
        np.testing.assert_array_equal(vectors, together.features[name], err_msg=name)


def test_shuffled_clips_score_far_below_those_in_order(stored):
    folder, made = stored
    arguments = store.batches(folder), [clip.caption for clip in made], 8.0
    scores = [
        motion_score({
            name: values[None]
            for name, values in folder_measures.measure(
                *arguments, simulated=True, shuffled=shuffled
            ).values.items()
        })
        for shuffled in (False, True)
    ]  # fmt: skip
    assert scores[0].mean() > 0.92 and scores[1].mean() < 0.7


def test_clips_that_are_no_simulations_are_not_asked_for_bodies(stored):
    folder, made = stored
    values = folder_measures.measure(
        store.batches(folder), ["a cat"] * len(made), 8.0, simulated=False
    ).values
    assert "permanence" not in values and "smoothness" in values
    score = motion_score({name: each[None] for name, each in values.items()})
    wanted = (values["smoothness"] + 0.5 * values["dynamic_degree"]) / 1.5
    np.testing.assert_allclose(score[0], wanted)


def test_one_part_at_its_worst_is_a_score_of_zero():
    ideal = {"trajectory_error": 0.0, "velocity_jumps": 0.0}
    perfect = {name: np.full((1, 2), ideal.get(name, 1.0)) for name in PHYSICAL}
    np.testing.assert_array_equal(motion_score(perfect), [[1, 1]])
    for name in PHYSICAL:
        faulty = {**perfect, name: np.array([[1 - ideal.get(name, 1.0), ideal.get(name, 1.0)]])}
        np.testing.assert_array_equal(motion_score(faulty), [[0, 1]])


def test_score_is_the_product_of_the_parts_that_say_something_of_a_clip():
    ideal = {"trajectory_error": 0.0, "velocity_jumps": 0.0}
    values = {name: np.full((1, 3), ideal.get(name, 1.0)) for name in PHYSICAL}
    values["steady_turn"] = np.array([[np.nan, 0.5, 0.5]])
    values["moves"] = np.array([[0.8, np.nan, 0.8]])
    np.testing.assert_allclose(motion_score(values), [[0.8, 0.5, 0.4]])
    # A caption without a law, among those that have one, has no score.
    values["trajectory_error"] = np.array([[0.0, np.nan, 0.25]])
    np.testing.assert_allclose(motion_score(values), [[0.8, np.nan, 0.3]])


def test_clips_of_every_kind_score_high_in_order_and_low_when_shuffled():
    for kind in ("walk", "jog", "jump", "cartwheel", "wheel"):
        options = Options(kinds=(kind,), height=40, width=40, texture=0.5)
        scores = []
        for order in (np.arange(16), np.random.default_rng(1).permutation(16)):
            made = [simulate(index, options, 2) for index in range(4)]
            rows = [physics_measures(clip.video[order], clip.caption) for clip in made]
            scores.append(motion_score({k: np.array([[r[k] for r in rows]]) for k in rows[0]}))
        assert scores[0].mean() > 0.92 and scores[1].mean() < 0.45, kind
