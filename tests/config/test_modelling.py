"""A config's sections become the objects they describe."""

import dataclasses

import numpy as np
import pytest
import tiny_run

from videojam_jax.config import loading, modelling, sampling, training
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


@pytest.mark.parametrize("motion", ["True", "False"])
def test_a_trunk_narrower_than_eight_tokens_is_told_of(motion):
    # Latents of 4 x 4 x 48 channels, a token of 1 x 1 x 1: 96 numbers of both halves.
    keys = {"model.motion": motion, "model.patch": "(1,1,1)", "model.trunk.heads": "2"}
    enough = config(**keys, **{"model.trunk.width": "768"})
    assert modelling.proportions(enough) == []
    (said,) = modelling.proportions(config(**keys, **{"model.trunk.width": "764"}))
    assert "48 + 48 numbers" in said and "width = 764" in said and "\n" not in said


@pytest.mark.parametrize("name", ["dit_4b", "videojam_4b", "dit_30b", "videojam_30b"])
def test_the_paper_s_proportions_are_not_told_of(name):
    path = tiny_run.ROOT / "configs" / f"{name}.py"
    assert modelling.proportions(loading.load(str(path), {})) == []
