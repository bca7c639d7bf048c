"""Checkpoints on the way as rows, which of them training keeps, and what is said of the gain."""

import json

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading
from videojam_jax.errors import UserError
from videojam_jax.experiments import sampling_stages, stages, steps, store
from videojam_jax.experiments.score import PHYSICAL
from videojam_jax.experiments.setting import Setting
from videojam_jax.measure.physics import PHYSICS_MEASURES
from videojam_jax.measure.statistics import Estimate
from videojam_jax.sample.clips import Clips
from videojam_jax.train.loop import Outcome

# Ten steps of training, four of the sampler.
TINY = dict(word.removeprefix("--config.").split("=", 1) for word in tiny_run.TINY_EXPERIMENT)


def setting(tmp_path, **changes):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "steps.py:tiny")
    given = {**TINY, "experiment.at": "(0.3, 1.0)", **changes}
    return Setting(loading.load_experiment(path, given), tmp_path)


def test_every_curve_has_a_row_at_every_step_and_the_base_one_for_all(tmp_path):
    base, *rows = steps.rows(setting(tmp_path))
    assert (base.kind, base.step) == ("base", None)
    assert [(row.name, row.kind, row.sample["guidance"]) for row in rows] == [
        (f"{name}_step_{step:06}", kind, rule)
        for step in (3, 10)
        for name, kind, rule in (
            ("control", "control", "dit"),
            ("videojam", "videojam", "videojam"),
            ("no_optical_flow", "videojam", "no_optical_flow"),
            ("videojam_0002_control", "control", "dit"),
        )
    ]
    assert [row.step for row in rows] == 4 * [3] + 4 * [10]
    for hybrid in rows[3::4]:
        assert hybrid.start == 2
        assert (hybrid.before.kind, hybrid.before.step) == ("videojam", hybrid.step)


@pytest.mark.parametrize("first", ["0.0", "0.1", "1.0"])
def test_a_share_of_none_or_all_sampling_steps_is_no_row_of_its_own(tmp_path, first):
    curves = steps.curves(setting(tmp_path, **{"experiment.first": first}))
    assert [curve.name for curve in curves] == ["control", "videojam", "no_optical_flow"]


def test_shares_that_are_the_same_step_are_one_and_step_0_is_the_base_s(tmp_path):
    at = "(1.0, 0.5, 0.52, 0.04, 0.0)"
    assert steps.steps(setting(tmp_path, **{"experiment.at": at})) == [5, 10]


def test_clips_are_of_their_checkpoint_whatever_else_is_kept(tmp_path):
    def origin(number, step, **changes):
        its = setting(tmp_path, prompts="motion64", **changes)
        return sampling_stages.row_origin(its, steps.row(steps.curves(its)[number], step), 0)

    one = origin(3, 3)
    assert one["step"] == one["before"]["step"] == 3
    assert origin(3, 10) == {**one, "step": 10, "before": {**one["before"], "step": 10}}
    for number in (0, 3):
        assert origin(number, 3, **{"change.train.keep_steps": "(3, 4)"}) == origin(number, 3)


def test_training_keeps_the_checkpoints_beside_those_of_the_run_s_own_config(
    tmp_path, monkeypatch
):
    trained = {}

    def train(config, config_json, folder):
        trained[folder.name] = config.train.keep_steps
        return Outcome(10, stopped=False)

    monkeypatch.setattr(stages, "train", train)
    for part in steps.stages(setting(tmp_path, **{"change.train.keep_steps": "(4,)"})):
        if part.name.startswith("train"):
            part.make()
    assert trained == {"base": (4,), "control": (3, 4, 10), "videojam": (3, 4, 10)}


def have(folder, *at):
    for step in at:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)


def test_a_run_that_has_gone_past_a_step_and_not_kept_it_is_named(tmp_path):
    its = setting(tmp_path)
    folder = its.run_folder("videojam", 0)
    have(folder, 2)
    assert steps.stages(its)  # it is still to come to step 3
    have(folder, 10)
    with pytest.raises(UserError) as error:
        steps.stages(its)
    said = str(error.value)
    assert f"{folder} has no checkpoint of step 3; there are 2, 10: another experiment" in said
    assert "Delete that folder" in said and "--config.change.train.keep_steps='(3, 10)'" in said
    have(folder, 3)
    assert steps.stages(its)


def test_a_run_that_was_trained_elsewhere_must_have_all_of_them(tmp_path):
    given = tmp_path / "given"
    have(given, 3)
    (given / "config.json").write_text(loading.to_json(setting(tmp_path).run_config("control", 0)))
    its = setting(tmp_path, **{"runs.control": str(given)})
    with pytest.raises(UserError) as error:
        steps.stages(its)
    said = str(error.value)
    assert f"{given} has no checkpoint of step 10; there are 3: name a run" in said
    assert "config.train.keep_steps = (3, 10)" in said and "Delete" not in said
    have(given, 10)
    assert steps.stages(its)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs.control": ""}, "config.runs.control is empty"),
        ({"experiment.at": "()"}, r"config.experiment.at = \(\): of 10 steps"),
        ({"experiment.at": "(0.0, 0.04)"}, "name shares above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        steps.stages(setting(tmp_path, **changes))


def test_runs_of_other_lengths_are_refused(tmp_path):
    (tmp_path / "other.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tiny_run.ROOT / 'configs')!r})\n"
        "import quickstart\n\n\ndef get_config():\n"
        "    config = quickstart.get_config('control')\n"
        "    config.train.steps = 7\n    return config\n"
    )
    its = setting(tmp_path, **{"runs.control": str(tmp_path / "other.py")})
    tree = its.config.to_dict()
    del tree["change"]["train"]["steps"]
    with pytest.raises(UserError, match="config.train.steps is 7 of the control and"):
        steps.stages(Setting(type(its.config)(tree), tmp_path))


# The motion score of each row's two clips, of the first seed; of the second .05 more each.
SCORES = {
    "base": (0.1, 0.3),
    "control_step_000003": (0.2, 0.4), "control_step_000010": (0.6, 0.8),
    "videojam_step_000003": (0.5, 0.7), "videojam_step_000010": (0.7, 0.9),
    "no_optical_flow_step_000003": (0.2, 0.4), "no_optical_flow_step_000010": (0.5, 0.7),
}  # fmt: skip


def test_the_report_has_score_and_paired_gain_over_steps_from_the_base_on(tmp_path):
    its = setting(tmp_path, prompts="motion64", clips="2", seeds="(0, 1)",
                  **{"experiment.first": "0.0"})  # fmt: skip
    assert {row.name for row in steps.rows(its)} == set(SCORES)
    clips = Clips(np.zeros((2, 4, 16, 16, 3), np.uint8), None, None)
    for seed in (0, 1):
        for row in steps.rows(its):
            folder = sampling_stages.row_folder(its, row, seed)
            folder.mkdir(parents=True)
            store.save(folder, 0, clips)
            # All of the score's other parts are at their best.
            values = {name: 2 * [PHYSICS_MEASURES[name].ideal] for name in PHYSICAL}
            values["permanence"] = [value + 0.05 * seed for value in SCORES[row.name]]
            store.write_json(folder / "measures.json", {"values": values, "features": {}}, {})
    steps.report(its)
    report = json.loads((its.folder / "report.json").read_text())
    score, less = (
        {q["name"]: {step: round(of["mean"], 6) for step, of in q["values"].items()}
         for q in report["measured"] if q["table"] == title}
        for title in ("Motion score", "Motion score, less the control's")
    )  # fmt: skip
    base = {"0 steps, the base": 0.225}
    assert score == {
        "control (DiT, trained on)": {**base, "3 steps": 0.325, "10 steps": 0.725},
        "VideoJAM": {**base, "3 steps": 0.625, "10 steps": 0.825},
        "VideoJAM w/o optical flow": {**base, "3 steps": 0.325, "10 steps": 0.625},
    }
    assert less == {
        "VideoJAM": {"3 steps": 0.3, "10 steps": 0.1},
        "VideoJAM w/o optical flow": {"3 steps": 0.0, "10 steps": -0.1},
    }
    drawn = report["figures"][0]["panels"][1]["lines"][0]
    assert drawn["name"] == "VideoJAM" and drawn["x"] == [0, 3, 10]
    np.testing.assert_allclose(drawn["mean"], [0, 30, 10], atol=1e-9)
    said = report["notes"][0]
    assert "VideoJAM's motion score is above the control's after 3, 10. From 3 to 10 steps" in said
    assert said.endswith("points: it shrinks.")


def around(mean, half):
    return Estimate(mean, mean - half, mean + half, 64)


def test_the_verdict_says_where_the_gain_is_and_whether_it_shrinks():
    gains = [around(0.1, 0.02), around(0.05, 0.02), around(0.01, 0.02), around(-0.05, 0.02)]
    said = steps.verdict([375, 750, 1500, 3000], gains, around(-0.15, 0.03))
    assert "above the control's after 375, 750; below the control's after 3,000; " in said
    assert "not to be told from the control's after 1,500." in said
    assert said.endswith("changes by -15 [-18, -12] points: it shrinks.")


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (around(0.02, 0.01), "it grows."),
        (around(-0.02, 0.03), "whether it grows or shrinks is left open."),
        (None, "VideoJAM's motion score is above the control's after 5."),
    ],
)
def test_the_verdict_says_no_more_than_the_interval_does(change, end):
    gains = [around(0.1, 0.01)]
    counts = [5]
    if change is not None:
        gains, counts = 2 * gains, [5, 10]
    assert steps.verdict(counts, gains, change).endswith(end)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "averaged parameters of each checkpoint (decay 0.99). The learning rate does not"),
        ({"change.optimizer.decay_steps": "4"}, "over the last 4 of 10 steps"),
        ({"change.optimizer.decay_steps": "4"}, "those up to step 6 are noisier"),
        ({"change.sample.ema": "False"}, "as they are, not their average"),
    ],
)
def test_the_report_says_what_a_checkpoint_on_the_way_is(tmp_path, changes, said):
    its = setting(tmp_path, **{"change.optimizer.ema_decay": "0.99", **changes})
    (note,) = steps.checkpoint_notes(its.run_config("videojam", 0))
    assert said in note
