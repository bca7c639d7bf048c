"""One prepared clip as bytes, and texts of many lengths as one batch.

A record is a dictionary:

    video      bfloat16 [t, h, w, c]   the latent of the clip
    motion     bfloat16 [t, h, w, c]   the latent of its flow, as an RGB clip
    text       int32 [n] tokens, or bfloat16 [n, e] embeddings, at its true length
    caption    str
    source_id  str, names the clip within its source
    fps        float

The bytes are msgpack with Flax's array extension, keys sorted: equal records give
equal bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Bool, Float, Int

KEYS = ("video", "motion", "text", "caption", "source_id", "fps")

Record = dict[str, Any]
# Each of its own length, so the axis has no name.
Text = Int[np.ndarray, "_"] | Float[np.ndarray, "_ e"]


def to_bytes(record: Mapping[str, Any]) -> bytes:
    """The record's bytes."""
    return serialization.msgpack_serialize({key: record[key] for key in KEYS})


def from_bytes(data: bytes) -> Record:
    """The record again, its arrays read-only."""
    return serialization.msgpack_restore(data)


def stored_text(text: np.ndarray) -> Text:
    """A text as it is stored: tokens as int32, embeddings as bfloat16."""
    text = np.asarray(text)
    is_tokens = np.issubdtype(text.dtype, np.integer)
    return text.astype(np.int32 if is_tokens else jnp.bfloat16)


def text_to_bytes(text: Text) -> bytes:
    """One text alone, as the encoding of the empty caption is stored."""
    return serialization.msgpack_serialize({"text": stored_text(text)})


def text_from_bytes(data: bytes) -> Text:
    """The text again."""
    return serialization.msgpack_restore(data)["text"]


def pad_text(
    texts: Sequence[Text], max_length: int
) -> tuple[Int[np.ndarray, "b m"] | Float[np.ndarray, "b m e"], Bool[np.ndarray, "b m"]]:
    """Stacks texts of different lengths, zeros after each one's end.

    Args:
      texts: all tokens or all embeddings of one width; none longer than `max_length`.
      max_length: the length `m` of every row.

    Returns:
      The texts, and a mask that is true where a text is.

    >>> pad_text([np.array([1, 7], np.int32), np.array([1], np.int32)], 3)
    (array([[1, 7, 0],
           [1, 0, 0]], dtype=int32), array([[ True,  True, False],
           [ True, False, False]]))
    """
    lengths = np.array([len(text) for text in texts])
    if lengths.max() > max_length:
        raise ValueError(f"a text of {lengths.max()} does not fit into max_length={max_length}")
    padded = np.zeros((len(texts), max_length, *texts[0].shape[1:]), texts[0].dtype)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = text
    return padded, np.arange(max_length) < lengths[:, None]
