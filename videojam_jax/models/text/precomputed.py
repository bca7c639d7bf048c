"""Text embeddings that were prepared elsewhere (for instance by a T5 encoder)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, MODEL, REQUIRED, config_key


@dataclasses.dataclass(frozen=True)
class PrecomputedText:
    """Embeddings of one width; `config.text` of the name precomputed."""

    max_length: int = config_key(
        REQUIRED, "tokens of a caption at most", minimum=1, tags=(CLIPS, MODEL)
    )
    width: int = config_key(REQUIRED, "of an embedding", minimum=1, tags=(MODEL,))

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        raise UserError(
            "text.name = 'precomputed' has no encoder: captions can be read from prepared "
            "records alone; set text.name = 'bytes' to encode new ones"
        )
