"""The motion latent's own scale."""

import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.motion.latent import MotionCode

MEAN, STD = (-4.0, 0.5), (0.5, 2.0)


def test_latents_of_the_given_moments_come_to_zero_mean_and_unit_variance_and_back():
    rng = np.random.default_rng(0)
    encoded = rng.normal(MEAN, STD, (1000, 2)).astype(np.float32)
    code = MotionCode(0.15, tuple(encoded.mean(0).tolist()), tuple(encoded.std(0).tolist()))
    found = code.of_encoded(encoded)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(code.to_encoded(found), encoded, rtol=1e-5, atol=1e-6)


def test_without_moments_they_stay_as_encoded():
    encoded = np.ones((3, 2), np.float32)
    assert MotionCode().of_encoded(encoded) is encoded is MotionCode().to_encoded(encoded)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (MEAN, (), "latent_mean has 2 channels and config.motion.latent_std 0: give both"),
        (MEAN, (1.0, 0.0), r"latent_std = \(1.0, 0.0\): .*1e-06"),
    ],
)
def test_moments_that_cannot_be_are_refused(mean, std, message):
    with pytest.raises(UserError, match=message):
        MotionCode(0.15, mean, std)
