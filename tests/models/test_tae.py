"""The temporal autoencoder's shapes, what it does to time, and its tiles."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders import tae_blocks as module
from videojam_jax.models.autoencoders.tae import Tae, TaeNet, tae_latent_shape
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated

SMALL = TaeNet(channels=4, width=8, multipliers=(1, 2), blocks=0, compression=(2, 2, 2))
BARE = dataclasses.replace(SMALL, attention=False)  # without attention
SHIFT, SCALE = np.array([0.5, -1, 0, 2], np.float32), np.array([1, 2, 0.5, 4.0], np.float32)


def clip(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (*shape, 3)).astype(np.float32)


@functools.cache
def initialise(net):
    return jax.jit(lambda key, video: net.init(key, video)["params"])


@functools.cache
def abstract(net):
    return initialise(net).eval_shape(jax.random.key(0), clip(1, 2, 16, 16))


@functools.cache
def weights(net):
    """Random ones, of every array: a fresh net would hide what its identities do."""
    rng = np.random.default_rng(1)

    def draw(x):
        inputs = np.prod(x.shape[:-1]) if len(x.shape) > 1 else 100
        return np.asarray(rng.normal(size=x.shape) / inputs**0.5, x.dtype)

    return jax.tree.map(draw, abstract(net))


def _starts_as_something(path):
    *_, owner, part, name = ["", *(key.key for key in path)]
    return name != "kernel" or part == "time" or (owner, part) == ("attention_time", "out")


@functools.cache
def fresh(net):
    """As `init` leaves them, the arrays that start as something; all others random as above.

    Those drawn at random are the same to what a fresh net does, and seconds to compile.
    """

    def first(key, video):
        params = initialise(net)(key, video)
        return [x for path, x in jax.tree.leaves_with_path(params) if _starts_as_something(path)]

    found = iter(jax.device_get(jax.jit(first)(jax.random.key(0), clip(1, 2, 16, 16))))
    return jax.tree.map_with_path(
        lambda path, x: next(found) if _starts_as_something(path) else x, weights(net)
    )


def small(shift=SHIFT, scale=SCALE, **options):
    return Tae(SMALL, weights(SMALL), shift, scale, **{"tile": 8, "overlap": 4, **options})


def to_host(program):
    """Its results as NumPy's: arithmetic on the device compiles for every operation."""
    return lambda *given: jax.device_get(program(*given))


encode_on_device = jax.jit(Tae.encode)
encode, decode = to_host(encode_on_device), to_host(jax.jit(Tae.decode))


@to_host
@functools.partial(jax.jit, static_argnums=(0, 1))
def apply(net, method, params, *given):
    return net.apply({"params": params}, *given, method=method)


def moments(net, params, video):
    return apply(net, "encode_moments", params, video)


def decoded(net, params, latent):
    return apply(net, "decode", params, latent)


def through(net, params, video, noise):
    """The decoded clip, the mean and the log-variance."""
    return apply(net, "__call__", params, video, noise)


VIDEO = clip(2, 11, 16, 16)  # its shape is that of most programs here
NO_NOISE = np.zeros((2, 6, 8, 8, 4), np.float32)


def shapes(net, shape):
    """What becomes of a clip of `shape`, and the parameters, all as shapes."""

    def both(net, video):
        mean, log_variance = net.encode_moments(video)
        return mean, log_variance, net.decode(mean)

    run = functools.partial(net.init_with_output, method=both)
    return jax.eval_shape(run, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def assert_shapes(net, shape, found):
    mean, log_variance, whole = found
    assert mean.shape == log_variance.shape == Tae(net, {}, None, None).latent_shape(shape)
    assert mean.shape[1] == -(-shape[1] // net.compression[0])
    assert whole.shape == (2, mean.shape[1] * net.compression[0], *shape[2:])


@pytest.mark.parametrize(
    ("compression", "frames"), [((4, 4, 4), 1), ((2, 4, 4), 9), ((1, 2, 2), 1), ((4, 1, 1), 9)]
)
def test_latents_and_clips_have_the_promised_shapes(compression, frames):
    net = TaeNet(4, 4, (1, 1, 1), blocks=0, compression=compression, attention=False)
    shape = (2, frames, 8, 12, 3)
    found, _ = shapes(net, shape)
    assert_shapes(net, shape, found)


def test_the_paper_s_latents_and_the_full_size():
    net = TaeNet()
    tae = Tae(net, {}, None, None)
    assert tae.latent_shape((128, 256, 256, 3)) == (16, 32, 32, 16)
    shape = (2, 17, 16, 24, 3)
    found, params = shapes(net, shape)
    assert_shapes(net, shape, found)
    count = sum(x.size for x in jax.tree.leaves(params))
    # Latent diffusion's image autoencoder of this size has 84 M; a third more for time.
    assert 110e6 < count < 118e6, count


@pytest.mark.parametrize(
    "compression", [(8, 4, 2), (3, 2, 2), (2, 16, 16), (16, 2, 2), (0, 1, 1)]
)
def test_a_compression_that_levels_cannot_give_is_named(compression):
    with pytest.raises(UserError, match="compression is .* powers of two, .* at most 8"):
        TaeNet(compression=compression)


@pytest.mark.parametrize("compression", [(8, 4, 2), (3, 2, 2), (0, 1, 1)])
def test_latents_of_a_compression_that_no_net_has_have_no_shape(compression):
    with pytest.raises(UserError, match="compression is .* powers of two, rows as columns"):
        tae_latent_shape((9, 16, 16, 3), compression, 4)


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
    """So latents and decoded frames know their own frames alone, where others would look around."""
    changed = np.concatenate([VIDEO[:, :4], clip(2, 7, 16, 16, seed=1)], axis=1)

    def differences(params):
        one, other = (through(SMALL, params, video, NO_NOISE) for video in (VIDEO, changed))
        return [np.abs(a - b).max(axis=(0, 2, 3, 4)) for a, b in zip(one, other, strict=True)]

    for kept, difference in zip((4, 2, 2), differences(fresh(SMALL)), strict=True):
        assert difference[:kept].max() < 1e-5
    video, mean, _ = differences(weights(SMALL))
    assert mean[:2].max() > 0.05 and video[:4].max() > 0.01


def test_a_fresh_net_makes_an_image_of_a_still_clip_whatever_its_length():
    """Halving starts as a mean of frames, doubling as repetition, attention as silent."""
    image = VIDEO[:, :1]
    once = moments(SMALL, fresh(SMALL), image)[0]
    video, still, _ = through(SMALL, fresh(SMALL), np.repeat(image, 11, axis=1), NO_NOISE)
    assert still.shape == (2, 6, 8, 8, 4)
    np.testing.assert_allclose(still, np.repeat(once, 6, axis=1), atol=1e-5)
    assert video.shape == VIDEO.shape
    np.testing.assert_allclose(video, np.repeat(video[:, :1], 11, axis=1), atol=1e-5)
    assert np.abs(still).max() > 0.05 and np.abs(video).max() > 0.05


def test_frames_are_halved_to_the_mean_of_each_pair_at_first():
    conv = module.Conv(2, halve=(True, False))
    video = clip(1, 3, 2, 2)
    space = np.zeros((3, 3, 3, 2), np.float32)
    space[1, 1] = np.eye(3, 2)

    @jax.jit
    def halved(space, video):
        time = module.temporal_mean(None, (3, 1, 2, 2))
        kernels = {"space": space, "time": time}
        params = {part: {"kernel": x, "bias": jnp.zeros(2)} for part, x in kernels.items()}
        return conv.apply({"params": params}, video)

    y = halved(space, video)
    wanted = [(video[:, 0] + video[:, 1]) / 2, video[:, 2]]  # the last stands twice
    np.testing.assert_allclose(y, np.stack(wanted, axis=1)[..., :2], atol=1e-6)


def test_a_norm_treats_each_frame_as_if_it_were_alone():
    x = 5 + np.tile(clip(2, 3, 4, 4), (1, 1, 1, 1, 8))
    params = {
        "scale": np.linspace(1, 2, 24, dtype=np.float32),
        "bias": np.linspace(-1, 1, 24, dtype=np.float32),
    }
    norm = jax.jit(module.FrameNorm().apply)
    y = norm({"params": params}, x)
    frame = np.float64(x[1, 2]).reshape(16, 6, 4)  # six groups of four channels
    frame = frame - frame.mean(axis=(0, 2), keepdims=True)
    frame = frame / np.sqrt((frame**2).mean(axis=(0, 2), keepdims=True) + 1e-6)
    wanted = frame.reshape(4, 4, 24) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y[1, 2], wanted, atol=1e-5)
    even = norm({"params": params}, np.full_like(x, 0.3))
    np.testing.assert_allclose(even, np.broadcast_to(params["bias"], even.shape), atol=1e-3)


def test_a_latent_is_normalised_and_decode_undoes_it():
    """That it is the net's mean: `test_tiles_equal_the_whole_clip_...`."""
    plain = small(np.zeros(4, np.float32), np.ones(4, np.float32))
    mean, latent = encode(plain, VIDEO), encode(small(), VIDEO)
    np.testing.assert_allclose(latent, (mean - SHIFT) * SCALE, atol=1e-5)
    y = decode(small(), latent)
    assert y.shape == (2, 12, 16, 16, 3)
    np.testing.assert_allclose(y, decode(plain, mean), atol=1e-4)


def test_decode_gives_the_frames_it_is_asked_for():
    class Repeats(TaeNet):
        @nn.nowrap
        def apply(self, variables, latent, *, method):
            return latent[..., :3].repeat(2, axis=1)

    net = Repeats(4, multipliers=(1, 1), compression=(2, 1, 1))
    latent = np.zeros((2, 4, 2, 2, 4), np.float32)

    def frames(given, *asked):
        tae = Tae(net, {}, SHIFT, SCALE, frames=given)
        return jax.eval_shape(lambda z: tae.decode(z, *asked), latent).shape[1]

    assert (frames(None), frames(None, 7)) == (8, 7)
    assert (frames(5), frames(5, 7)) == (5, 7)


def test_tiles_equal_the_whole_clip_beyond_the_reach_of_the_convolutions():
    """Without temporal attention, all that a tile lacks is what its convolutions see beyond."""
    rest = BARE, weights(BARE), np.zeros(4, np.float32), np.ones(4, np.float32)
    video = clip(1, 40, 8, 8)
    whole = moments(BARE, weights(BARE), video)[0]
    # Two convolutions at the rate of frames, four and one at half of it: 12 frames.
    seeing = encode(Tae(*rest, tile=8, overlap=0, context=12), video)
    np.testing.assert_allclose(seeing, whole, atol=1e-5)
    # What the second tile would be, saw it nothing but itself.
    alone = np.pad(video[:, 8:16], [(0, 0), (8, 24), (0, 0), (0, 0), (0, 0)], "edge")
    assert np.abs(moments(BARE, weights(BARE), alone)[0] - whole)[:, 4:8].max() > 1e-2

    latent = clip(1, 28, 4, 4)[..., [0, 1, 2, 0]]
    full = decoded(BARE, weights(BARE), latent)
    off = np.abs(decode(Tae(*rest, tile=32, overlap=8), latent) - full).max(axis=(0, 2, 3, 4))
    # Seven convolutions of latents and four of frames reach 18 frames into the first tile
    # from frame 32 down, into the second from frame 24 up.
    assert off[:14].max() < 1e-5 and off[42:].max() < 1e-5 and off[24:32].max() > 1e-3, off


def test_training_sees_noise_of_the_latent_s_own_spread():
    noise = np.random.default_rng(0).normal(size=NO_NOISE.shape).astype(np.float32)
    y, mean, log_variance = through(SMALL, weights(SMALL), VIDEO, noise)
    latent = mean + np.exp(log_variance / 2) * noise
    np.testing.assert_allclose(y, decoded(SMALL, weights(SMALL), latent)[:, :11], atol=1e-4)
    # The noise is the latent's alone.
    same = through(SMALL, weights(SMALL), VIDEO, NO_NOISE)[1:]
    np.testing.assert_array_equal([mean, log_variance], same)


def test_bfloat16_is_near_float32():
    half = dataclasses.replace(SMALL, dtype=jnp.bfloat16)
    wanted, near = (through(net, weights(SMALL), VIDEO, NO_NOISE) for net in (SMALL, half))
    for one, other in zip(wanted[:2], near[:2], strict=True):
        assert other.dtype == jnp.float32
        error = np.abs(other - one).max() / np.abs(one).max()
        assert 0 < error < 0.03, error


def test_rematerialisation_keeps_the_weights_and_wraps_every_residual_block():
    plain = dataclasses.replace(BARE, blocks=1)
    remat = dataclasses.replace(plain, remat=True)

    def traced(net):
        """How many blocks are wrapped, and the tree of the weights."""
        trace = jax.make_jaxpr(net.init, return_shape=True)
        program, shapes = trace(jax.random.key(0), clip(1, 2, 16, 16))
        return [eqn.primitive.name for eqn in program.eqns].count("remat2"), shapes

    # Encoder: one block in each of two levels and two in the middle; decoder: two, and two.
    (no, one), (all_, other) = traced(plain), traced(remat)
    assert (no, all_) == (0, (2 + 2) + (4 + 2))
    assert jax.tree.structure(one) == jax.tree.structure(other)


def test_a_net_without_norms_keeps_a_clip_s_contrast():
    """Frames of a tenth of the contrast: norms make about the same of them, which loses it."""

    def contrast(net):
        params = jax.tree_util.tree_map_with_path(
            lambda path, x: 0 * x if "bias" in path[-1].key else x, weights(net)
        )
        full, faint = (moments(net, params, c * clip(1, 40, 8, 8))[0].std() for c in (1, 0.1))
        return float(faint / full)

    without = dataclasses.replace(BARE, norm=False)
    assert contrast(BARE) > 0.8 and contrast(without) < 0.2
    assert "norm" in str(abstract(BARE)) and "norm" not in str(abstract(without))


def test_a_batch_divided_over_devices_gives_the_same():
    mesh, tae, video = make_mesh({"data": 8}), small(), clip(8, 11, 16, 16)

    def there_and_back(tae, video):
        latent = tae.encode(video)
        return latent, tae.decode(latent)

    placed = jax.device_put(tae, replicated(mesh)), jax.device_put(video, batch_sharding(mesh))
    with jax.transfer_guard("disallow"):
        divided = jax.jit(partitioned(mesh, there_and_back))(*placed)
    latent = np.concatenate([encode(tae, video[i : i + 2]) for i in range(0, 8, 2)])
    back = np.concatenate([decode(tae, latent[i : i + 2]) for i in range(0, 8, 2)])
    for one, other in zip((latent, back), divided, strict=True):
        assert len(other.sharding.device_set) == 8 and not other.sharding.is_fully_replicated
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_weights_are_arguments_of_a_compiled_program_and_nothing_moves_by_itself():
    tae, video = jax.device_put((small(), VIDEO))
    encode_on_device(tae, video)
    with jax.transfer_guard("disallow"):
        latent = jax.block_until_ready(encode_on_device(tae, video))
    assert latent.shape == tae.latent_shape(video.shape)
    as_arguments = len(encode_on_device.lower(tae, video).as_text())
    as_constants = len(jax.jit(tae.encode).lower(video).as_text())
    held = sum(x.size for x in jax.tree.leaves(tae.params["encoder"]))
    assert as_constants - as_arguments > 4 * held
