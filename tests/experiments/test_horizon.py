"""Hybrids of two models as rows, and what is said of losses over t."""

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, sampling
from videojam_jax.errors import UserError
from videojam_jax.experiments import horizon, sampling_stages
from videojam_jax.experiments.horizon_losses import excess, verdict
from videojam_jax.experiments.setting import Setting
from videojam_jax.measure.statistics import Estimate


def setting(tmp_path, **changes):
    path = str(tiny_run.ROOT / "configs" / "experiments" / "horizon.py:tiny")
    given = {"change.sample.steps": "10", "experiment.first": "(0.25, 0.5)"}
    return Setting(loading.load_experiment(path, {**given, **changes}), tmp_path)


def test_each_model_alone_and_each_order_of_both_is_a_row_once(tmp_path):
    rows = horizon.rows(setting(tmp_path))
    assert [row.name for row in rows] == [
        "control", "videojam", "videojam_0002_control", "videojam_0005_control",
        "control_0002_videojam", "control_0005_videojam",
    ]  # fmt: skip
    for row in rows[2:]:
        first, _, then = row.name.split("_")
        assert (row.before.kind, row.kind) == (first, then)
        assert row.start in (2, 5) and row.before.start == 0 and row.before.before is None
        for one in (row, row.before):
            rule = {"videojam": "videojam", "control": "dit"}[one.kind]
            assert one.sample == {"guidance": rule}
    times = sampling.times(setting(tmp_path).run_config("control", 0))
    assert rows[2].label == f"VideoJAM to step 2 of 10 (t = {times[2]:.3f}), then control"


def test_the_ends_of_both_curves_are_the_models_alone(tmp_path):
    its = setting(tmp_path, **{"experiment.first": "(0.01, 0.99)"})  # rounded to none and to all
    assert horizon.steps(its) == [0, 10]
    found = {
        (first, count): horizon.row(its, first, then, count).name
        for first, then in horizon.ORDERS
        for count in (0, 10)
    }
    assert found == {("videojam", 0): "control", ("videojam", 10): "videojam",
                     ("control", 0): "videojam", ("control", 10): "control"}  # fmt: skip


def test_a_hybrid_is_of_what_its_first_model_is_of(tmp_path):
    def origin(**changes):
        its = setting(tmp_path, prompts="motion64", **changes)
        hybrid = horizon.row(its, "videojam", "control", 5)
        return sampling_stages.row_origin(its, hybrid, 0)

    one = origin()
    assert set(one["runs"]) == {"base", "control"} and one["clean"] is None
    assert set(one["before"]["runs"]) == {"base", "videojam"} and one["before"]["start"] == 0
    assert origin() == one
    assert origin(**{"runs.videojam": "../physics.py:videojam",
                     "runs.control": "../quickstart.py:control"}) != one  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs.control": ""}, "config.runs.control is empty"),
        ({"change.loss.motion_target_when_dropped": "False"}, "motion_target_when_dropped = False"),
    ],
)
def test_runs_that_cannot_take_over_from_each_other_are_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        horizon.stages(setting(tmp_path, **changes))


def test_runs_of_other_sampling_times_are_refused(tmp_path):
    (tmp_path / "other.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tiny_run.ROOT / 'configs')!r})\n"
        "import quickstart\n\n\ndef get_config():\n"
        "    config = quickstart.get_config('control')\n"
        "    config.sample.emulate = 50\n    return config\n"
    )
    with pytest.raises(UserError, match="other sampling times"):
        horizon.stages(setting(tmp_path, **{"runs.control": str(tmp_path / "other.py")}))


def test_the_excess_is_paired_by_clip_and_a_share_of_the_references_mean():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.1, 4, (2, 5, 3))
    np.testing.assert_allclose(
        excess(1.04 * reference, reference).mean((0, 1)), [0.04] * 3, rtol=1e-9
    )
    np.testing.assert_array_equal(excess(reference, reference), 0 * reference)


def around(mean, half):
    return Estimate(mean, mean - half, mean + half, 64)


def test_the_verdict_names_where_lower_where_higher_and_the_largest_excess():
    times = np.array([0.02, 0.1, 0.3, 0.5, 0.9])
    above = [around(-0.1, 0.02), around(-0.05, 0.01), around(0.0, 0.01), around(0.05, 0.01),
             around(0.02, 0.01)]  # fmt: skip
    said = verdict(times, above)
    assert "lower than the control's at t = 0.02 to 0.1, and higher at t = 0.5 to 0.9" in said
    assert "is 5.0 % [4.0, 6.0], at t = 0.5: more than the 3 %" in said


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (0.02, 0.005, "within the 3 % that is asked of a good setting."),
        (0.03, 0.02, "is left open."),
        (-0.02, 0.005, "and higher nowhere"),
    ],
)
def test_the_verdict_says_no_more_than_the_interval_does(mean, half, said):
    assert said in verdict(np.array([0.5]), [around(mean, half)])
