"""A source's own clips -> batches of pixels, positioned by the step number alone.

What an autoencoder is trained on: clips in the order of `order`, some rows of a batch as the
RGB clips of their flow, and some steps with first frames alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from videojam_jax.data import order
from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.errors import UserError
from videojam_jax.motion import flow_rgb

# In a row; one that cannot be used gives its place to the next.
_BAD_AT_MOST = 100


def batches(
    source,
    *,
    flow: Callable[[Clip], np.ndarray],
    sigma: float,
    seed: int,
    batch_size: int,
    clips: int,
    start_step: int = 0,
    rows: Sequence[int] | np.ndarray | None = None,
    flow_share: float = 0.0,
    image_share: float = 0.0,
    threads: int = 2,
    prefetch: int = 4,
    tell_bad: Callable[[BadClip], None] = lambda bad: None,
) -> Iterator[dict[str, np.ndarray]]:
    """An endless iterator over batches, beginning with that of `start_step`.

    Args:
      source: as `prepare` takes it.
      flow: a clip's flow, float32 `[t - 1, h, w, 2]`; called for the flow clips alone.
      sigma: see `flow_rgb.flow_to_rgb`.
      seed: of the order, and of which steps see images.
      clips: the first so many of the source are used.
      batch_size, rows, start_step, threads, prefetch: see `order`.
      flow_share: share of the rows that are flow clips, spread over the batch; of every
        batch the same rows.
      image_share: probability that a step sees the first frames alone, `t = 1`.
      tell_bad: called with each clip that could not be used, once.

    Yields:
      `video` uint8 `[rows, t, h, w, 3]`, and `is_flow` bool `[rows]`.

    Raises:
      UserError: many clips in a row could not be used.
    """
    places = order.places(clips, seed, batch_size, rows)
    known_bad: set[int] = set()
    lock = threading.Lock()

    def usable(index: int, wants_flow: bool) -> np.ndarray:
        for ahead in range(min(_BAD_AT_MOST, clips)):
            number = (index + ahead) % clips
            try:
                return pixels(source[number], flow if wants_flow else None, sigma)
            except BadClip as bad:
                with lock:
                    is_new = number not in known_bad
                    known_bad.add(number)
                if is_new:
                    tell_bad(bad)
                last = bad
        raise UserError(f"none of {ahead + 1} clips in a row can be used, the last because: {last}")

    def batch(step: int) -> order.Batch:
        is_image = np.random.default_rng([seed, step]).random() < image_share
        is_flow, video = [], []
        for row, clip in places(step):
            is_flow.append(is_flow_row(row, flow_share))
            video.append(usable(clip, is_flow[-1])[: 1 if is_image else None])
        return {"video": np.stack(video), "is_flow": np.array(is_flow)}

    return order.endless(batch, start_step, threads, prefetch)


def is_flow_row(row: int, share: float) -> bool:
    """Whether a row of the global batch is a flow clip: `share` of them, evenly spread.

    >>> [is_flow_row(row, 0.25) for row in range(8)]
    [False, False, False, True, False, False, False, True]
    """
    return int((row + 1) * share) > int(row * share)


def pixels(clip: Clip, flow: Callable[[Clip], np.ndarray] | None, sigma: float) -> np.ndarray:
    """A clip's frames, or the RGB clip of its flow, uint8 `[t, h, w, 3]`."""
    if flow is None:
        return clip.video
    field = flow(clip)
    if not np.isfinite(field).all():
        raise BadClip(clip.source_id, "its flow is not finite")
    return flow_rgb.flow_clip_uint8(field, sigma)
