"""Text without any download: UTF-8 bytes as tokens, and a small trained encoder.

The tokenizer is fixed; the encoder's weights are trained with the trunk, so a
clip record holds the bytes and the model holds the meaning.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from videojam_jax.keys import CLIPS, MODEL, config_key
from videojam_jax.models.attention import attention
from videojam_jax.models.layers import dense, logical, rms_norm
from videojam_jax.models.partition import constrain

BEGIN = 1  # stands before every text, so that the empty caption is a text too
FIRST_BYTE = 2
VOCABULARY = FIRST_BYTE + 256  # 0 pads


TEXT = ("batch", None, "features")  # logical axes of its activations


@dataclasses.dataclass(frozen=True)
class ByteText:
    """Captions to byte tokens, cut to `max_length` (the leading BEGIN included)."""

    max_length: int

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """One int32 `[n]` a caption, at its true length.

        >>> ByteText(8).encode(["hi", ""])
        [array([  1, 106, 107], dtype=int32), array([1], dtype=int32)]
        """
        texts = []
        for caption in captions:
            tokens = [BEGIN] + [byte + FIRST_BYTE for byte in caption.encode("utf-8")]
            texts.append(np.asarray(tokens[: self.max_length], np.int32))
        return texts


class ByteEncoder(nn.Module):
    """A small pre-norm transformer over byte tokens; `config.text` of the name bytes.

    It has embeddings for `max_length` positions, and returns some of `width`.
    """

    width: int = config_key(256, "of the trained encoder", minimum=1, tags=(MODEL,))
    blocks: int = config_key(2, "of the trained encoder", minimum=0, tags=(MODEL,))
    heads: int = config_key(4, "of the trained encoder", minimum=1, tags=(MODEL,))
    max_length: int = config_key(
        128, "tokens, one a byte and one more", minimum=1, tags=(CLIPS, MODEL)
    )
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b n"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b n e"]:
        normal = nn.initializers.normal(0.02)
        vocabulary = self.param(
            "vocabulary", logical(normal, "vocabulary", "width"), (VOCABULARY, self.width)
        )
        positions = self.param(
            "positions", logical(normal, None, "width"), (self.max_length, self.width)
        )
        x = (vocabulary[tokens] + positions[: tokens.shape[1]]).astype(self.dtype)
        x = constrain(x, *TEXT)
        for block in range(self.blocks):
            y = rms_norm(x, f"norm_attention_{block}")
            qkv = dense(3 * self.width, ("width", "heads"), self.dtype, f"qkv_{block}")(y)
            q, k, v = (
                part.reshape(*part.shape[:2], self.heads, -1) for part in jnp.split(qkv, 3, -1)
            )
            y = attention(q, k, v, key_mask=mask).reshape(x.shape)
            y = dense(self.width, ("heads", "width"), self.dtype, f"out_{block}")(y)
            x = x + constrain(y, *TEXT)
            y = rms_norm(x, f"norm_mlp_{block}")
            y = nn.gelu(dense(4 * self.width, ("width", "mlp"), self.dtype, f"up_{block}")(y))
            y = dense(self.width, ("mlp", "width"), self.dtype, f"down_{block}")(y)
            x = x + constrain(y, *TEXT)
        return rms_norm(x, "norm")
