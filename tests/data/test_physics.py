"""The laws of motion against their closed forms and conserved quantities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videojam_jax.data import physics

TIMES = np.arange(40, dtype=np.float64)

number = st.floats(-5, 5, allow_nan=False)
mass = st.floats(0.1, 50)


def test_free_flight_has_the_gravity_as_its_second_difference():
    start, velocity = np.array([3.0, -2.0]), np.array([0.7, -1.5])
    position, speed = physics.flight(start, velocity, 0.31, TIMES)
    second = np.diff(position, 2, axis=0)
    np.testing.assert_allclose(second, np.broadcast_to([0.0, 0.31], second.shape), atol=1e-10)
    np.testing.assert_allclose(np.diff(speed, axis=0), second[:1].repeat(39, 0), atol=1e-10)
    np.testing.assert_array_equal(position[0], start)


def test_bouncing_body_keeps_its_energy_between_contacts_and_loses_it_at_them():
    gravity, restitution, height = 0.4, 0.8, 20.0
    times = np.linspace(0, 40, 4001)
    heights, speeds = physics.bouncing(height, 0.0, gravity, restitution, times)
    assert heights.min() >= -1e-9
    energy = gravity * heights + 0.5 * speeds**2
    levels = gravity * height * restitution ** (2 * np.arange(6))
    hop = np.argmin(np.abs(energy[:, None] - levels), axis=1)
    np.testing.assert_allclose(energy, levels[hop], rtol=1e-9)
    assert (np.diff(hop) >= 0).all() and hop[-1] >= 2


def test_bouncing_body_first_lands_when_free_fall_says():
    landing = math.sqrt(2 * 10 / 0.4)
    around = np.array([landing - 1e-6, landing + 1e-6])
    _, speeds = physics.bouncing(10.0, 0.0, 0.4, 0.5, around)
    np.testing.assert_allclose(speeds, [-0.4 * landing, 0.2 * landing], rtol=1e-5)


def test_bouncing_body_comes_to_rest():
    heights, speeds = physics.bouncing(10.0, 0.0, 1.0, 0.5, TIMES)
    assert heights[-1] == 0 and speeds[-1] == 0


@given(mass, mass, st.tuples(number, number, number, number), st.floats(0, 6.3), st.floats(0, 1))
def test_collision_conserves_momentum_and_turns_the_closing_speed(m1, m2, v, heading, restitution):
    first, second = np.array(v[:2]), np.array(v[2:])
    normal = np.array([math.cos(heading), math.sin(heading)])
    new_first, new_second = physics.collision((m1, m2), first, second, normal, restitution)
    np.testing.assert_allclose(
        m1 * new_first + m2 * new_second, m1 * first + m2 * second, atol=1e-9
    )
    closing = np.dot(first - second, normal)
    assert np.dot(new_first - new_second, normal) == pytest.approx(-restitution * closing, abs=1e-9)


@given(mass, mass, st.tuples(number, number, number, number), st.floats(0, 6.3))
def test_elastic_collision_conserves_kinetic_energy(m1, m2, v, heading):
    first, second = np.array(v[:2]), np.array(v[2:])
    normal = np.array([math.cos(heading), math.sin(heading)])
    new_first, new_second = physics.collision((m1, m2), first, second, normal, 1.0)
    before = m1 * (first @ first) + m2 * (second @ second)
    after = m1 * (new_first @ new_first) + m2 * (new_second @ new_second)
    assert after == pytest.approx(before, abs=1e-8)


def test_wall_turns_the_speed_towards_it_and_keeps_the_rest():
    after, wall = physics.collision(
        (2.0, math.inf), np.array([3.0, 1.0]), np.zeros(2), np.array([1.0, 0.0]), 1.0
    )
    np.testing.assert_allclose(after, [-3.0, 1.0])
    np.testing.assert_allclose(wall, 0)


def test_rolling_body_touches_the_ground_without_slipping():
    way, speed, angle = physics.rolling(0.5, 0.1, 4.0, TIMES)
    np.testing.assert_allclose(angle * 4.0, way)
    np.testing.assert_allclose(np.diff(speed), 0.1)
    np.testing.assert_allclose(np.diff(way, 2), 0.1)


def test_disc_rolls_down_with_two_thirds_of_the_frictionless_acceleration():
    slope = math.radians(10)
    free = 0.3 * math.sin(slope)
    assert physics.rolling_acceleration(0.3, slope, 0.5) == pytest.approx(2 / 3 * free)
    assert physics.rolling_acceleration(0.3, slope, 1.0) == pytest.approx(1 / 2 * free)


def test_pendulum_keeps_its_energy():
    gravity, length = 0.5, 18.0  # a period of 38 frames
    angles, rates = physics.pendulum(1.0, 0.05, gravity, length, np.arange(400.0))
    energy = 0.5 * rates**2 - gravity / length * np.cos(angles)
    swing = energy[0] + gravity / length
    np.testing.assert_allclose(energy, energy[0], atol=1e-5 * swing)


def test_pendulum_of_small_swing_has_the_period_of_the_small_angle_law():
    gravity, length = 0.5, 18.0
    angles, rates = physics.pendulum(0.01, 0.0, gravity, length, TIMES)
    rate = math.sqrt(gravity / length)
    np.testing.assert_allclose(angles, 0.01 * np.cos(rate * TIMES), atol=1e-6)
    np.testing.assert_allclose(rates, -0.01 * rate * np.sin(rate * TIMES), atol=1e-6)
