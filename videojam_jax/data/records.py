"""One prepared clip as bytes, and texts of many lengths as one batch.

A record is a dictionary:

    video      bfloat16 [t, h, w, c]   the latent of the clip
    motion     bfloat16 [t, h, w, c]   the latent of its flow, as an RGB clip
    text       int32 [n] tokens, or bfloat16 [n, e] embeddings, at its true length; a list
               of embeddings, each of its own length and width, where there are several encoders
    caption    str
    source_id  str, names the clip within its source
    fps        float

The bytes are msgpack with Flax's array extension, keys sorted: equal records give
equal bytes.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Float, Int

from videojam_jax.text import Text

KEYS = ("video", "motion", "text", "caption", "source_id", "fps")

Record = dict[str, Any]
# Each of its own length, so the axis has no name.
Encoding = Int[np.ndarray, "_"] | Float[np.ndarray, "_ _"]
StoredText = Encoding | list[Encoding] | tuple[Encoding, ...]


def to_bytes(record: Mapping[str, Any]) -> bytes:
    """The record's bytes."""
    return serialization.msgpack_serialize({key: record[key] for key in KEYS})


def from_bytes(data: bytes) -> Record:
    """The record again, its arrays read-only."""
    return serialization.msgpack_restore(data)


def check(record: Any) -> None:
    """ValueError where what was read is not the dictionary that is written."""
    if not isinstance(record, dict) or set(record) != set(KEYS):
        raise ValueError("it is no record of a clip")
    for name in ("video", "motion"):
        latent = record[name]
        if not isinstance(latent, np.ndarray) or latent.dtype != jnp.bfloat16:
            raise ValueError(f"its {name} is no bfloat16 latent")
    if not _is_text(record["text"]):
        raise ValueError("it holds no text")


def stored_text(text: np.ndarray | Sequence[np.ndarray]) -> StoredText:
    """A text as it is stored: tokens as int32, embeddings as bfloat16."""
    if not isinstance(text, np.ndarray):
        return [stored_text(part) for part in text]
    is_tokens = np.issubdtype(text.dtype, np.integer)
    return text.astype(np.int32 if is_tokens else jnp.bfloat16)


def text_to_bytes(text: StoredText) -> bytes:
    """One text alone, as the encoding of the empty caption is stored: with a checksum."""
    alone = {"text": stored_text(text)}
    checksum = zlib.crc32(serialization.msgpack_serialize(alone))
    return serialization.msgpack_serialize({"crc32": checksum, **alone})


def text_from_bytes(data: bytes) -> StoredText:
    """The text again.

    Raises:
      ValueError, or another of msgpack's or NumPy's many: the bytes were damaged.
    """
    found = serialization.msgpack_restore(data)
    # The versions before this one stored no checksum.
    checksum = found.pop("crc32", None)
    if list(found) != ["text"] or not _is_text(found["text"]):
        raise ValueError("it holds no text")
    if checksum not in (None, zlib.crc32(serialization.msgpack_serialize(found))):
        raise ValueError("its checksum is another")
    return found["text"]


def _is_text(found: Any) -> bool:
    """Whether it is what `stored_text` gives."""
    if isinstance(found, list):
        return bool(found) and all(map(_is_text, found)) and not any(map(is_tokens, found))
    if not isinstance(found, np.ndarray):
        return False
    kinds = {1: np.int32, 2: jnp.bfloat16}
    return found.ndim in kinds and found.dtype == kinds[found.ndim]


def is_tokens(text: StoredText) -> bool:
    """Whether a text is tokens, whose embeddings are still to be trained."""
    return isinstance(text, np.ndarray) and np.issubdtype(text.dtype, np.integer)


def kind(text: StoredText) -> list[tuple]:
    """Type and width of a text, or of each of its parts."""
    parts = [text] if isinstance(text, np.ndarray) else text
    return [(part.dtype, *part.shape[1:]) for part in parts]


def longer(longest: int | list[int], text: StoredText) -> int | list[int]:
    """The longest length so far, of each encoder's part where there are several.

    >>> longer(0, np.zeros(3)), longer([4, 1], [np.zeros((2, 8)), np.zeros((5, 6))])
    (3, [4, 5])
    """
    if isinstance(text, np.ndarray):
        return max(longest, len(text))
    longest = longest or [0] * len(text)
    return [max(pair) for pair in zip(longest, map(len, text), strict=True)]


def pad_text(texts: Sequence[StoredText], max_length: int | Sequence[int]) -> Text:
    """Stacks texts of different lengths, zeros after each one's end.

    Args:
      texts: all tokens, or all embeddings of one width; none longer than `max_length`. Or
        lists of embeddings, of as many encoders as `max_length` has values: their parts
        come one after the other, and those of smaller width get zeros beside them.
      max_length: the length of every row, or of each encoder's part of it.

    >>> pad_text([np.array([1, 7], np.int32), np.array([1], np.int32)], 3)
    Text(tokens=array([[1, 7, 0],
           [1, 0, 0]], dtype=int32), mask=array([[ True,  True, False],
           [ True, False, False]]))
    """
    if not isinstance(texts[0], np.ndarray):
        parts = [
            pad_text(part, length)
            for part, length in zip(zip(*texts, strict=True), max_length, strict=True)
        ]
        width = max(part.tokens.shape[-1] for part in parts)
        beside = [((0, 0), (0, 0), (0, width - part.tokens.shape[-1])) for part in parts]
        padded = [np.pad(part.tokens, by) for part, by in zip(parts, beside, strict=True)]
        return Text(np.concatenate(padded, 1), np.concatenate([part.mask for part in parts], 1))
    if not isinstance(max_length, int):
        (max_length,) = max_length
    lengths = np.array([len(text) for text in texts])
    if lengths.max() > max_length:
        raise ValueError(f"a text of {lengths.max()} does not fit into max_length={max_length}")
    padded = np.zeros((len(texts), max_length, *texts[0].shape[1:]), texts[0].dtype)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = text
    return Text(padded, np.arange(max_length) < lengths[:, None])
