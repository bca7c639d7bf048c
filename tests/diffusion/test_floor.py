"""The linear floor, against least squares on drawn data and against its limits."""

import dataclasses

import jax
import numpy as np
import pytest

from videojam_jax.diffusion.floor import (
    appearance_floor,
    linear_error,
    motion_floor,
    principal_variances,
)
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.diffusion.path import sample_time

OPTIONS = LossOptions(time_mean=-2.0, time_std=1.5)


def correlated(n, features=4):
    """Tokens with a mean, and components of very different variance along no axis."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(features, features)) * np.array([3.0, 1.0, 0.3, 0.05])[:features]
    return rng.normal(size=(n, features)) @ mix.T + rng.normal(size=features)


@pytest.mark.parametrize("sigma_min", [0.0, 0.2])
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_no_affine_map_of_drawn_tokens_does_better_and_least_squares_does_as_well(t, sigma_min):
    x1 = correlated(200_000)
    x0 = np.random.default_rng(1).normal(size=x1.shape)
    x_t = t * x1 + (1 - (1 - sigma_min) * t) * x0
    v = x1 - (1 - sigma_min) * x0
    known = np.column_stack([x_t, np.ones(len(x_t))])
    best, *_ = np.linalg.lstsq(known, v, rcond=None)
    reached = np.mean((known @ best - v) ** 2)
    told = linear_error(principal_variances(x1), np.array([t]), sigma_min).mean()
    np.testing.assert_allclose(told, reached, rtol=0.01)


def test_error_is_the_data_s_variance_at_the_noise_and_the_noise_s_at_the_data():
    variances = np.array([0.0, 0.3, 7.0])
    at_noise, at_data = linear_error(variances, np.array([0.0, 1.0]))
    np.testing.assert_allclose(at_noise, variances, atol=1e-12)
    np.testing.assert_allclose(at_data, 1.0)


def test_error_equals_the_formula_of_variances_and_covariance():
    e, t, sigma_min = np.array([0.02, 1.0, 30.0]), np.linspace(0, 1, 7)[:, None], 0.1
    s = 1 - sigma_min
    a = 1 - s * t
    wanted = e + s**2 - (t * e - s * a) ** 2 / (t**2 * e + a**2)
    np.testing.assert_allclose(linear_error(e, t[:, 0], sigma_min), wanted, rtol=1e-9)


@pytest.mark.parametrize("kind", ["uniform", "logit_normal"])
def test_floor_is_the_mean_over_the_times_that_the_loss_draws(kind):
    options = dataclasses.replace(OPTIONS, time_kind=kind, sigma_min=1e-5)
    variances = np.array([0.0, 0.01, 1.0, 40.0])
    t = sample_time(jax.random.key(0), 100_000, kind, options.time_mean, options.time_std)
    drawn = linear_error(variances, np.asarray(t, np.float64), options.sigma_min).mean()
    np.testing.assert_allclose(appearance_floor(variances, options), drawn, rtol=0.02)


def test_structure_within_tokens_lowers_the_floor_of_the_same_total_variance():
    alone, together = np.full(4, 1.0), np.array([4.0, 0.0, 0.0, 0.0])
    assert appearance_floor(together, OPTIONS) < 0.9 * appearance_floor(alone, OPTIONS)


def test_dropped_motion_counts_where_it_has_a_target():
    variances = np.array([0.5, 1.5])
    given = appearance_floor(variances, OPTIONS)
    half = dataclasses.replace(OPTIONS, p_drop_motion=0.5)
    np.testing.assert_allclose(motion_floor(variances, half), (given + 2.0) / 2)
    without = dataclasses.replace(half, motion_target_when_dropped=False)
    assert motion_floor(variances, without) == given == appearance_floor(variances, half)
