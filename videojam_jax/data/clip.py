"""What a source gives: a clip in memory, the wish that shaped it, and how files are cut."""

import dataclasses

import numpy as np

from videojam_jax.keys import MODEL, REQUIRED, config_key


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """The shape every clip of a data set is brought to, `config.clip`.

    A random crop is a function of `seed` and the clip.
    """

    frames: int = config_key(REQUIRED, "frames of a clip", minimum=2, tags=(MODEL,))
    height: int = config_key(REQUIRED, "rows", minimum=8, tags=(MODEL,))
    width: int = config_key(REQUIRED, "columns", minimum=8, tags=(MODEL,))
    fps: float = config_key(REQUIRED, "frames a second", minimum=0.1)
    stride: int = config_key(
        0,
        "frames between the starts of clips cut from one file; 0: the clip's length",
        minimum=0,
    )
    crop: str = config_key(
        "centre", "which part of a wider or taller frame", choices=("centre", "random")
    )
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Clip:
    """A short video with a caption.

    Attributes:
      video: uint8 `[t, h, w, 3]`, RGB.
      caption: text, may be empty.
      source_id: names the clip within its source for good ("cats/one.mp4#2").
      fps: frames a second of `video`.
      flow: float32 `[t - 1, h, w, 2]`, `(u, v)` in pixels from frame i to frame
        i + 1, x to the right, y down; None where the source does not know it.
      order: int32 `[t]`, a permutation: the frames of `video` and those of the flow clip are
        encoded in this order (see `permuted`); None: as they are.
    """

    video: np.ndarray
    caption: str
    source_id: str
    fps: float
    flow: np.ndarray | None = None
    order: np.ndarray | None = None


class BadClip(Exception):
    """This clip cannot be used; the rest of its source can.

    Raised by `source[i]`, caught by `prepare`, which sets the clip aside and
    names it with its reason in the manifest.
    """

    def __init__(self, source_id: str, reason: str):
        super().__init__(f"{source_id}: {reason}")
        self.source_id = source_id
        self.reason = reason


def checked(index: int, length: int) -> int:
    """A clip's number; IndexError where a source of `length` clips has none of it."""
    if not 0 <= index < length:
        raise IndexError(f"clip {index} of {length}")
    return int(index)


def stride(spec: ClipSpec) -> int:
    """Frames between the starts of two clips of one file."""
    return spec.stride or spec.frames


def clips_in(frames: int, spec: ClipSpec) -> int:
    """How many clips `frames` frames are cut into."""
    return max(0, (frames - spec.frames) // stride(spec) + 1)


def too_short(frames: int, spec: ClipSpec) -> str:
    """Why a file of so many frames is set aside."""
    return (
        f"too short: {frames} frames at {spec.fps:g} frames a second "
        f"({frames / spec.fps:.2f} s), a clip has {spec.frames} ({spec.frames / spec.fps:.2f} s)"
    )
