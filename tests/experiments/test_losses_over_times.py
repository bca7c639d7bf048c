"""The errors of both halves of the loss: closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.experiments.horizon_losses import time_grid
from videojam_jax.experiments.losses_over_times import half_errors
from videojam_jax.text import Text

B, SHAPE = 3, (3, 2, 4, 4, 2)


@pytest.fixture(scope="module")
def clips():
    x1, d1, x0, d0 = np.random.default_rng(0).standard_normal((4, *SHAPE), np.float32)
    text = Text(np.zeros((B, 1), np.int32), np.ones((B, 1), bool))
    return {"x1": x1, "d1": d1, "text": text, "t": np.array([0.1, 0.5, 0.9], np.float32),
            "x0": x0, "d0": d0}  # fmt: skip


def errors(velocity, clips, **options):
    def own(given):
        latents, noise = (given["x1"], given["d1"]), (given["x0"], given["d0"])
        targets = {"own": latents}
        return half_errors(
            velocity, latents, targets, given["text"], given["t"], noise, **options
        )["own"]

    return jax.jit(own)(clips)


def mean_square(x):
    return np.square(x).reshape(B, -1).mean(1)


def test_a_model_that_says_nothing_errs_by_the_velocities_themselves(clips):
    found = errors(lambda x, d, *_: (0 * x, 0 * d), clips, sigma_min=0.1)
    wanted = {"appearance": clips["x1"] - 0.9 * clips["x0"],
              "motion": clips["d1"] - 0.9 * clips["d0"]}  # fmt: skip
    assert found.keys() == wanted.keys()
    for half, velocity in wanted.items():
        np.testing.assert_allclose(found[half], mean_square(velocity), rtol=1e-5)


def test_a_model_that_knows_the_noise_errs_nowhere(clips):
    def knows(x, d, t, text):
        at = t[:, None, None, None, None]
        return (x - clips["x0"]) / at, (d - clips["d0"]) / at  # x_t - x0 = t (x1 - x0)

    for error in errors(knows, clips).values():
        np.testing.assert_allclose(error, 0, atol=1e-9)


def test_motion_that_is_dropped_is_given_as_zeros_and_still_asked_for(clips):
    def says_what_it_is_given(x, d, *_):
        return x, d

    found = errors(says_what_it_is_given, clips, drop_motion=True)
    np.testing.assert_allclose(found["motion"], mean_square(clips["d1"] - clips["d0"]), rtol=1e-5)
    given = errors(says_what_it_is_given, clips)
    np.testing.assert_array_equal(found["appearance"], given["appearance"])
    assert (np.abs(given["motion"] - found["motion"]) > 1e-3).all()


def test_a_base_model_has_the_appearance_loss_alone(clips):
    seen = []

    def base(x, d, *_):
        seen.append(d)
        return jnp.zeros_like(x), None

    found = errors(base, {**clips, "d1": None, "d0": None}, drop_motion=True)
    assert list(found) == ["appearance"] and seen == [None]


def test_the_grid_is_denser_near_noise_and_data_and_the_same_from_both():
    times = time_grid(20)
    assert (np.diff(times) > 0).all() and 0 < times[0] < 0.02
    np.testing.assert_allclose(times, 1 - times[::-1])
    assert times[1] - times[0] < 0.1 * (times[10] - times[9])
