"""The sampler, on equations with a closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.diffusion.guidance import RULES, text_guidance
from videojam_jax.diffusion.path import interpolate
from videojam_jax.diffusion.sampler import (
    SOLVERS,
    initial_noise,
    read_motion,
    sample,
    two_segments,
)
from videojam_jax.diffusion.schedule import linear, linear_quadratic, shifted
from videojam_jax.errors import UserError
from videojam_jax.text import Text

b, n = 2, 3
text = Text(jnp.full((b, n), 2, jnp.int32), jnp.ones((b, n), bool))
null = Text(jnp.array([1, 0, 0]), jnp.array([True, False, False]))


def noise(seed=0, shape=(b, 2, 3, 3, 1)):
    return tuple(jnp.asarray(np.random.default_rng(seed).normal(size=(2, *shape)), jnp.float32))


@functools.partial(jax.jit, static_argnames=("velocity", "solver", "times"))
def follow(velocity, solver, times, x0, d0, text):
    segments = [(len(times) - 1, velocity)]
    return sample(segments, x0, d0, text, np.array(times), SOLVERS[solver])


def at(t, x):
    return t.reshape(t.shape + (1,) * (x.ndim - 1))


def turning(x, d, t, *_):
    """`x' = a d`, `d' = -a x` with `a = 1 + 2 t`: a turn by the angle `t + t^2`."""
    speed = at(1 + 2 * t, x)
    return speed * d, -speed * x


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_solvers_converge_with_their_order(solver, order):
    x0, d0 = noise()
    expected = np.cos(2) * x0 + np.sin(2) * d0, np.cos(2) * d0 - np.sin(2) * x0
    errors = []
    for steps in (10, 20, 40):
        found = follow(turning, solver, tuple(linear(steps)), x0, d0, text)
        errors.append(max(np.abs(f - e).max() for f, e in zip(found, expected)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.2, err_msg=f"errors {errors}")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("times", [linear(1), linear(7), linear_quadratic(6, 50), shifted(5, 3.0)])
def test_a_straight_path_is_followed_exactly_in_any_number_of_steps(solver, times):
    (x0, d0), (x1, d1) = noise(0), noise(1)
    x, d = sample(
        [(len(times) - 1, lambda x, d, t, *_: (x1 - x0, d1 - d0))],
        x0, d0, text, times, SOLVERS[solver],
    )
    np.testing.assert_allclose(x, x1, atol=2e-6)
    np.testing.assert_allclose(d, d1, atol=2e-6)


def gaussian(mean, deviation):
    """The velocity of flow matching for data `x1 ~ N(mean, deviation^2)`.

    `u(x, t) = E[x1 - x0 | x_t = x]
             = mean + (t deviation^2 - (1 - t)) / (t^2 deviation^2 + (1 - t)^2) (x - t mean)`
    Its flow takes `x0` to `mean + deviation x0`.
    """

    def one(x, t):
        t = at(t, x)
        slope = (t * deviation**2 - (1 - t)) / (t**2 * deviation**2 + (1 - t) ** 2)
        return mean + slope * (x - t * mean)

    return one


def gaussian_pair(x, d, t, *_):
    return gaussian(2.0, 0.5)(x, t), gaussian(-1.0, 1.5)(d, t)


@pytest.mark.parametrize(
    ("solver", "times", "tolerance"),
    [
        ("euler", linear(100), 0.06),
        ("midpoint", linear(100), 1e-3),
        ("heun", linear(100), 1e-3),
        ("heun", shifted(100, 3.0), 1e-3),
        ("heun", linear_quadratic(100, 1000), 5e-3),
    ],
)
def test_gaussian_data_is_reached_by_its_affine_map(solver, times, tolerance):
    x0, d0 = noise(2)
    x, d = follow(gaussian_pair, solver, tuple(times), x0, d0, text)
    np.testing.assert_allclose(x, 2.0 + 0.5 * x0, atol=tolerance)
    np.testing.assert_allclose(d, -1.0 + 1.5 * d0, atol=tolerance)


def test_samples_have_the_mean_and_the_variance_of_gaussian_data():
    count = 20_000
    x0, d0 = noise(9, (b, count // b))
    x, d = follow(gaussian_pair, "heun", tuple(linear(40)), x0, d0, text)
    for found, mean, deviation in [(x, 2.0, 0.5), (d, -1.0, 1.5)]:
        bound = 4 * deviation / np.sqrt(count) + 5e-3
        assert abs(found.mean() - mean) < bound, float(found.mean())
        assert abs(found.std() - deviation) < bound, float(found.std())


def test_euler_lands_on_data_of_one_point_from_anywhere_by_any_schedule():
    x0, _ = noise(3)
    point = 7 * noise(4)[0]
    velocity = lambda x, d, t, *_: ((point - x) / at(1 - t, x), None)  # noqa: E731
    for times in (linear(3), linear_quadratic(9, 100), shifted(4, 5.0)):
        x, _ = sample([(len(times) - 1, velocity)], x0, None, text, times)
        np.testing.assert_allclose(x, point, atol=1e-5)


def nonlinear(x, d, t, text, xp=jnp):
    words = at((text.tokens * text.mask).sum(1) / 5.0, x)
    return xp.sin(x + d + words) - at(t, x), xp.cos(d - words * x)


def test_full_videojam_sampling_equals_a_loop_in_numpy():
    steps, early, w1, w2 = 8, 3, 5.0, 3.0
    times = linear_quadratic(steps, 50)
    x0, d0 = noise(5)
    segments = two_segments(
        nonlinear, RULES["videojam"](w1, w2), steps, early, null
    )
    found = jax.jit(functools.partial(sample, segments, times=times))(x0, d0, text)

    x, d = np.asarray(x0, np.float64), np.asarray(d0, np.float64)
    y, none = jax.tree.map(np.asarray, (text, Text(np.tile(null.tokens, (b, 1)), null.mask)))
    for i in range(steps):
        t = np.full(b, times[i])
        full = nonlinear(x, d, t, y, np)
        no_text = nonlinear(x, d, t, none, np)
        still = nonlinear(x, 0 * d, t, y, np)
        w = w2 if i < early else 0.0
        u = [
            (1 + w1 + w) * a - w1 * p - w * q for a, p, q in zip(full, no_text, still)
        ]
        x, d = x + (times[i + 1] - times[i]) * u[0], d + (times[i + 1] - times[i]) * u[1]
    np.testing.assert_allclose(found[0], x, atol=1e-4)
    np.testing.assert_allclose(found[1], d, atol=1e-4)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_early_steps_ask_three_branches_and_late_steps_two_in_one_scan_each(solver, evaluations):
    batches = []

    def counting(x, *rest):
        batches.append(len(x))
        return nonlinear(x, *rest)

    segments = two_segments(counting, RULES["videojam"](5.0, 3.0), 100, 50, null)
    program = jax.make_jaxpr(
        lambda x0, d0: sample(
            segments, x0, d0, text, linear_quadratic(100), SOLVERS[solver]
        )
    )(*noise())

    scans = [op.params["length"] for op in program.eqns if op.primitive.name == "scan"]
    assert scans == [50, 50]
    assert batches == evaluations * [3 * b] + evaluations * [2 * b]


def test_a_base_model_asks_two_branches_everywhere_in_one_scan():
    batches = []

    def base(x, d, t, *rest):
        batches.append((len(x), d))
        return jnp.sin(x), None

    segments = two_segments(base, RULES["dit"](5.0, 3.0), 10, 5, null)
    x, d = sample(segments, noise()[0], None, text, linear(10))
    assert [count for count, _ in segments] == [10]
    assert batches == [(2 * b, None)] and d is None and x.shape == noise()[0].shape


def test_joining_segments_does_not_change_the_path():
    x0, d0 = noise(6)
    whole = sample([(6, nonlinear)], x0, d0, text, linear(6))
    parts = sample([(1, nonlinear), (5, nonlinear)], x0, d0, text, linear(6))
    for one, other in zip(whole, parts):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_sampling_goes_on_from_a_noised_clip_at_a_middle_time():
    (x1, d1), (x0, d0) = noise(7), noise(8)
    times = linear(10)[4:]
    start = jnp.full(b, times[0])
    straight = lambda x, d, t, *_: (x1 - x0, d1 - d0)  # noqa: E731
    x, d = sample(
        [(6, straight)], interpolate(x1, x0, start), interpolate(d1, d0, start),
        text, times,
    )
    np.testing.assert_allclose(x, x1, atol=2e-6)
    np.testing.assert_allclose(d, d1, atol=2e-6)


def test_motion_that_the_video_tells_is_read_to_its_point_on_the_path():
    (x1, _), (x0, d0) = noise(7), noise(8)
    t, sigma_min, seen = jnp.linspace(0.1, 0.9, b), 0.1, []

    def knows(x_t, d_t, t, text):
        seen.append(d_t)
        clean = (x_t - at(1 - (1 - sigma_min) * t, x_t) * x0) / at(t, x_t)
        return None, -2 * clean  # of a motion that is always -2 times the video

    d_t = read_motion(knows, interpolate(x1, x0, t, sigma_min), t, text, d0, sigma_min)
    np.testing.assert_allclose(d_t, interpolate(-2 * x1, d0, t, sigma_min), atol=1e-4)
    assert len(seen) == 1 and not seen[0].any()


def test_state_stays_float32_for_a_half_precision_model():
    x0, d0 = noise()
    half = lambda x, d, t, *_: (x.astype(jnp.bfloat16), d.astype(jnp.bfloat16))  # noqa: E731
    x, d = sample([(2, half)], x0.astype(jnp.bfloat16), d0, text, linear(2))
    assert x.dtype == d.dtype == jnp.float32


def test_sampling_makes_no_hidden_transfer():
    segments = two_segments(nonlinear, RULES["videojam"](5.0, 3.0), 4, 2, null)
    run = jax.jit(functools.partial(sample, segments, times=linear(4)))
    given = jax.device_put((*noise(), text))
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(run(*given))


def test_segments_that_do_not_fill_the_schedule_are_refused():
    with pytest.raises(UserError, match="5 sampling steps.*8"):
        sample([(5, nonlinear)], *noise(), text, linear(8))


@pytest.mark.parametrize("early", [-1, 11])
def test_early_steps_outside_the_schedule_are_refused(early):
    rule = text_guidance(5.0), text_guidance(5.0)
    with pytest.raises(UserError, match=f"{early} early steps of 10"):
        two_segments(nonlinear, rule, 10, early, null)


def test_noise_of_a_clip_depends_on_its_number_alone():
    draw = jax.jit(initial_noise, static_argnames=("latent_shape", "motion"))
    key, shape = jax.random.key(0), (4, 3, 3, 2)
    x0, d0 = draw(key, jnp.arange(5), shape)
    rows = np.array([3, 1, 4, 4, 0])
    other_x, other_d = draw(key, jnp.asarray(rows), shape)
    np.testing.assert_array_equal(other_x, x0[rows])
    np.testing.assert_array_equal(other_d, d0[rows])
    base_x, none = draw(key, jnp.array([2]), shape, motion=False)
    np.testing.assert_array_equal(base_x, x0[2:3])
    assert none is None


def test_noise_is_standard_normal_and_differs_between_clips_and_halves():
    draw = jax.jit(initial_noise, static_argnames="latent_shape")
    x0, d0 = draw(jax.random.key(1), jnp.arange(4), (16, 8, 8, 4))
    parts = np.concatenate([x0, d0]).reshape(8, -1)
    bound = 4 / np.sqrt(parts.shape[1])
    np.testing.assert_allclose(parts.mean(1), 0, atol=bound)
    np.testing.assert_allclose(np.corrcoef(parts), np.eye(8), atol=bound)
    np.testing.assert_allclose(parts.var(1), 1, atol=2 * bound)
