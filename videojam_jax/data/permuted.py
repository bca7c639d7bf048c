"""A source's clips with their frames in another order, for what asks whether order is noticed."""

import dataclasses

import numpy as np
from jaxtyping import Int

from videojam_jax.data.clip import Clip, checked


def permutation(seed: int, clip: int, frames: int) -> Int[np.ndarray, " frames"]:
    """The order of a clip's frames, a function of seed and clip; never the one there is.

    Of a single frame there is no other.

    >>> permutation(0, 0, 4).tolist(), permutation(0, 1, 2).tolist()
    ([0, 3, 2, 1], [1, 0])
    """
    rng = np.random.default_rng((seed, clip))
    order = np.arange(frames)
    while frames > 1 and (order == np.arange(frames)).all():
        order = rng.permutation(frames)
    return order.astype(np.int32)


class Permuted:
    """The first clips of a source, each to be encoded with its frames permuted.

    Their frames and flow are those of the source: it is `encode.Encoder` that brings them into
    the order, each frame with its own flow, so that a permuted clip's motion is what the clip
    had there, and not what an estimator sees between frames that do not follow each other.
    """

    def __init__(self, source, seed: int, clips: int):
        """The first `clips` of a source, or as many as it has.

        Args:
          source: of the clips, as `prepare` takes it.
          seed: of the orders, see `permutation`.
        """
        self._source, self._seed = source, seed
        self._count = min(clips, len(source))
        self.set_aside = source.set_aside

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Clip:
        clip = self._source[checked(index, self._count)]
        order = permutation(self._seed, index, len(clip.video))
        return dataclasses.replace(clip, order=order)

    def describe(self) -> dict:
        return {**self._source.describe(), "clips": self._count, "permuted": self._seed}
