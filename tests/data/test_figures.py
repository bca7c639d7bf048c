"""Poses of a figure, and the tip that carries it."""

import math

import numpy as np
import pytest

from videojam_jax.data import figures

PHASE = np.linspace(0, 4 * math.pi, 321)  # two whole turns
GAITS = {
    "walk": {"swing": 0.42, "knee": 0.6, "arms": 0.4, "lean": 0.04},
    "jog": {"swing": 0.50, "knee": 1.5, "arms": 0.75, "lean": 0.22},
}


def test_figure_that_stands_is_as_high_as_it_says():
    still = np.zeros(1)
    pose = figures.Pose(still, (still, still), (still, still), (still, still))
    tops = [
        joint[0, 1] - limb.thickness
        for limb, (joint, _) in zip(figures.LIMBS, figures.limb_places(pose), strict=True)
    ]
    feet = figures.tips(pose)[2:, 0, 1]
    assert feet.max() - min(tops) == pytest.approx(figures.HEIGHT)
    assert figures.HEIGHT == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("gait", GAITS)
def test_legs_and_arms_are_half_a_turn_apart(gait):
    pose = figures.gait(PHASE, **GAITS[gait])
    half = 80  # of 160 samples a turn
    for near, far in (pose.thighs, pose.shins, pose.arms):
        np.testing.assert_allclose(far[:-half], near[half:], atol=1e-12)
    # Each arm goes with the other leg.
    np.testing.assert_array_less(pose.arms[0] * pose.thighs[0], 1e-12)


@pytest.mark.parametrize("gait", GAITS)
def test_knees_bend_one_way_and_only_of_the_leg_that_goes_forwards(gait):
    pose = figures.gait(PHASE, **GAITS[gait])
    for thigh, shin in zip(pose.thighs, pose.shins, strict=True):
        bent = thigh - shin
        assert bent.min() >= 0 and bent.max() == pytest.approx(GAITS[gait]["knee"], rel=1e-3)
        backwards = np.gradient(thigh) < -1e-4
        assert np.abs(bent[backwards]).max() < 1e-3


def test_carrying_tip_does_not_slip_and_the_hips_go_forwards():
    pose = figures.gait(PHASE, **GAITS["walk"])
    feet = figures.tips(pose)[2:]
    standing = np.where(np.cos(PHASE) < 0, 0, 1)
    hips = figures.planted(feet, standing)
    world = hips + feet
    at = np.arange(len(PHASE) - 1)
    for end in (at, at + 1):
        np.testing.assert_allclose(world[standing[:-1], end, 1], 0, atol=1e-2)
    slip = world[standing[:-1], at + 1, 0] - world[standing[:-1], at, 0]
    np.testing.assert_allclose(slip, 0, atol=1e-12)
    assert (np.diff(hips[:, 0]) > -1e-9).all() and hips[-1, 0] > 1


def test_lowest_tip_carries_where_none_is_named():
    reach = figures.tips(figures.cartwheel(np.linspace(0, 2 * math.pi, 200)))
    hips = figures.planted(reach)
    heights = (hips + reach)[..., 1]
    np.testing.assert_allclose(heights.max(0), 0, atol=1e-12)
    carries = heights.argmax(0)
    assert set(carries.tolist()) == {0, 1, 2, 3}, "hands and feet take turns"


def test_pairs_are_the_two_sides_and_joined_limbs_hang_together():
    for far, near in figures.PAIRS:
        assert figures.LIMBS[far].length == figures.LIMBS[near].length
        assert figures.LIMBS[far].shade == figures.FAR
        assert figures.LIMBS[near].shade == figures.NEAR
    places = figures.limb_places(figures.gait(PHASE, **GAITS["jog"]))
    for upper, lower in figures.JOINED:
        joint, angle = places[upper]
        way = np.stack([np.sin(angle), np.cos(angle)], -1)
        np.testing.assert_allclose(
            places[lower][0], joint + figures.LIMBS[upper].length * way, atol=1e-12
        )
