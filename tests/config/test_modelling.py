"""A config's sections become the objects they describe."""

import dataclasses

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, sampling, training
from videojam_jax.diffusion import schedule
from videojam_jax.diffusion.loss import LossOptions


def config(**keys):
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    return loading.load(tiny_run.CONFIG, tiny | keys)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("linear", schedule.linear(6)),
        ("linear_quadratic", schedule.linear_quadratic(6, 50)),
        ("shifted", schedule.shifted(6, 3.0)),
    ],
)
def test_the_sampler_s_times_are_of_the_schedule_that_is_named(name, wanted):
    keys = {"sample.steps": "6", "sample.emulate": "50", "sample.shift": "3.0"}
    times = sampling.times(config(**{"sample.schedule": name}, **keys))
    np.testing.assert_array_equal(times, wanted)


def test_every_number_of_the_loss_is_the_config_s():
    wanted = LossOptions(0.11, 0.22, 0.33, False, 0.44, "uniform", 0.55, 0.66)
    for field in dataclasses.fields(LossOptions):
        assert getattr(wanted, field.name) != field.default, field.name
    keys = {f"loss.{key}": str(value) for key, value in dataclasses.asdict(wanted).items()}
    assert training.loss_options(config(**keys)) == wanted
