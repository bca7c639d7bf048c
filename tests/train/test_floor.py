"""Linear floors of prepared clips whose tokens' covariance is known."""

from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.data.loader import Dataset
from videojam_jax.diffusion.floor import appearance_floor, motion_floor
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.train import floor

PATCH = (1, 2, 2)


def dataset(video, motion):
    made = mock.MagicMock(spec=Dataset)
    made.latent_shape = video.shape[1:]
    made.__len__.return_value = len(video)
    made.__getitem__.side_effect = lambda i: {
        "video": video[i].astype(jnp.bfloat16), "motion": motion[i].astype(jnp.bfloat16)
    }  # fmt: skip
    return made


@pytest.fixture
def latents():
    """A video that is one number a token, repeated; a motion of independent numbers."""
    rng = np.random.default_rng(0)
    video = rng.normal(1.0, 2.0, size=(300, 2, 3, 4, 1)).repeat(2, 2).repeat(2, 3)
    return video, rng.normal(-3.0, 0.5, size=video.shape)


def test_floors_are_those_of_the_tokens_variances(latents):
    options = LossOptions(time_mean=-1.0)
    found = floor.floors(dataset(*latents), PATCH, True, options)
    assert set(found) == {"appearance_floor", "motion_floor"}
    video, motion = np.array([0.0, 0.0, 0.0, 4 * 2.0**2]), np.full(4, 0.5**2)
    wanted = appearance_floor(video, options)
    np.testing.assert_allclose(found["appearance_floor"], wanted, rtol=0.03)
    np.testing.assert_allclose(found["motion_floor"], motion_floor(motion, options), rtol=0.03)


def test_a_base_has_the_same_floor_and_none_of_motion(latents):
    joint = floor.floors(dataset(*latents), PATCH, True, LossOptions())
    base = floor.floors(dataset(*latents), PATCH, False, LossOptions())
    assert base == {"appearance_floor": joint["appearance_floor"]}


def test_of_large_data_a_part_is_read_from_its_first_clip_to_its_last(latents, monkeypatch):
    whole = floor.floors(dataset(*latents), PATCH, True, LossOptions())
    monkeypatch.setattr(floor, "MOST_BYTES", 40 * 2 * latents[0][0].size * 2)
    monkeypatch.setattr(floor, "MOST_TOKENS", 400)
    part = dataset(*latents)
    found = floor.floors(part, PATCH, True, LossOptions())
    read = [call.args[0] for call in part.__getitem__.call_args_list]
    assert len(set(read)) == len(read) == 40 and {0, 299} <= set(read)
    for name, value in found.items():
        np.testing.assert_allclose(value, whole[name], rtol=0.1)
