"""A source of tiny clips, some of them bad, and `prepare` over it, in this process or as a job.

    python tiny_clips.py OUT [PROCESS_INDEX PROCESS_COUNT]

prints a line after each batch, so that a test can kill it between or amid batches.
"""

import dataclasses
import hashlib
import sys
from pathlib import Path

import numpy as np

from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.data.prepare import Models, PrepareOptions, Share, prepare
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.text.bytes import ByteText

SHAPE = (4, 16, 16, 3)
BAD = (3, 10)  # indices
LISTED_BAD = ({"source": "x.mp4", "reason": "no video"},)
COUNT = 29
CAPTIONS = ("a red disc falls", "", "two bodies collide: größer")


class TinyClips:
    """`count` clips of noise with noise for flow; counts how often each was asked for."""

    def __init__(self, count=COUNT, bad=BAD, listed_bad=LISTED_BAD):
        self.count, self.bad, self.set_aside = count, bad, list(listed_bad)
        self.asked = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        if index in self.bad:
            raise BadClip(f"tiny:{index}", "truncated")
        rng = np.random.default_rng(index)
        video = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        flow = rng.normal(size=(SHAPE[0] - 1, *SHAPE[1:3], 2)).astype(np.float32)
        return Clip(video, CAPTIONS[index % 3], f"tiny:{index}", 8.0, flow)

    def describe(self):
        return {"name": "tiny", "clips": self.count}


class CountingText(ByteText):
    """Byte text that remembers what it was asked to encode."""

    def __init__(self, max_length=32):
        super().__init__(max_length)
        object.__setattr__(self, "asked", [])

    def encode(self, captions):
        self.asked.append(list(captions))
        return super().encode(captions)


def prepare_tiny(out, source=None, **changes):
    """`prepare`; `changes` are of its arguments and of the fields of models and options."""
    models = Models(Pixels((1, 2, 2)), ByteText(32), flow=lambda clip: clip.flow)
    options = PrepareOptions(clips_per_shard=6, batch_size=4)
    models, options = (
        dataclasses.replace(one, **{k: changes.pop(k) for k in vars(one).keys() & changes.keys()})
        for one in (models, options)
    )
    settings = {"config": {"clip": {"frames": 4}, "motion": {"flow": "exact"}}}
    given = {"settings": settings, "options": options, **changes}
    return prepare(TinyClips() if source is None else source, models, Path(out), **given)


def digest(folder):
    """Every file below the folder by name, hidden ones too, with the SHA-256 of its bytes."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    out, index, count = (*sys.argv[1:], "0", "1")[:3]
    try:
        prepare_tiny(
            out,
            share=Share(int(index), int(count)),
            report=lambda done, total, set_aside: print(done, total, flush=True),
        )
    except UserError as error:
        sys.exit(f"UserError: {error}")
