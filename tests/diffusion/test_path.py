"""The path, against NumPy and against its own derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from videojam_jax.diffusion.path import (
    interpolate,
    sample_time,
    target_velocity,
    time_quadrature,
)
from videojam_jax.errors import UserError


def latents(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 4, 3, 2, 2, 5)).astype(np.float32)


@pytest.mark.parametrize("sigma_min", [0.0, 1e-5, 0.1])
def test_path_and_velocity_equal_their_numpy_form(sigma_min):
    x1, x0 = latents(0)
    t = np.array([0.0, 0.3, 0.7, 1.0], np.float32)
    s = t[:, None, None, None, None]
    expected = s * x1 + x0 - s * x0 + sigma_min * s * x0

    x_t = interpolate(jnp.asarray(x1), jnp.asarray(x0), jnp.asarray(t), sigma_min)
    v = target_velocity(jnp.asarray(x1), jnp.asarray(x0), sigma_min)

    np.testing.assert_allclose(x_t, expected, atol=1e-6)
    np.testing.assert_allclose(v, x1 - x0 + sigma_min * x0, atol=1e-6)


def test_path_starts_at_the_noise_and_ends_at_the_data():
    x1, x0 = map(jnp.asarray, latents(1))
    np.testing.assert_array_equal(interpolate(x1, x0, jnp.zeros(4)), x0)
    np.testing.assert_array_equal(interpolate(x1, x0, jnp.ones(4)), x1)


def test_path_with_sigma_min_ends_with_that_much_noise_on_the_data():
    x1, x0 = map(jnp.asarray, latents(2))
    left = interpolate(x1, x0, jnp.ones(4), sigma_min=0.25) - x1
    np.testing.assert_allclose(left, 0.25 * x0, atol=1e-6)


@pytest.mark.parametrize("sigma_min", [0.0, 0.2])
def test_target_velocity_is_the_time_derivative_of_the_path(sigma_min):
    x1, x0 = map(jnp.asarray, latents(3))
    t = jnp.array([0.1, 0.4, 0.6, 0.9])
    _, slope = jax.jvp(lambda t: interpolate(x1, x0, t, sigma_min), (t,), (jnp.ones(4),))
    np.testing.assert_allclose(slope, target_velocity(x1, x0, sigma_min), atol=1e-6)


def test_each_sample_has_its_own_time():
    x1, x0 = map(jnp.asarray, latents(4))
    together = interpolate(x1, x0, jnp.array([0.1, 0.2, 0.3, 0.4]))
    alone = interpolate(x1[2:3], x0[2:3], jnp.array([0.3]))
    np.testing.assert_array_equal(together[2:3], alone)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 0.5), (-1.0, 2.0)])
def test_logit_normal_times_have_the_logit_normal_quantiles(mean, std):
    t = np.sort(sample_time(jax.random.key(0), 20_000, "logit_normal", mean, std))
    q = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = special.expit(mean + std * special.ndtri(q))
    np.testing.assert_allclose(np.quantile(t, q), expected, atol=0.012)
    assert 0 <= t[0] and t[-1] <= 1


def test_uniform_times_have_uniform_quantiles():
    t = np.asarray(sample_time(jax.random.key(1), 20_000, "uniform", mean=9.0, std=-1.0))
    q = np.linspace(0, 1, 11)
    np.testing.assert_allclose(np.quantile(t, q), q, atol=0.012)


@pytest.mark.parametrize(
    ("kind", "mean", "std"),
    [("uniform", 9.0, 1.0), ("logit_normal", 0.0, 1.0), ("logit_normal", -2.0, 1.5)],
)
def test_quadrature_is_the_integral_over_the_times_that_are_drawn(kind, mean, std):
    def steep(t):  # at both ends
        return 1e-6 / (1e-6 * t**2 + (1 - t) ** 2) + 1e-6 / (t**2 + 1e-6)

    density = stats.logistic.pdf if kind == "uniform" else stats.norm(mean, std).pdf
    wanted, _ = integrate.quad(
        lambda logit: steep(special.expit(logit)) * density(logit), -40, 40, limit=500
    )
    t, weights = time_quadrature(kind, mean, std)
    np.testing.assert_allclose(weights @ steep(t), wanted, rtol=1e-6)


def test_unknown_time_sampling_is_named_with_what_is_known():
    with pytest.raises(UserError, match="'cosine'.*logit_normal.*uniform"):
        sample_time(jax.random.key(0), 2, "cosine", 0.0, 1.0)
    with pytest.raises(UserError, match="'cosine'"):
        time_quadrature("cosine", 0.0, 1.0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_logit_normal_times_need_a_positive_deviation(std):
    with pytest.raises(UserError, match="must be > 0"):
        sample_time(jax.random.key(0), 2, "logit_normal", 0.0, std)
