"""The flow of clips by RAFT: frames of any size, groups of pairs, both ways, a mesh."""

import dataclasses
import functools
import re

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from videojam_jax.errors import UserError
from videojam_jax.models.raft import RAFT, SIZES
from videojam_jax.motion import raft

UPDATES = 2
# Any network will do that looks for where pixels go: this one compiles in half the time.
TINY = dataclasses.replace(
    SIZES["small"], bottleneck=False, encoder=(8, 8, 8, 8), features=16, hidden=8, context=8,
    radius=1, correlation=(8,), flow=(8, 8), motion=10, flow_head=8, levels=1,
)  # fmt: skip
MODEL = RAFT("tiny")


@pytest.fixture(scope="module", autouse=True)
def small_frames_are_large_enough():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raft, "SHORTEST", 24)
        patch.setitem(SIZES, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def params():
    frame = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    initialise = functools.partial(MODEL.init, updates=1)
    abstract = nn.unbox(jax.eval_shape(initialise, jax.random.key(0), frame, frame))["params"]
    rng = np.random.default_rng(0)

    def draw(struct):
        spread = np.sqrt(1 / np.prod(struct.shape[:-1])) if len(struct.shape) > 1 else 0.1
        return np.asarray(rng.normal(size=struct.shape) * spread, np.float32)

    return jax.tree.map(draw, abstract)


@pytest.fixture(scope="module")
def estimate(params):
    """`(video, pairs) -> flow`, compiled once for each shape and bound."""
    jitted = jax.jit(
        lambda params, video, pairs: raft.flow_of_clips(
            MODEL, params, video, updates=UPDATES, pairs=pairs
        ),
        static_argnums=2,
    )
    return lambda video, pairs: np.asarray(jitted(params, video, pairs))


def clips(b=2, t=4, height=28, width=36, seed=0):
    """uint8 clips of blobs that drift."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (b, t + 3, 6, 6, 3))
    smooth = (coarse[:, :-3] + coarse[:, 1:-2] + coarse[:, 2:-1] + coarse[:, 3:]) / 4
    large = [cv2.resize(frame, (width, height)) for frame in smooth.reshape(-1, 6, 6, 3)]
    return np.reshape(large, (b, t, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (13, 23), (9, 8)])
def test_the_border_repeats_around_the_picture_until_eight_divides(height, width):
    frames = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)

    @jax.jit
    def there_and_back(frames):
        padded = raft.pad(frames)
        return padded, raft.unpad(padded, height, width)

    got, back = there_and_back(frames)
    below, right = -height % 8, -width % 8
    # princeton-vl's Sintel padding: the half, rounded down, above and to the left
    margins = [(0, 0), (below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0)]
    np.testing.assert_array_equal(got, np.pad(frames, margins, mode="edge"))
    assert got.shape[1] % 8 == got.shape[2] % 8 == 0
    np.testing.assert_array_equal(back, frames)


def test_only_small_frames_are_enlarged(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(raft, "SHORTEST", 128)
    sizes = [(128, 200), (127, 400), (64, 64), (32, 20), (1080, 1920)]
    assert [raft.enlargement(*size) for size in sizes] == [1, 2, 2, 7, 1]


def test_a_clip_that_is_worked_on_in_groups_has_the_same_flow(estimate):
    video = clips()
    # In [-1, 1] as well as of bytes.
    all_at_once = estimate(video / np.float32(127.5) - 1, 8)
    assert all_at_once.shape == (2, 3, 28, 36, 2) and all_at_once.dtype == np.float32
    assert np.abs(all_at_once).mean() > 0.05
    assert np.abs(np.diff(all_at_once, axis=1)).max() > 0.05  # no pair is another one
    # Two groups, the second of which lacks a frame.
    np.testing.assert_allclose(estimate(video, 2), all_at_once, atol=1e-4)


def test_each_flow_is_that_of_the_network_on_the_two_padded_frames(estimate, params):
    video = clips()
    frames = np.pad(video.astype(np.float32), [(0, 0), (0, 0), (2, 2), (2, 2), (0, 0)], "edge")
    frames = 2 * (frames / 255) - 1  # princeton-vl/RAFT core/raft.py
    first, second = (x.reshape(-1, 32, 40, 3) for x in (frames[:, :-1], frames[:, 1:]))
    wanted = jax.jit(functools.partial(MODEL.apply, updates=UPDATES))(
        {"params": params}, first, second
    )
    wanted = np.asarray(wanted).reshape(2, 3, 32, 40, 2)[:, :, 2:-2, 2:-2]
    np.testing.assert_allclose(estimate(video, 2), wanted, atol=1e-4)


def test_the_flow_of_small_frames_is_that_of_enlarged_ones_in_their_own_pixels(estimate):
    video = clips(height=14, width=18)
    # 14 is enlarged twice; so is what is given here, by the same rule.
    frames = video / np.float32(127.5) - 1
    resize = jax.jit(lambda x: jax.image.resize(x, (2, 4, 28, 36, 3), "bilinear"))
    wanted = estimate(np.asarray(resize(frames)), 8)
    wanted = wanted.reshape(2, 3, 14, 2, 18, 2, 2).mean((3, 5)) / 2
    got = estimate(video, 8)
    assert got.shape == (2, 3, 14, 18, 2)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_clips_divided_over_devices_give_the_same_flow_and_send_nothing(estimate, params):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    apart, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    video = clips(b=8)
    run = jax.jit(
        functools.partial(raft.flow_of_clips, MODEL, updates=UPDATES, pairs=2),
        in_shardings=(whole, apart),
        out_shardings=apart,
    )
    compiled = run.lower(params, video).compile()
    sent = re.findall(
        r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter", compiled.as_text()
    )
    assert not sent, set(sent)
    found = compiled(jax.device_put(params, whole), jax.device_put(video, apart))
    assert found.sharding.is_equivalent_to(apart, found.ndim)
    alone = [estimate(video[i : i + 2], 2) for i in range(0, 8, 2)]
    np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-4)


@pytest.mark.parametrize(
    ("t", "pairs", "message"), [(1, 4, "a clip of 1 frame"), (3, 0, "0 pairs of frames")]
)
def test_what_has_no_flow_is_named(estimate, t, pairs, message):
    with pytest.raises(UserError, match=message):
        estimate(clips(t=t), pairs)
