"""The device half of `prepare`: what it makes of a batch, and that nothing waits for it in vain."""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_clips import CountingText

from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.data.encode import Encoder, _Clock
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.motion import flow_rgb
from videojam_jax.motion.latent import MotionCode

SHAPE = (3, 8, 8, 3)
SIGMA = 0.2
MEAN, STD = (0.1, -0.2, 0.3), (0.5, 2.0, 1.0)
CODE = MotionCode(SIGMA, MEAN, STD)
POISON = 255  # as a clip's first value: its latent, or its flow, is then not finite
SECONDS = 60  # after which what is waited for does not come


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("weight",), meta_fields=("poisoned",)
)
@dataclasses.dataclass(frozen=True)
class Scaled:
    """An autoencoder whose latents are pixels times a weight."""

    weight: jax.Array
    poisoned: bool = False

    def encode(self, video):
        latent = self.weight * video
        if self.poisoned:
            latent = jnp.where(video[:, :1, :1, :1, :1] > 0.997, jnp.nan, latent)
        return latent


def brightness_flow(params, video):
    """A flow on the devices: to the right by how much a pixel grows brighter."""
    pixels = video.astype(jnp.float32)
    u = params["gain"] * (pixels[:, 1:, ..., 0] - pixels[:, :-1, ..., 0])
    u = jnp.where(video[:, :1, :1, :1, 0] == POISON, jnp.inf, u)
    return jnp.stack([u, jnp.zeros_like(u)], axis=-1)


def device_flow():
    return jax.tree_util.Partial(brightness_flow, {"gain": jnp.float32(0.01)})


def clip(number, caption=None, poison=False):
    video = np.random.default_rng(number).integers(0, 255, SHAPE, dtype=np.uint8)
    video[0, 0, 0, 0] = POISON if poison else 0
    return Clip(video, f"clip {number % 3}" if caption is None else caption, f"c:{number}", 8.0)


def flow_of(number):
    shape = (SHAPE[0] - 1, *SHAPE[1:3], 2)
    return np.random.default_rng([7, number]).normal(size=shape).astype(np.float32)


def encoded(batches, rows=4, flow=None, text=None, poisoned=False):
    text = CountingText() if text is None else text
    with Encoder(Scaled(jnp.float32(0.5), poisoned), text, flow, CODE, rows) as encoder:
        return list(encoder.encode(batches))


def sources(batch):
    return [one.source_id for one, *_ in batch.good], [one.source_id for one in batch.bad]


# --- what comes out ---------------------------------------------------------------------


def test_latents_are_those_of_the_clip_and_of_the_colours_of_its_flow():
    (batch,) = encoded([(0, [(clip(i), flow_of(i)) for i in range(4)])])
    for i, (one, latent, motion, text) in enumerate(batch.good):
        pixels = clip(i).video / np.float32(127.5) - 1
        flow = flow_of(i)
        rgb = flow_rgb.flow_to_rgb(np.concatenate([flow, flow[-1:]]), SIGMA)
        assert latent.dtype == motion.dtype == jnp.bfloat16
        motion_wanted = (0.5 * (2 * rgb - 1) - MEAN) / STD
        for found, wanted in ((latent, 0.5 * pixels), (motion, motion_wanted)):
            np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=2**-8, atol=1e-6)
        assert text.tolist() == CountingText().encode([one.caption])[0].tolist()
    assert not batch.bad


def test_flow_from_the_devices_is_the_flow_that_is_encoded():
    (batch,) = encoded([(0, [(clip(i), None) for i in range(3)])], flow=device_flow())
    for i, (_, _, motion, _) in enumerate(batch.good):
        red = clip(i).video[..., 0].astype(np.float32)
        u = 0.01 * (red[1:] - red[:-1])
        flow = np.stack([u, 0 * u], axis=-1)
        rgb = flow_rgb.flow_to_rgb(np.concatenate([flow, flow[-1:]]), SIGMA)
        wanted = (0.5 * (2 * rgb - 1) - MEAN) / STD
        np.testing.assert_allclose(motion.astype(np.float32), wanted, rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("flow", [None, device_flow()], ids=["given", "of the devices"])
def test_frames_in_another_order_take_the_flow_of_their_own_place_along(flow):
    # The last frame's flow is that of the frame before it, wherever the two are now.
    order = np.array([2, 0, 1], np.int32)
    ways = [(clip(i), None if flow else flow_of(i)) for i in range(4)]
    permuted = [(dataclasses.replace(one, order=order), its_flow) for one, its_flow in ways]
    (as_it_is,), (other,) = (encoded([(0, batch)], flow=flow) for batch in (ways, permuted))
    for (_, *in_order, text), (_, *out_of_order, same) in zip(
        as_it_is.good, other.good, strict=True
    ):
        for latent, its_permuted in zip(in_order, out_of_order, strict=True):
            np.testing.assert_array_equal(its_permuted, latent[order])
        assert text.tolist() == same.tolist()


def test_batches_and_their_clips_keep_their_order_whatever_their_length():
    lengths, number, batches = [4, 4, 1, 3, 4, 2, 4], 0, []
    for length in lengths:
        batches.append((0, [(clip(number + i), flow_of(number + i)) for i in range(length)]))
        number += length
    found = encoded(iter(batches))
    assert [len(batch.good) for batch in found] == lengths
    assert sum((sources(batch)[0] for batch in found), []) == [f"c:{i}" for i in range(number)]


def test_a_short_batch_is_filled_up_and_its_clips_are_what_they_are_in_a_full_one():
    (whole,) = encoded([(0, [(clip(i), flow_of(i)) for i in range(4)])])
    alone = encoded([(0, [(clip(i), flow_of(i))]) for i in range(4)])
    for wanted, batch in zip(whole.good, alone, strict=True):
        ((_, latent, motion, _),) = batch.good
        assert latent.tobytes() == wanted[1].tobytes() and motion.tobytes() == wanted[2].tobytes()


@pytest.mark.parametrize("rows", [1, 3, 8, 9])
def test_any_number_of_rows_spreads_over_the_devices(rows):
    batches = [(0, [(clip(i), flow_of(i)) for i in range(rows)])]
    (batch,) = encoded(batches, rows=rows)
    (whole,) = encoded([(0, [(clip(0), flow_of(0))])])
    assert len(batch.good) == rows
    assert batch.good[0][1].tobytes() == whole.good[0][1].tobytes()


def test_no_transfer_is_accidental():
    batches = [(0, [(clip(i), None) for i in range(4)]), (0, [(clip(4), None)])]
    flow = device_flow()
    weight = jnp.float32(0.5)
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")  # in all threads
    try:
        with Encoder(Scaled(weight), CountingText(), flow, CODE, 4) as encoder:
            found = list(encoder.encode(batches))
            latents, field = encoder.clip(clip(0), None)
    finally:
        jax.config.update("jax_transfer_guard", before)
    assert [len(batch.good) for batch in found] == [4, 1]
    assert latents[0].tobytes() == found[0].good[0][1].tobytes()
    assert field.shape == (2, 8, 8, 2) and field.dtype == np.float32


# --- what cannot be used ----------------------------------------------------------------


def test_bad_clips_go_by_the_devices_and_come_out_with_their_batch():
    bad = BadClip("broken.mp4#0", "damaged")
    batches = [
        (0, [(clip(0), flow_of(0)), bad, (clip(1), flow_of(1))]),
        (0, [bad]),
        (0, [(clip(2), flow_of(2))]),
    ]
    found = encoded(batches)
    assert [sources(batch) for batch in found] == [
        (["c:0", "c:1"], ["broken.mp4#0"]), ([], ["broken.mp4#0"]), (["c:2"], [])
    ]  # fmt: skip
    assert found[1].bad[0].reason == "damaged"


@pytest.mark.parametrize("what", ["latent", "flow on the devices", "flow of the source"])
def test_one_clip_that_is_not_finite_is_set_aside_alone(what):
    loaded = [(clip(i, poison=i == 2), flow_of(i)) for i in range(4)]
    if what == "flow of the source":
        loaded[2][1][1, 3, 3, 0] = np.nan
    flow = device_flow() if what == "flow on the devices" else None
    if flow:
        loaded = [(one, None) for one, _ in loaded]
    (batch,) = encoded([(0, loaded)], flow=flow, poisoned=what == "latent")
    assert sources(batch) == (["c:0", "c:1", "c:3"], ["c:2"])
    assert batch.bad[0].reason == "its flow or its latent is not finite"
    (clean,) = encoded(
        [(0, [pair for i, pair in enumerate(loaded) if i != 2])], flow=flow
    )
    for found, wanted in zip(batch.good, clean.good, strict=True):
        assert found[1].tobytes() == wanted[1].tobytes()


def test_one_clip_alone_has_no_flow_where_it_is_not_finite():
    with Encoder(Scaled(jnp.float32(0.5)), None, device_flow(), CODE, 1) as encoder:
        assert encoder.clip(clip(0, poison=True), None)[1] is None
        assert encoder.clip(clip(0), None)[1] is not None


# --- captions ---------------------------------------------------------------------------


def test_captions_are_encoded_once_in_a_shard_and_anew_in_the_next():
    text = CountingText()
    words = ["a", "b", "a", "c", "c", "a", "b"]
    loaded = [(clip(i, caption=word), flow_of(i)) for i, word in enumerate(words)]
    found = encoded([(0, loaded[:3]), (0, loaded[3:5]), (1, loaded[5:])], text=text)
    assert text.asked == [["a", "b"], ["c"], ["a", "b"]]
    texts = [row for batch in found for *_, row in batch.good]
    wanted = CountingText().encode(words)
    assert [t.tolist() for t in texts] == [t.tolist() for t in wanted]


def test_an_error_of_the_text_encoder_is_told_and_not_lost_in_its_thread():
    class Broken:
        def encode(self, captions):
            raise RuntimeError("no such token")

    with pytest.raises(RuntimeError, match="no such token"):
        encoded([(0, [(clip(0), flow_of(0))])], text=Broken())


# --- side by side -----------------------------------------------------------------------


def test_the_next_clips_are_loaded_while_the_devices_work_on_a_batch():
    next_is_asked_for, was_in_time = threading.Event(), []

    def waits(latent):
        was_in_time.append(next_is_asked_for.wait(SECONDS))
        return latent

    @jax.tree_util.register_static
    @dataclasses.dataclass(frozen=True)
    class Slow:
        def encode(self, video):
            shape = jax.ShapeDtypeStruct(video.shape, video.dtype)
            return jax.pure_callback(waits, shape, video)

    def batches():
        yield 0, [(clip(0), flow_of(0))]
        next_is_asked_for.set()
        yield 0, [(clip(1), flow_of(1))]

    with Encoder(Slow(), CountingText(), None, CODE, 1) as encoder:
        found = list(encoder.encode(batches()))
    assert [sources(batch)[0] for batch in found] == [["c:0"], ["c:1"]]
    assert was_in_time and all(was_in_time)


def test_the_next_clips_are_loaded_while_captions_are_encoded_and_latents_fetched():
    next_is_asked_for, was_in_time = threading.Event(), []

    class Slow(CountingText):
        def encode(self, captions):
            was_in_time.append(next_is_asked_for.wait(SECONDS))
            return super().encode(captions)

    def batches():
        yield 0, [(clip(0), flow_of(0))]
        yield 0, [(clip(1), flow_of(1))]
        next_is_asked_for.set()
        yield 0, [(clip(2), flow_of(2))]

    assert len(encoded(batches(), text=Slow())) == 3
    assert all(was_in_time)


def test_no_more_clips_are_held_than_the_devices_need_to_be_busy():
    given = 0

    def batches():
        nonlocal given
        for i in range(10):
            given += 1
            yield 0, [(clip(i), flow_of(i))]

    with Encoder(Scaled(jnp.float32(0.5)), CountingText(), None, CODE, 1) as encoder:
        for taken, _ in enumerate(encoder.encode(batches()), 1):
            assert given - taken <= 2, f"{given} batches were loaded when {taken} were done"


# --- how long the devices waited --------------------------------------------------------


def clock(*batches):
    made = _Clock()
    for given, done, clips in batches:
        made.worked(given, done, clips)
    return made.rates()


def test_devices_that_always_have_the_next_batch_never_wait():
    # Each was given before the one before it was done.
    rates = clock((0, 100, 4), (90, 102, 4), (101, 104, 4), (101, 106, 4))
    assert (rates.clips, rates.seconds, rates.waiting) == (12, 6, 0)


def test_devices_wait_from_one_batch_to_the_giving_of_the_next():
    # Done at 100; idle until 103, work to 104; idle until 107, work to 108.
    rates = clock((0, 100, 4), (103, 104, 4), (107, 108, 2))
    assert (rates.clips, rates.seconds) == (6, 8)
    assert rates.waiting == 6 / 8


def test_the_first_batch_which_compiles_is_not_counted_and_nothing_is_no_rate():
    for rates in (clock(), clock((0, 50, 4))):
        assert (rates.clips, rates.seconds, rates.waiting) == (0, 0, 0)


def test_an_encoder_measures_what_it_encodes():
    with Encoder(Scaled(jnp.float32(0.5)), CountingText(), None, CODE, 2) as encoder:
        batches = [(0, [(clip(i), flow_of(i)), (clip(i + 1), flow_of(i))]) for i in range(0, 8, 2)]
        assert len(list(encoder.encode(batches))) == 4
        rates = encoder.rates()
    assert rates.clips == 6 and rates.seconds > 0 and 0 <= rates.waiting < 1


def test_models_without_weights_leave_the_devices_nothing_to_wait_for():
    with Encoder(Pixels((1, 2, 2)), CountingText(), None, CODE, 2) as encoder:
        assert encoder.rates().waiting is None
