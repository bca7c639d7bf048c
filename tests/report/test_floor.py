"""What a report says of a loss beside its linear floor."""

import re
import xml.etree.ElementTree

import numpy as np
import pytest

from videojam_jax.report import curves
from videojam_jax.report.curves import LoggedRun
from videojam_jax.report.floor import against_floors


def logged(name, end, floor, half="motion", steps=100):
    """A run whose loss falls from 2 to `end` in its first half, with noise."""
    rng = np.random.default_rng(0)
    fall = end + (2.0 - end) * np.clip(1 - 2 * np.arange(steps) / steps, 0, None)
    losses = fall * (1 + 0.03 * rng.normal(size=steps))
    rows = [{"step": step, f"{half}_loss": float(loss)} for step, loss in enumerate(losses)]
    if floor is not None:
        rows = [row | {f"{half}_floor": floor} for row in rows]
    return LoggedRun(name, rows)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (1.2, "VideoJAM has learned nothing of the motion half: .* above the linear floor of 1."),
        (0.6, r"VideoJAM: the motion loss ended at 0\.\d+, (39|40|41) % below its .* floor of 1\."),
        (1.01, "VideoJAM: .* too near its linear floor of 1 to say that anything .* was learned"),
    ],
)
def test_a_run_is_told_above_below_or_too_near(end, said):
    (sentence,) = against_floors([logged("VideoJAM", end, 1.0)])
    assert re.match(said, sentence), sentence


def test_one_low_value_at_the_end_is_not_the_end():
    run = logged("VideoJAM", 1.3, 1.0)
    run.rows[-1]["motion_loss"] = 0.2
    assert not any("below" in sentence for sentence in against_floors([run]))


def test_a_short_run_whose_rows_differ_much_is_not_judged():
    rows = [{"step": i, "motion_loss": loss, "motion_floor": 1.0} for i, loss in enumerate([2, 1])]
    assert "too near" in against_floors([LoggedRun("VideoJAM", rows)])[0]
    assert against_floors([LoggedRun("VideoJAM", rows[:1])]) == []


def test_runs_from_before_there_were_floors_are_drawn_and_not_judged():
    old = logged("old", 0.6, None)
    assert against_floors([old]) == []
    (figure,) = curves.draw([old])
    assert "linear floor" not in figure.svg and figure.caption == ""


def test_runs_of_the_same_floor_share_one_line_and_others_have_their_own():
    runs = [logged("base", 0.6, 1.0), logged("VideoJAM", 0.7, 1.0001), logged("old", 0.6, None)]
    (figure,) = curves.draw(runs)
    xml.etree.ElementTree.fromstring(figure.svg)
    assert figure.svg.count(">linear floor<") == 1 and "linear floor" in figure.caption
    (figure,) = curves.draw([*runs, logged("far", 0.6, 1.5)])
    assert ">linear floor, base<" in figure.svg and ">linear floor, far<" in figure.svg
    assert "linear floor, VideoJAM" not in figure.svg


def test_a_floor_above_all_losses_is_within_the_panel():
    (low, high) = curves._limits([np.array([0.1, 0.2])], [np.array([0.1, 0.2]), np.array([0.9])])
    assert low < 0.1 and high > 0.9
