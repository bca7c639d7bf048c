"""Clips to latents and captions to embeddings on this process's devices, batch after batch.

The devices get a batch while the one before is fetched and the one before that is written,
so they wait only for clips that are not loaded yet; how long they did is measured.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt8

from videojam_jax.data import records
from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.models.autoencoders.pixels import from_uint8
from videojam_jax.models.text.pretrained import PretrainedText
from videojam_jax.motion import flow_rgb
from videojam_jax.motion.latent import MotionCode

# Batches that wait on the devices or are being fetched; each holds its clips in memory.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A batch as it will be stored.

    Attributes:
      good: `(clip, latent, motion latent, text)`, bfloat16 `[t, h, w, c]` and as
        `records.stored_text` gives it.
      bad: the clips that could not be used.
    """

    good: list[tuple[Clip, np.ndarray, np.ndarray, Any]]
    bad: list[BadClip]


@dataclasses.dataclass(frozen=True)
class Rates:
    """What was measured since the first batch was done, which compiles.

    Attributes:
      clips: encoded since then.
      seconds: since then.
      waiting: share of these seconds in which the devices had nothing to do; None where no
        model has weights, and there is next to nothing for them to do.
    """

    clips: int
    seconds: float
    waiting: float | None


class Encoder:
    """Encodes clips on all devices of this process; to be used in a `with`.

    Args:
      autoencoder: a pytree with `encode`, which takes video and flow clips alike.
      text: `encode(captions)`.
      device_flow: a pytree that gives the flow, float32 `[b, t - 1, h, w, 2]`, of uint8
        video `[b, t, h, w, 3]`; None where the clips come with their flow.
      code: from flow to motion latents.
      rows: clips of a batch at most. They are spread over the devices, and filled up so
        that every batch has the one shape that was compiled.
    """

    def __init__(self, autoencoder, text, device_flow: Callable | None, code: MotionCode, rows: int):
        devices = jax.local_devices()
        mesh = Mesh(np.array(devices), ("data",))
        whole = NamedSharding(mesh, PartitionSpec())
        self._rows = -(-rows // len(devices)) * len(devices)
        self._sharding = NamedSharding(mesh, PartitionSpec("data"))
        # Weights are on every device, and given to the program rather than compiled into it.
        self._models = jax.device_put((autoencoder, device_flow), whole)
        self._text, self._code = text, code
        self._has_weights = bool(jax.tree.leaves(self._models)) or isinstance(text, PretrainedText)
        self._fetcher = concurrent.futures.ThreadPoolExecutor(1)
        self._texts: dict[str, Any] = {}
        self._shard: int | None = None
        self._clock = _Clock()

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, *error) -> None:
        self._fetcher.shutdown(cancel_futures=True)

    def encode(self, batches: Iterable[tuple[int, list]]) -> Iterator[Encoded]:
        """The batches in their order.

        Args:
          batches: `(shard, loaded)`; `loaded` holds `(clip, flow)`, the flow None where the
            devices estimate it, and BadClips.
        """
        pending: collections.deque = collections.deque()
        for shard, loaded in batches:
            pending.append(self._start(shard, loaded))
            if len(pending) > _IN_FLIGHT:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def clip(
        self, clip: Clip, flow: np.ndarray | None
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray | None]:
        """One clip alone: `(latent, motion latent)` and its flow, None where not all is finite."""
        video, motion, finite, found = jax.device_get(self._given([clip], [flow]))
        return (video[0], motion[0]), found[0] if finite[0] else None

    def rates(self) -> Rates:
        """What was measured so far."""
        rates = self._clock.rates()
        return rates if self._has_weights else dataclasses.replace(rates, waiting=None)

    def _start(self, shard: int, loaded: list) -> concurrent.futures.Future:
        bad = [one for one in loaded if isinstance(one, BadClip)]
        good = [one for one in loaded if not isinstance(one, BadClip)]
        latents = None
        if good:
            *latents, _ = self._given(*zip(*good, strict=True))
        given = time.perf_counter()
        return self._fetcher.submit(self._fetch, shard, [c for c, _ in good], bad, latents, given)

    def _given(self, clips: Sequence[Clip], flows: Sequence[np.ndarray | None]):
        """What the devices will have made of a batch, see `_latents`."""
        video = self._stacked([clip.video for clip in clips], np.uint8)
        flow = None if flows[0] is None else self._stacked(flows, np.float32)
        order = None
        if clips[0].order is not None:
            order = self._stacked([clip.order for clip in clips], np.int32)
        on_device = jax.device_put((video, flow, order), self._sharding)
        with jax.default_matmul_precision("float32"):
            return _latents(*self._models, *on_device, code=self._code)

    def _fetch(self, shard, clips: list[Clip], bad: list[BadClip], latents, given) -> Encoded:
        if not clips:
            return Encoded([], bad)
        texts = self._encoded(shard, [clip.caption for clip in clips])
        video, motion, finite = (rows[: len(clips)] for rows in jax.device_get(latents))
        self._clock.worked(given, time.perf_counter(), len(clips))
        good = []
        for clip, *arrays, is_finite in zip(clips, video, motion, finite, strict=True):
            if is_finite:
                good.append((clip, *arrays, texts[clip.caption]))
            else:
                bad.append(BadClip(clip.source_id, "its flow or its latent is not finite"))
        return Encoded(good, bad)

    def _encoded(self, shard: int, captions: Sequence[str]) -> dict[str, Any]:
        # Each caption is encoded once, but anew in each shard: an encoder's rounding may
        # depend on the rest of its batch, and so must not on what other shards held.
        if shard != self._shard:
            self._shard, self._texts = shard, {}
        new = list(dict.fromkeys(caption for caption in captions if caption not in self._texts))
        if new:
            with jax.default_matmul_precision("float32"):
                texts = self._text.encode(new)
            self._texts.update(zip(new, map(records.stored_text, texts), strict=True))
        return self._texts

    def _stacked(self, arrays: Sequence[np.ndarray], dtype) -> np.ndarray:
        return np.stack(filled_up(arrays, self._rows)).astype(dtype, copy=False)


def filled_up(items: Sequence, rows: int) -> list:
    """A short last batch with its last item again and again, so that one program serves all.

    >>> filled_up(range(8, 10), 4)
    [8, 9, 9, 9]
    """
    return [*items, *[items[-1]] * (rows - len(items))]


@functools.partial(jax.jit, static_argnames="code")
def _latents(
    autoencoder,
    device_flow,
    video: UInt8[Array, "b t h w 3"],
    flow: Float[Array, "b s h w 2"] | None,
    order: Int[Array, "b t"] | None,
    code: MotionCode,
):
    """Latents of the clips and of their flow, whether all of a clip's is finite, and the flow.

    The flow is that of the clips as they are; with an `order`, a frame takes its flow along.
    """
    if flow is None:
        flow = device_flow(video)
    clips = [from_uint8(video), 2 * flow_rgb.flow_clip(flow, code.sigma) - 1]
    if order is not None:
        clips = [jax.vmap(lambda clip, its: clip[its])(each, order) for each in clips]
    encoded = [autoencoder.encode(each) for each in clips]
    both = encoded[0], code.of_encoded(encoded[1])
    finite = [jnp.isfinite(x).all(range(1, x.ndim)) for x in (flow, *both)]
    latents = (latent.astype(jnp.bfloat16) for latent in both)
    return *latents, jnp.all(jnp.stack(finite), axis=0), flow


class _Clock:
    """Adds up how long the devices worked."""

    def __init__(self):
        self._begin: float | None = None
        self._done, self._busy, self._clips = 0.0, 0.0, 0

    def worked(self, given: float, done: float, clips: int) -> None:
        """A batch was given to the devices and done at these times; batches are done in order."""
        if self._begin is None:
            self._begin = done
        else:
            self._busy += done - max(given, self._done)
            self._clips += clips
        self._done = done

    def rates(self) -> Rates:
        seconds = self._done - self._begin if self._begin is not None else 0.0
        return Rates(self._clips, seconds, 1 - self._busy / seconds if seconds else 0.0)
