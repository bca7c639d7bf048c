"""Laws: a way that obeys one is fitted exactly, and one that does not is not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.data import physics
from videojam_jax.measure import laws
from videojam_jax.measure.laws import Way

FRAMES = 16
TIMES = np.arange(FRAMES, dtype=float)
# The last grids still have steps: hundredths of a pixel of 64.
CLOSE = 0.06
few = settings(max_examples=25)


def number(low: float, high: float):
    return st.floats(low, high, allow_subnormal=False)


def way(places: np.ndarray, weight: np.ndarray | None = None) -> Way:
    return Way(places, np.ones(len(places)) if weight is None else weight)


point = st.tuples(number(-20, 80), number(-20, 80)).map(np.array)
velocity = st.tuples(number(-3, 3), number(-3, 3)).map(np.array)


@few
@given(start=point, speed=velocity)
def test_constant_velocity_is_fitted(start, speed):
    assert laws.straight(way(start + TIMES[:, None] * speed)).error < 1e-4


@few
@given(start=point, speed=velocity, gravity=number(0, 1))
def test_free_flight_is_fitted(start, speed, gravity):
    places, _ = physics.flight(start, speed, gravity, TIMES)
    assert laws.falling(way(places)).error < 1e-4


def test_gravity_that_pulls_upwards_is_not_fitted():
    places, _ = physics.flight(np.array([5.0, 60.0]), np.array([1.0, 0.0]), -0.5, TIMES)
    assert laws.falling(way(places)).error > 3


@few
@given(
    landing=number(4, 9),
    height=number(15, 40),
    up=number(-0.3, 0.3),
    restitution=number(0.4, 1),
    across=number(-2, 2),
    pan=st.sampled_from([0.0, 0.7, -0.9]),
)
def test_bounce_is_fitted(landing, height, up, restitution, across, pan):
    gravity = 2 * height / landing**2
    heights, _ = physics.bouncing(
        height, up * math.sqrt(2 * gravity * height), gravity, restitution, TIMES
    )
    places = np.stack([10 + across * TIMES, 55 - heights + pan * TIMES], -1)
    # Early bounces constrain each other so much that the grids end beside the best of them.
    assert laws.bouncing(way(places), (0, int(np.sign(pan)))).error < 0.3


@few
@given(landing=number(5, 7), height=number(20, 40), restitution=number(0.5, 0.85))
def test_bounce_tells_its_restitution_and_backwards_the_inverse(landing, height, restitution):
    gravity = 2 * height / landing**2
    heights, _ = physics.bouncing(height, 0.0, gravity, restitution, TIMES)
    # One contact in the clip, so that backwards there is one too.
    until = math.floor(landing * (1 + 2 * restitution))
    places = np.stack([TIMES, 55 - heights], -1)[: min(until, FRAMES)]
    forwards, backwards = laws.bouncing(way(places)), laws.bouncing(way(places[::-1]))
    assert forwards.gain == pytest.approx(restitution, abs=0.03)
    assert backwards.gain > 1.1
    assert backwards.error > 2 * forwards.error


@few
@given(
    slope=number(0, 40), start=point, speed=number(0.2, 3), pull=number(0, 0.4),
    direction=st.sampled_from((-1, 1)), pan=st.sampled_from(((0, 0), (1, 0), (0, -1))),
)  # fmt: skip
def test_rolling_down_a_slope_is_fitted(slope, start, speed, pull, direction, pan):
    gone, _, _ = physics.rolling(speed, pull, 1.0, TIMES)
    along = np.array([direction * math.cos(math.radians(slope)), math.sin(math.radians(slope))])
    places = start + gone[:, None] * along + 0.6 * TIMES[:, None] * np.array(pan)
    assert laws.rolling(way(places), direction, True, pan).error < CLOSE


def test_rolling_on_level_ground_does_not_speed_up_or_sink():
    level = np.stack([5 + 3 * TIMES, np.full(FRAMES, 40.0)], -1)
    assert laws.rolling(way(level), 1, False).error < 1e-4
    faster = np.stack([5 + 0.2 * TIMES**2, np.full(FRAMES, 40.0)], -1)
    sinking = np.stack([5 + 3 * TIMES, 30 + TIMES], -1)
    assert laws.rolling(way(faster), 1, False).error > 2
    assert laws.rolling(way(sinking), 1, False).error > 2


@few
@given(
    swing=number(20, 55), phase=number(0, 1), period=number(1.6, 2.6), rod=number(30, 50),
    pan=st.sampled_from((0.0, 0.8)),
)  # fmt: skip
def test_pendulum_is_fitted(swing, phase, period, rod, pan):
    """The oracle is the simulation's integrator, the fit is the closed form."""
    gravity = rod * (2 * math.pi / (period * 15)) ** 2
    lead = np.append(0.0, 2 * period * 15 * phase + TIMES)
    angles, _ = physics.pendulum(math.radians(swing), 0.0, gravity, rod, lead, substeps=40)
    angle = angles[1:]
    places = np.array([32, -2]) + rod * np.stack([np.sin(angle), np.cos(angle)], -1)
    places = places + pan * TIMES[:, None] * np.array([1.0, 0.0])
    assert laws.swinging(way(places), (1, 0) if pan else (0, 0)).error < 0.15


def test_closed_form_of_the_pendulum_is_what_is_integrated():
    amplitude, gravity, rod = math.radians(70), 1.3, 40.0
    angles, _ = physics.pendulum(amplitude, 0.0, gravity, rod, TIMES, substeps=40)
    period = 4 * laws.ellipk(math.sin(amplitude / 2) ** 2) * math.sqrt(rod / gravity)
    closed = laws.pendulum_angles(
        np.array([amplitude]), np.array([period]), np.array([0.25]), TIMES
    )  # at a quarter of its period it is farthest out
    np.testing.assert_allclose(closed[0], angles, atol=1e-6)


def test_pendulum_does_not_hang_upside_down():
    angle = np.radians(40) * np.sin(2 * np.pi * TIMES / 30)
    over = np.array([32, 60]) + 40 * np.stack([np.sin(angle), -np.cos(angle)], -1)
    assert laws.swinging(way(over)).error > 1


@few
@given(first=st.tuples(point, velocity, velocity), second=st.tuples(point, velocity, velocity),
       meeting=number(3, 12))  # fmt: skip
def test_collision_is_fitted(first, second, meeting):
    t = (TIMES - meeting)[:, None]
    ways = [way(p + np.minimum(t, 0) * v + np.maximum(t, 0) * w) for p, v, w in (first, second)]
    for fit in laws.colliding(ways):
        assert fit.error < CLOSE


def test_frame_without_weight_does_not_count():
    places = np.stack([3 * TIMES, 2 * TIMES], -1)
    places[5] = (90, -40)
    weight = np.ones(FRAMES)
    weight[5] = 0
    assert laws.straight(way(places, weight)).error < 1e-4
    assert laws.straight(way(places)).error > 5


@pytest.mark.parametrize("fit", [laws.falling, laws.bouncing, laws.swinging, laws.straight])
def test_noise_obeys_no_law(fit):
    places = np.random.default_rng(0).uniform(0, 64, (FRAMES, 2))
    assert fit(way(places)).error > 8


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("kind", ["fall", "bounce", "roll", "swing", "collide", "spin"])
def test_clip_of_hardly_any_frame_has_a_fit(kind, frames):
    prompt = laws.Prompt(kind, (("red", "disc"),), 1, True, (0, 1))
    for fit in laws.fit_law(prompt, [way(np.random.default_rng(0).normal(0, 9, (frames, 2)))]):
        assert np.isfinite(fit.error) and np.isfinite(fit.path).all()


def bobbing(speed: float, steps: float, bob: float) -> np.ndarray:
    """A middle that goes along and bobs, `steps` times in the clip."""
    angle = 2 * math.pi * steps * TIMES / (FRAMES - 1) + 0.4
    x = 5 + speed * TIMES + bob * np.sin(angle)
    return np.stack([x, 30 + bob * np.cos(angle) - 0.3 * bob * np.cos(2 * angle)], -1)


@few
@given(speed=number(1, 3), steps=number(1.6, 2.6), bob=number(0, 1.2))
def test_figure_that_goes_and_bobs_is_fitted(speed, steps, bob):
    assert laws.going(way(bobbing(speed, steps, bob)), laws.STEPS).error < CLOSE


def test_figure_may_not_bob_more_than_a_quarter_of_its_step():
    assert laws.going(way(bobbing(2.0, 2.0, 12.0)), laws.STEPS).error > 3
    assert laws.going(way(bobbing(0.0, 2.0, 4.0)), laws.STEPS).error > 2


@few
@given(
    off=number(2.5, 4.5), landing=number(11, 13), high=number(5, 20), dip=number(0, 2),
    along=number(-10, 10),
)  # fmt: skip
def test_jump_is_fitted(off, landing, high, dip, along):
    air = np.clip((TIMES - off) / (landing - off), 0, 1)
    squat = np.sin(np.pi * np.clip(TIMES / off, 0, 1))
    squat = squat + np.sin(np.pi * np.clip((TIMES - landing) / 3, 0, 1))
    places = np.stack([10 + along * air, 30 + dip * squat - 4 * high * air * (1 - air)], -1)
    fit = laws.leaping(way(places))
    assert fit.error < 0.15
    assert laws.leaping(way(places[np.random.default_rng(0).permutation(FRAMES)])).error > 1


def test_figure_that_falls_upwards_does_not_jump():
    air = np.clip((TIMES - 3) / 9, 0, 1)
    places = np.stack([10 + TIMES, 10 + 60 * air * (1 - air)], -1)
    assert laws.leaping(way(places)).error > 3


@few
@given(start=point, speed=velocity)
def test_axle_stands_and_moves_with_the_pan_alone(start, speed):
    assert laws.standing(way(np.tile(start, (FRAMES, 1)))).error < 1e-4
    places = start + TIMES[:, None] * speed * [0, 1]
    assert laws.standing(way(places), (0, 1)).error < 1e-4
    assert laws.standing(way(places)).error == pytest.approx(np.std(places[:, 1]), abs=1e-3)
