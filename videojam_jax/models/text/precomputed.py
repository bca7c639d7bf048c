"""Text embeddings that were prepared elsewhere (for instance by a T5 encoder)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from videojam_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PrecomputedText:
    """Embeddings of `width`, at most `max_length` tokens a caption."""

    width: int
    max_length: int

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        raise UserError(
            "text.name = 'precomputed' has no encoder: captions can be read from prepared "
            "records alone; set text.name = 'bytes' to encode new ones"
        )
