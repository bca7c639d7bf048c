"""The schedules, against their closed forms and for many numbers of steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojam_jax.diffusion.schedule import linear, linear_quadratic, shifted
from videojam_jax.errors import UserError

steps_and_emulated = st.integers(1, 300).flatmap(
    lambda steps: st.tuples(st.just(steps), st.integers(steps, 5000))
)


def linear_quadratic_by_its_coefficients(S, N):
    """The published coefficients, for an even number of steps."""
    L = S // 2
    tau = L / N
    delta = L - tau * S
    a = delta / (L * (S - L) ** 2)
    b = tau / L - 2 * delta / (S - L) ** 2
    c = a * L**2
    return [i * tau / L if i < L else a * i**2 + b * i + c for i in range(S + 1)]


@pytest.mark.parametrize(("steps", "emulate"), [(2, 10), (7, 20), (50, 250), (100, 1000)])
def test_linear_quadratic_equals_its_published_coefficients(steps, emulate):
    np.testing.assert_allclose(
        linear_quadratic(steps, emulate),
        linear_quadratic_by_its_coefficients(steps, emulate),
        rtol=0,
        atol=1e-13,
    )


@settings(deadline=None)
@given(steps_and_emulated)
def test_every_schedule_rises_from_zero_to_one(numbers):
    steps, emulate = numbers
    for times in (linear(steps), linear_quadratic(steps, emulate), shifted(steps, emulate / 50)):
        assert times.shape == (steps + 1,)
        assert times[0] == 0 and times[-1] == 1
        # As float32 too, in which the sampler walks.
        assert np.all(np.diff(times.astype(np.float32)) > 0)


@settings(deadline=None)
@given(steps_and_emulated)
def test_first_half_of_linear_quadratic_is_the_start_of_the_emulated_schedule(numbers):
    steps, emulate = numbers
    half = steps // 2
    np.testing.assert_allclose(
        linear_quadratic(steps, emulate)[: half + 1],
        linear(emulate)[: half + 1],
        rtol=0,
        atol=1e-15,
    )


@settings(deadline=None)
@given(steps_and_emulated)
def test_second_half_of_linear_quadratic_is_one_parabola_that_leaves_with_the_lines_slope(numbers):
    steps, emulate = numbers
    half = steps // 2
    i = np.arange(half, steps + 1)
    times = linear_quadratic(steps, emulate)[half:]
    # Equal second differences, of the size that the end at 1 asks for.
    curvature = (1 - steps / emulate) / (steps - half) ** 2
    np.testing.assert_allclose(np.diff(times, 2), 2 * curvature, rtol=0, atol=1e-12)
    # A parabola's first difference is its slope half a step on.
    slope = times[1] - times[0] - curvature
    np.testing.assert_allclose(slope, 1 / emulate, rtol=0, atol=1e-12)
    assert len(i) == len(times)


@pytest.mark.parametrize("steps", [1, 2, 9, 64])
def test_linear_quadratic_that_emulates_its_own_steps_is_linear(steps):
    np.testing.assert_allclose(linear_quadratic(steps, steps), linear(steps), atol=1e-15)


@pytest.mark.parametrize("shift", [0.3, 1.0, 3.0, 17.0])
def test_shifted_noise_levels_follow_the_published_formula(shift):
    noise = 1 - linear(40)
    expected = shift * noise / (1 + (shift - 1) * noise)
    np.testing.assert_allclose(1 - shifted(40, shift), expected, rtol=0, atol=1e-14)


def test_shifts_compose_and_undo_each_other():
    # Shifting by a, read as the r of a shift by b, is a shift by a b.
    once = shifted(30, 6.0)
    r = shifted(30, 2.0)
    np.testing.assert_allclose(r / (r + 3.0 * (1 - r)), once, atol=1e-14)
    np.testing.assert_allclose(1 - shifted(30, 0.5)[::-1], shifted(30, 2.0), atol=1e-14)
    np.testing.assert_allclose(shifted(30, 1.0), linear(30), atol=1e-15)


@pytest.mark.parametrize("steps", [0, -3])
@pytest.mark.parametrize("schedule", [linear, linear_quadratic, lambda s: shifted(s, 2.0)])
def test_a_schedule_without_steps_is_refused(schedule, steps):
    with pytest.raises(UserError, match=f"{steps} steps"):
        schedule(steps)


def test_emulating_fewer_steps_than_are_taken_is_refused():
    with pytest.raises(UserError, match="100 steps.*99"):
        linear_quadratic(100, emulate=99)


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan")])
def test_a_shift_that_is_not_positive_is_refused(shift):
    with pytest.raises(UserError, match="must be > 0"):
        shifted(4, shift)
