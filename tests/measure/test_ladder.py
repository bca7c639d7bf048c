"""Measures are near their ideal on real clips of bodies, and worsen step by step on wrong ones."""

import functools

import numpy as np
import pytest

from videojam_jax.data.scenes import OF_BODIES
from videojam_jax.data.simulate import Options, simulate
from videojam_jax.measure.corruptions import CORRUPTIONS
from videojam_jax.measure.physics import PHYSICS_MEASURES, physics_measures

SEED = 0
TRUE_CLIPS, CLIPS_A_KIND = 30, 2
SIZE = {"frames": 12, "height": 48, "width": 48}  # of the clips that are made wrong
SMALL = Options(
    frames=6, height=16, width=16, kinds=("fall", "bounce", "roll", "collide"),
    shapes=("disc", "square"), bodies=(1, 1), pan=0.0, texture=0.0,
)  # fmt: skip
STEPS = (0.0, 0.3, 1.0)
MARGIN = 0.01  # by which the mean worsens at each step of what is seen
BLIND = 0.03  # by which it may worsen at most where it is blind

# What each measure sees, and what it is blind to; beside them, what changes it in part: a
# strong deform hides bodies from the tracker and shakes their places, a shuffle and a jump
# move what a caption says.
SEES = {
    "permanence": {"vanish"},
    "size_constancy": {"vanish", "deform"},
    "shape_constancy": {"vanish", "deform"},
    "moves": {"vanish", "freeze"},
    "trajectory_error": {"shuffle", "jitter", "vanish", "teleport", "freeze"},
    "velocity_jumps": {"shuffle", "jitter", "vanish", "teleport", "freeze"},
    "contact_error": {"shuffle", "jitter", "vanish", "teleport", "freeze", "reverse"},
    "prompt_agreement": {"shuffle", "freeze", "reverse"},
}
IS_BLIND_TO = {
    "permanence": {"shuffle", "jitter", "teleport", "freeze", "reverse"},
    "size_constancy": {"shuffle", "jitter", "teleport", "freeze", "reverse"},
    "shape_constancy": {"shuffle", "jitter", "teleport", "freeze", "reverse"},
    "moves": {"shuffle", "jitter", "teleport", "reverse"},
    "trajectory_error": {"reverse"},
    "velocity_jumps": {"reverse"},
    "contact_error": set(),
    "prompt_agreement": {"jitter"},
}
# Seen, but alike at every strength.
NOT_HOW_MUCH = {("contact_error", "shuffle")}


@functools.cache
def measured(name: str, strength: float) -> dict[str, float]:
    """Means over a few clips of every kind, made wrong."""
    rows = []
    for kind in OF_BODIES:
        options = Options(kinds=(kind,), **SIZE)
        for index in range(CLIPS_A_KIND):
            caption = simulate(index, options, SEED).caption
            video = CORRUPTIONS[name](index, options, SEED, strength)
            rows.append(physics_measures(video, caption))
    return means(rows)


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of the clips that have the number; none has a contact where no caption tells of one."""
    columns = {key: [row[key] for row in rows if row[key] == row[key]] for key in PHYSICS_MEASURES}
    return {key: float(np.mean(column)) for key, column in columns.items() if column}


def ladder(key: str, name: str) -> list[float]:
    """The measure at each step, turned so that less is worse."""
    steps = [0.0, 1.0] if name == "reverse" or (key, name) in NOT_HOW_MUCH else STEPS
    # No corruption at strength 0 changes anything, so that one clip stands for all.
    values = [measured(name if step else "shuffle", step)[key] for step in steps]
    return [PHYSICS_MEASURES[key].better * value for value in values]


@pytest.mark.parametrize("options", [Options(), SMALL], ids=["default", "small"])
def test_real_clips_are_within_2_percent_of_the_ideal_of_every_measure(options):
    clips = [simulate(index, options, SEED) for index in range(TRUE_CLIPS)]
    rows = [physics_measures(clip.video, clip.caption) for clip in clips]
    for key, mean in means(rows).items():
        assert mean == pytest.approx(PHYSICS_MEASURES[key].ideal, abs=0.02), key


@pytest.mark.parametrize("key, name", [(k, n) for k, names in SEES.items() for n in sorted(names)])
def test_measure_worsens_with_what_it_sees(key, name):
    steps = ladder(key, name)
    assert all(worse <= value - MARGIN for value, worse in zip(steps, steps[1:])), steps


@pytest.mark.parametrize(
    "key, name", [(k, n) for k, names in IS_BLIND_TO.items() for n in sorted(names)]
)
def test_measure_stays_as_it_is_with_what_it_is_blind_to(key, name):
    steps = ladder(key, name)
    assert min(steps) >= steps[0] - BLIND, steps


def test_every_corruption_is_seen():
    assert set().union(*SEES.values()) == set(CORRUPTIONS)


def reversed_clips(kind: str) -> tuple[dict[str, float], dict[str, float]]:
    """Means of clips of one kind as they are, and with time reversed."""
    options = Options(kinds=(kind,), bodies=(1, 2), pan=0.0)
    clips = [simulate(index, options, SEED) for index in range(8)]
    forwards = [physics_measures(clip.video, clip.caption) for clip in clips]
    backwards = [physics_measures(clip.video[::-1].copy(), clip.caption) for clip in clips]
    return means(forwards), means(backwards)


def test_bounce_backwards_gains_energy_and_is_off_its_law():
    forwards, backwards = reversed_clips("bounce")
    assert forwards["contact_error"] < 0.02 and backwards["contact_error"] > 0.2
    assert backwards["trajectory_error"] > 2 * forwards["trajectory_error"]


@pytest.mark.parametrize("kind", ["fall", "roll"])
def test_falling_and_rolling_backwards_is_not_what_the_caption_says(kind):
    forwards, backwards = (means["prompt_agreement"] for means in reversed_clips(kind))
    assert forwards > 0.95 and backwards < forwards - 0.15, (forwards, backwards)
