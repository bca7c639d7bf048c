"""Text encoders with weights from elsewhere, which are not trained: captions to embeddings.

Movie Gen conditions on several at once (3.1.3: UL2, ByT5 and Long-prompt MetaCLIP). Each
embeds the caption, or the part of it that it reads, by itself; what brings them to the trunk's
width, a Linear and a LayerNorm for each, is trained with the trunk and stands there.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, HOST, MODEL, REQUIRED, config_key
from videojam_jax.models.text.reading import READINGS, read

SHORTEST = 16  # tokens; shorter texts are padded to this


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainedOptions:
    """`config.text` of the name pretrained: of each encoder one value where there is a tuple."""

    weights: tuple[str, ...] = config_key(
        (),
        "of each encoder, T5's family or CLIP: a folder as Hugging Face keeps it, or what "
        "`convert` made of it. Training on prepared clips needs none",
        path=True,
        tags=(HOST,),
    )
    max_lengths: tuple[int, ...] = config_key(
        REQUIRED, "tokens, of each encoder", minimum=1, tags=(CLIPS, MODEL)
    )
    widths: tuple[int, ...] = config_key(
        REQUIRED, "of an embedding, of each encoder", minimum=1, tags=(CLIPS, MODEL)
    )
    reads: tuple[str, ...] = config_key(
        (),
        "what each encoder is given: prompt, the whole of it, or quoted, what stands in it in "
        "double quotation marks; empty: prompt, all of them",
        choices=READINGS,
        tags=(CLIPS,),
    )
    fps_prefix: bool = config_key(
        False,
        "FPS-24, or what clip.fps is, before a prompt that is read whole, as in Movie Gen",
        tags=(CLIPS,),
    )
    batch_size: int = config_key(16, "captions encoded at once", minimum=1)
    dtype: str = config_key(
        "bfloat16", "of the computation", choices=("float32", "bfloat16"), tags=(CLIPS,)
    )


@runtime_checkable
class Tokenizer(Protocol):
    """Captions to ids."""

    def encode(self, captions: Sequence[str], max_length: int) -> list[list[int]]:
        """Ids of each caption at its true length, at most `max_length`, the end token last."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class TextEncoder:
    """One encoder: its tokenizer, its model, its weights.

    A caption is padded to the next power of two and goes through a program compiled for
    `rows` captions of that length. So there are few programs, and a caption's embedding does
    not depend, in any bit, on those that were encoded with it.

    Attributes:
      tokenizer: captions to ids.
      apply: pure function `(params, tokens [rows, n], mask [rows, n]) -> [rows, n, e]`,
        `T5Encoder` or `ClipText`; its result's dtype is that of the embeddings.
      params: on the devices where it shall run: one, or those of this process' mesh, where
        `apply` is to be wrapped in `parallel.rules.partitioned`.
      max_length: tokens of a caption; longer ones are cut.
      rows: captions in one call of the program.
      vocabulary: ids that the model knows.
    """

    tokenizer: Tokenizer
    apply: Callable[[Any, jax.Array, jax.Array], jax.Array]
    params: Any
    max_length: int
    rows: int
    vocabulary: int

    @functools.cached_property
    def width(self) -> int:
        """Of its embeddings."""
        tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        mask = jax.ShapeDtypeStruct((1, 1), bool)
        return jax.eval_shape(self.apply, self.params, tokens, mask).shape[-1]

    @functools.cached_property
    def _program(self) -> Callable:
        return jax.jit(self.apply)

    def encode(self, captions: Sequence[str]) -> list[np.ndarray]:
        """One `[n, e]` a caption, n its true number of tokens. The empty caption is one too.

        Raises:
          UserError: the tokenizer gives an id that the model does not know.
        """
        texts = self.tokenizer.encode(captions, self.max_length)
        self._check(texts)
        same: dict[int, list[int]] = {}
        for place, ids in enumerate(texts):
            same.setdefault(self._padded(len(ids)), []).append(place)
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        for length, places in sorted(same.items()):
            for first in range(0, len(places), self.rows):
                group = places[first : first + self.rows]
                embeddings = self._run([texts[place] for place in group], length)
                for place, embedding in zip(group, embeddings):
                    # A copy: a view would keep the padding of all rows in memory.
                    found[place] = embedding[: len(texts[place])].copy()
        return found

    def _check(self, texts: Sequence[Sequence[int]]) -> None:
        largest = max((max(ids) for ids in texts if ids), default=0)
        if largest >= self.vocabulary:
            raise UserError(
                f"the tokenizer gives the id {largest}, but the text encoder knows "
                f"{self.vocabulary}: the two are not of one model"
            )

    def _padded(self, length: int) -> int:
        """The length of the program: a power of two, or the largest there is."""
        size = SHORTEST
        while size < length:
            size *= 2
        return min(size, self.max_length)

    def _run(self, texts: Sequence[Sequence[int]], length: int) -> np.ndarray:
        # What pads is never seen: T5 masks it, and in CLIP no token sees a later one.
        tokens = np.zeros((self.rows, length), np.int32)
        mask = np.zeros((self.rows, length), bool)
        for row, ids in enumerate(texts):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        tokens, mask = jax.device_put((tokens, mask), _beside(self.params))
        return jax.device_get(self._program(self.params, tokens, mask))


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainedText:
    """Several encoders, each of which embeds every caption, or what it reads of it.

    Attributes:
      encoders: one or more.
      reads: what each is given, of `reading.READINGS`; empty: all the whole caption.
      prefix: stands before a caption that is read whole.
    """

    encoders: tuple[TextEncoder, ...]
    reads: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the embeddings of each encoder."""
        return tuple(encoder.width for encoder in self.encoders)

    @property
    def max_lengths(self) -> tuple[int, ...]:
        """Tokens of a caption, for each encoder."""
        return tuple(encoder.max_length for encoder in self.encoders)

    def encode(self, captions: Sequence[str]) -> list[tuple[np.ndarray, ...]]:
        """For each caption one `[n, e]` of each encoder, at its own true length and width."""
        reads = self.reads or ("prompt",) * len(self.encoders)
        found = [
            _encode([read(caption, reading, self.prefix) for caption in captions], encoder)
            for encoder, reading in zip(self.encoders, reads, strict=True)
        ]
        return list(zip(*found, strict=True))


def _encode(texts: Sequence[str], encoder: TextEncoder) -> list[np.ndarray]:
    # Each once: few prompts quote anything, and the others are one empty text.
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, encoder.encode(different), strict=True))
    return [found[text] for text in texts]


def _beside(params: Any):
    """Where the inputs have to lie: on every device that has a part of the parameters."""
    leaf = jax.tree.leaves(params)[0]
    sharding = getattr(leaf, "sharding", None)  # None: NumPy's, which a test may give
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding
