"""The temporal autoencoder's shapes, what it does to time, and its tiles."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders import tae as module
from videojam_jax.models.autoencoders.tae import Tae, TaeNet
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated

SMALL = TaeNet(channels=4, width=8, multipliers=(1, 2), blocks=0, compression=(2, 2, 2))


def clip(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (*shape, 3)), jnp.float32)


@functools.cache
def abstract(net):
    return jax.eval_shape(net.init, jax.random.key(0), clip(1, 2, 16, 16))["params"]


@functools.cache
def weights(net):
    """Random ones, of every array: a fresh net would hide what its identities do."""
    rng = np.random.default_rng(1)

    def draw(x):
        inputs = np.prod(x.shape[:-1]) if len(x.shape) > 1 else 100
        return jnp.asarray(rng.normal(size=x.shape) / inputs**0.5, x.dtype)

    return jax.tree.map(draw, abstract(net))


@functools.cache
def fresh(net):
    init = jax.jit(net.init, static_argnames="method")
    return init(jax.random.key(0, impl="rbg"), clip(1, 2, 16, 16))["params"]


def small(**options):
    shift, scale = jnp.array([0.5, -1, 0, 2]), jnp.array([1, 2, 0.5, 4.0])
    return Tae(SMALL, weights(SMALL), shift, scale, **{"tile": 8, "overlap": 4, **options})


encode, decode = jax.jit(Tae.encode), jax.jit(Tae.decode, static_argnames="frames")


@functools.partial(jax.jit, static_argnums=0)
def moments(net, params, video):
    return net.apply({"params": params}, video, method="encode_moments")


@functools.partial(jax.jit, static_argnums=0)
def decoded(net, params, latent):
    return net.apply({"params": params}, latent, method="decode")


@pytest.mark.parametrize("compression", [(8, 8, 8), (4, 8, 8), (2, 4, 4), (1, 2, 2), (8, 1, 1)])
@pytest.mark.parametrize("frames", [1, 17])
def test_latents_and_clips_have_the_promised_shapes(compression, frames):
    net = TaeNet(compression=compression, width=4, blocks=1, attention=False)
    tae = Tae(net, abstract(net), None, None)
    shape = (2, frames, 16, 24, 3)

    def both(params, video):
        mean, log_variance = net.apply({"params": params}, video, method="encode_moments")
        return mean, log_variance, net.apply({"params": params}, mean, method="decode")

    video = jax.ShapeDtypeStruct(shape, jnp.float32)
    mean, log_variance, whole = jax.eval_shape(both, abstract(net), video)
    assert mean.shape == log_variance.shape == tae.latent_shape(shape)
    assert mean.shape[1] == -(-frames // compression[0])
    assert whole.shape == (2, mean.shape[1] * compression[0], *shape[2:])


def test_the_paper_s_latents_and_the_full_size():
    net = TaeNet()
    tae = Tae(net, abstract(net), None, None)
    assert tae.latent_shape((128, 256, 256, 3)) == (16, 32, 32, 16)
    count = sum(x.size for x in jax.tree.leaves(abstract(net)))
    # Latent diffusion's image autoencoder of this size has 84 M; a third more for time.
    assert 110e6 < count < 118e6, count


@pytest.mark.parametrize(
    "compression", [(8, 4, 2), (3, 2, 2), (2, 16, 16), (16, 2, 2), (0, 1, 1)]
)
def test_a_compression_that_levels_cannot_give_is_named(compression):
    with pytest.raises(UserError, match="compression is .* powers of two, .* at most 8"):
        TaeNet(compression=compression)


def test_a_clip_that_does_not_divide_is_named_with_one_that_would():
    with pytest.raises(UserError, match="15 x 16 .* multiples of 2, such as 14 x 16"):
        small().latent_shape((3, 15, 16, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 7}, "tile is 7 frames.*multiple of the 2"),
        ({"overlap": 3}, "overlap is 3"),
        ({"context": -2}, "context is -2"),
        ({"overlap": 8}, "overlap is 8 frames.*below"),
    ],
)
def test_tiles_that_do_not_fit_are_named(options, message):
    with pytest.raises(UserError, match=message):
        small(**options)


def test_temporal_convolutions_start_as_the_identity():
    net = dataclasses.replace(SMALL, compression=(1, 2, 2), attention=False)
    video = clip(2, 2, 16, 16)
    whole = moments(net, fresh(net), video)
    alone = moments(net, fresh(net), video.reshape(4, 1, 16, 16, 3))
    for a, b in zip(whole, alone, strict=True):
        np.testing.assert_allclose(a, b.reshape(a.shape), atol=1e-5)
    # With other weights frames do look at each other.
    whole = moments(net, weights(net), video)[0]
    alone = moments(net, weights(net), video.reshape(4, 1, 16, 16, 3))[0]
    assert np.abs(whole - alone.reshape(whole.shape)).max() > 0.05


def test_a_fresh_net_makes_an_image_of_a_still_clip_whatever_its_length():
    """Halving starts as a mean of frames, doubling as repetition, attention as silent."""
    image = clip(2, 1, 16, 16)
    once = moments(SMALL, fresh(SMALL), image)[0]
    still = moments(SMALL, fresh(SMALL), jnp.repeat(image, 5, axis=1))[0]
    assert still.shape == (2, 3, 8, 8, 4)
    np.testing.assert_allclose(still, jnp.repeat(once, 3, axis=1), atol=1e-5)
    video = decoded(SMALL, fresh(SMALL), still)
    assert video.shape == (2, 6, 16, 16, 3)
    np.testing.assert_allclose(video, jnp.repeat(video[:, :1], 6, axis=1), atol=1e-5)


def test_frames_are_halved_to_the_mean_of_each_pair_at_first():
    conv = module.Conv(2, halve=(True, False))
    params = jax.tree.map(jnp.zeros_like, conv.init(jax.random.key(0), clip(1, 3, 2, 2))["params"])
    params["space"]["kernel"] = params["space"]["kernel"].at[1, 1].set(jnp.eye(3, 2))
    params["time"]["kernel"] = module.temporal_mean(None, (3, 1, 2, 2))
    video = clip(1, 3, 2, 2)
    y = conv.apply({"params": params}, video)[..., :2]
    wanted = [(video[:, 0] + video[:, 1]) / 2, video[:, 2]]  # the last stands twice
    np.testing.assert_allclose(y, np.stack(wanted, axis=1)[..., :2], atol=1e-6)


def test_a_norm_treats_each_frame_as_if_it_were_alone():
    norm, x = module.FrameNorm(), 5 + jnp.tile(clip(2, 3, 4, 4), (1, 1, 1, 1, 8))
    params = {"scale": jnp.linspace(1, 2, 24), "bias": jnp.linspace(-1, 1, 24)}
    y = norm.apply({"params": params}, x)
    frame = np.float64(x[1, 2]).reshape(16, 6, 4)  # six groups of four channels
    frame = frame - frame.mean(axis=(0, 2), keepdims=True)
    frame = frame / np.sqrt((frame**2).mean(axis=(0, 2), keepdims=True) + 1e-6)
    wanted = frame.reshape(4, 4, 24) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y[1, 2], wanted, atol=1e-5)
    even = norm.apply({"params": params}, jnp.full((1, 1, 4, 4, 24), 0.3))
    np.testing.assert_allclose(even, jnp.broadcast_to(params["bias"], even.shape), atol=1e-3)


def test_a_latent_is_the_normalised_mean_and_decode_undoes_it():
    tae, video = small(), clip(2, 7, 16, 16)
    mean, _ = moments(SMALL, tae.params, video)
    latent = encode(tae, video)
    np.testing.assert_allclose(latent, (mean - tae.shift) * tae.scale, atol=1e-5)
    y = decode(tae, latent)
    assert y.shape == (2, 8, 16, 16, 3)
    np.testing.assert_allclose(y, decoded(SMALL, tae.params, mean), atol=1e-4)


def test_decode_gives_the_frames_it_is_asked_for():
    latent = clip(2, 4, 8, 8)[..., jnp.array([0, 1, 2, 0])]

    def frames(tae, *asked):
        return jax.eval_shape(lambda z: tae.decode(z, *asked), latent).shape[1]

    assert (frames(small()), frames(small(), 7)) == (8, 7)
    assert (frames(small(frames=5)), frames(small(frames=5), 7)) == (5, 7)


def test_tiles_equal_the_whole_clip_beyond_the_reach_of_the_convolutions():
    """Without temporal attention, all that a tile lacks is what its convolutions see beyond."""
    net = dataclasses.replace(SMALL, attention=False)
    rest = net, weights(net), jnp.zeros(4), jnp.ones(4)
    video = clip(1, 40, 8, 8)
    whole = encode(Tae(*rest, tile=40), video)
    # Two convolutions at the rate of frames, four and one at half of it: 12 frames.
    seeing, blind = (encode(Tae(*rest, tile=8, overlap=0, context=n), video) for n in (12, 0))
    np.testing.assert_allclose(seeing, whole, atol=1e-5)
    assert np.abs(blind - whole).max() > 1e-2

    latent = clip(1, 28, 4, 4)[..., jnp.array([0, 1, 2, 0])]
    full = decode(Tae(*rest, tile=56), latent)
    off = np.abs(decode(Tae(*rest, tile=32, overlap=8), latent) - full).max(axis=(0, 2, 3, 4))
    # Seven convolutions of latents and four of frames reach 18 frames into the first tile
    # from frame 32 down, into the second from frame 24 up.
    assert off[:14].max() < 1e-5 and off[42:].max() < 1e-5 and off[24:32].max() > 1e-3, off


def test_training_sees_noise_of_the_latent_s_own_spread():
    video = clip(2, 7, 16, 16)
    mean, log_variance = moments(SMALL, weights(SMALL), video)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=mean.shape), jnp.float32)
    y, *same = jax.jit(SMALL.apply)({"params": weights(SMALL)}, video, noise)
    latent = mean + jnp.exp(log_variance / 2) * noise
    np.testing.assert_allclose(y, decoded(SMALL, weights(SMALL), latent)[:, :7], atol=1e-4)
    np.testing.assert_allclose(same[1], log_variance, atol=1e-4)


def test_bfloat16_is_near_float32():
    half = dataclasses.replace(SMALL, dtype=jnp.bfloat16)
    video = clip(2, 7, 16, 16)
    mean, _ = moments(SMALL, weights(SMALL), video)
    near, _ = moments(half, weights(SMALL), video)
    assert near.dtype == jnp.float32
    error = np.abs(near - mean).max() / np.abs(mean).max()
    assert 0 < error < 0.03, error
    whole = decoded(SMALL, weights(SMALL), mean)
    error = np.abs(decoded(half, weights(SMALL), mean) - whole).max() / np.abs(whole).max()
    assert 0 < error < 0.03, error


def test_rematerialisation_keeps_the_weights_and_wraps_every_residual_block():
    plain = dataclasses.replace(SMALL, blocks=1, attention=False)
    remat = dataclasses.replace(plain, remat=True)
    assert jax.tree.structure(abstract(remat)) == jax.tree.structure(abstract(plain))

    def wrapped(net):
        program = jax.make_jaxpr(net.apply)({"params": abstract(net)}, clip(1, 2, 16, 16))
        return [eqn.primitive.name for eqn in program.eqns].count("remat2")

    # Encoder: one block in each of two levels and two in the middle; decoder: two, and two.
    assert (wrapped(plain), wrapped(remat)) == (0, (2 + 2) + (4 + 2))


def test_a_net_without_norms_keeps_a_clip_s_contrast():
    """Frames of a tenth of the contrast: norms make about the same of them, which loses it."""
    video = jnp.concatenate([clip(1, 2, 16, 16), 0.1 * clip(1, 2, 16, 16)])

    def contrasts(net):
        params = jax.tree_util.tree_map_with_path(
            lambda path, x: 0 * x if "bias" in path[-1].key else x, weights(net)
        )
        mean, _ = moments(net, params, video)
        return float(mean[1].std() / mean[0].std())

    plain = dataclasses.replace(SMALL, attention=False)
    bare = dataclasses.replace(plain, norm=False)
    assert contrasts(plain) > 0.8 and contrasts(bare) < 0.2
    assert "norm" in str(abstract(plain)) and "norm" not in str(abstract(bare))


def test_a_batch_divided_over_devices_gives_the_same():
    mesh, tae, video = make_mesh({"data": 8}), small(), clip(8, 11, 16, 16)

    def through(tae, video):
        latent = tae.encode(video)
        return latent, tae.decode(latent)

    alone = jax.jit(through)(tae, video)
    placed = jax.device_put(tae, replicated(mesh)), jax.device_put(video, batch_sharding(mesh))
    with jax.transfer_guard("disallow"):
        divided = jax.jit(partitioned(mesh, through))(*placed)
    for one, other in zip(alone, divided, strict=True):
        assert len(other.sharding.device_set) == 8 and not other.sharding.is_fully_replicated
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_weights_are_arguments_of_a_compiled_program_and_nothing_moves_by_itself():
    tae, video = small(), clip(2, 7, 16, 16)
    encode(tae, video)
    with jax.transfer_guard("disallow"):
        latent = jax.block_until_ready(encode(tae, video))
    assert latent.shape == tae.latent_shape(video.shape)
    as_arguments = len(encode.lower(tae, video).as_text())
    as_constants = len(jax.jit(tae.encode).lower(video).as_text())
    held = sum(x.size for x in jax.tree.leaves(tae.params["encoder"]))
    assert as_constants - as_arguments > 4 * held
