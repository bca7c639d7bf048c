import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.checkpoints.names import flat
from videojam_jax.convert.layouts import wan_vae as layout
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.wan_vae import (
    LATENT_MEAN,
    LATENT_STD,
    WanAutoencoder,
    WanVae,
)
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated

SMALL = dict(  # few layers: what takes time is to compile them
    base=4,
    multipliers=(1, 1, 1),
    blocks=0,
    temporal=(True, True),
    channels=3,
    latent_mean=(0.1, -0.2, 0.3),
    latent_std=(0.5, 1.0, 2.0),
)
SIDE = 8  # 2 latent rows and columns
FRAMES = 21  # 1 + 5 latent frames

encode = jax.jit(WanVae.encode)
decode = jax.jit(WanVae.decode)


def video(frames=FRAMES, batch=8, seed=0):
    shape = (batch, frames, SIDE, SIDE, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@functools.cache
def abstract(module):
    given = jax.ShapeDtypeStruct((1, 5, 16, 16, 3), jnp.float32)
    return nn.unbox(jax.eval_shape(module.init, jax.random.key(0), given)["params"])


@pytest.fixture(scope="module")
def vae():
    module = WanAutoencoder(**SMALL)
    rng = np.random.default_rng(0)

    def weight(path, struct):
        mean = 1 if path[-1].key == "gamma" else 0
        std = np.prod(struct.shape[:-1]) ** -0.5 if path[-1].key == "kernel" else 0.2
        return np.asarray(rng.normal(mean, std, struct.shape), np.float32)

    return WanVae(module, jax.tree.map_with_path(weight, abstract(module)))


@pytest.fixture(scope="module")
def latent(vae):
    return np.asarray(encode(vae, video()))


@pytest.fixture(scope="module")
def decoded(vae, latent):
    return np.asarray(decode(vae, latent))


def assert_near(got, wanted):
    assert got.shape == wanted.shape
    error = np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max()
    assert error < 5e-5, error


def test_wan_s_latents_are_a_quarter_in_time_and_an_eighth_in_space():
    vae = WanVae(WanAutoencoder(), {})
    assert vae.channels == len(LATENT_MEAN) == len(LATENT_STD) == 16
    assert vae.latent_shape((81, 480, 832, 3)) == (21, 60, 104, 16)
    assert vae.latent_shape((7, 2, 1, 8, 16, 3)) == (7, 2, 1, 1, 2, 16)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 64, 64, 3), "16 frames .* clip.frames to 13 or 17$"),
        ((2, 64, 64, 3), "clip.frames to 1 or 5$"),
        ((0, 64, 64, 3), "clip.frames to 1$"),
        ((17, 60, 64, 3), "height 60 .* clip.height to 56 or 64$"),
        ((17, 64, 4, 3), "width 4 .* clip.width to 8$"),
    ],
)
def test_a_clip_that_does_not_fit_is_told_the_nearest_that_does(shape, message):
    with pytest.raises(UserError, match=message):
        WanVae(WanAutoencoder(), {}).latent_shape(shape)


def test_encode_refuses_what_latent_shape_refuses(vae):
    with pytest.raises(UserError, match="20 frames"):
        jax.eval_shape(encode, vae, video(20))


def test_shapes_there_and_back_are_those_of_latent_shape(vae, latent, decoded):
    assert latent.shape == vae.latent_shape((8, FRAMES, SIDE, SIDE, 3)) == (8, 6, 2, 2, 3)
    assert decoded.shape == (8, FRAMES, SIDE, SIDE, 3)
    assert latent.dtype == decoded.dtype == jnp.float32
    assert np.abs(decoded).max() <= 1
    assert np.std(latent, axis=(1, 2, 3)).min() > 1e-2 < np.std(decoded, axis=(1, 2, 3)).min()


def test_the_chunk_s_length_changes_nothing(vae, latent, decoded):
    other = dataclasses.replace(vae, chunk=3)  # the last chunk is not full
    assert_near(encode(other, video()), latent)
    assert_near(decode(other, latent), decoded)


@pytest.mark.parametrize("first_changed", [1, 2, 5])
def test_later_frames_do_not_change_earlier_ones(vae, latent, decoded, first_changed):
    after = np.arange(FRAMES) > 4 * (first_changed - 1)
    other = np.where(after[:, None, None, None], video(seed=1), video())
    differs = np.asarray(encode(vae, other) != latent).any((0, 2, 3, 4))
    np.testing.assert_array_equal(differs, np.arange(6) >= first_changed)

    after = np.arange(6) >= first_changed
    other = np.where(after[:, None, None, None], latent + 1, latent)
    differs = np.asarray(decode(vae, other) != decoded).any((0, 2, 3, 4))
    np.testing.assert_array_equal(differs, np.arange(FRAMES) > 4 * (first_changed - 1))


def test_a_longer_clip_makes_no_longer_program(vae):
    def equations(function, *shape):
        given = jax.ShapeDtypeStruct((8, *shape), jnp.float32)
        return str(function.trace(vae, given).jaxpr).count(" = ")

    of_pixels, of_latents = (SIDE, SIDE, 3), (2, 2, 3)
    assert equations(encode, 21, *of_pixels) == equations(encode, 81, *of_pixels) > 100
    assert equations(decode, 6, *of_latents) == equations(decode, 21, *of_latents) > 100


def test_bfloat16_is_near_float32(vae, latent, decoded):
    half = dataclasses.replace(vae, module=vae.module.clone(dtype=jnp.bfloat16))
    for got, wanted in ((encode(half, video()), latent), (decode(half, latent), decoded)):
        got = np.asarray(got)
        assert got.dtype == np.float32
        error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        assert 1e-4 < error < 0.05, error


def test_nothing_is_copied_between_host_and_device(vae, latent):
    given = jax.device_put((vae, video(), latent))
    with jax.transfer_guard("disallow"):
        encode(given[0], given[1])
        decode(given[0], given[2])


def test_a_batch_over_eight_devices_equals_one_device(vae, latent, decoded):
    mesh = make_mesh({"data": 4, "fsdp": 2})
    over_mesh = batch_sharding(mesh)
    spread = jax.device_put(vae, replicated(mesh))
    for method, given, wanted in (
        (WanVae.encode, video(), latent),
        (WanVae.decode, latent, decoded),
    ):
        got = jax.jit(partitioned(mesh, method))(spread, jax.device_put(given, over_mesh))
        assert got.sharding.is_equivalent_to(over_mesh, 5), got.sharding
        assert_near(got, wanted)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        SMALL,
        dict(base=8, decoder_base=6, multipliers=(1, 1, 3), temporal=(False, True), blocks=1),
    ],
)
def test_the_layout_has_one_row_for_each_array(attributes):
    module = WanAutoencoder(**attributes)
    rows = layout.rows(module)
    assert sorted(row.ours for row in rows) == sorted(flat(abstract(module)))
    assert len({row.public for row in rows}) == len(rows)


def test_options_of_an_empty_config_are_wan_2_1():
    assert layout.options({}) == {}
    found = layout.options({"_class_name": "AutoencoderKLWan", "base_dim": 96, "dropout": 0.0})
    assert WanAutoencoder(**found) == WanAutoencoder()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"patch_size": 2}, "patch_size is 2"),
        ({"is_residual": True}, "is_residual is True"),
        ({"in_channels": 12}, "in_channels is 12"),
        ({"attn_scales": [1.0]}, "attn_scales"),
        ({"_class_name": "AutoencoderKL"}, "_class_name is 'AutoencoderKL'"),
        ({"mystery": 1}, "unknown key 'mystery'"),
        ({"z_dim": 48}, "latents_mean has 16 values; .* 48"),
        ({"temperal_downsample": [True, True]}, "temperal_downsample has 2"),
        ({"scale_factor_spatial": 16}, "scale_factor_spatial is 16; .* 8"),
    ],
)
def test_options_names_the_key_that_is_not_wan_2_1(config, message):
    with pytest.raises(UserError, match=message):
        layout.options(config)
