"""Tokenizers of pretrained text encoders, from a folder as Hugging Face lays it out.

They do to a text what their files say and nothing else: no cleaning, no lower case but
CLIP's own. What comes out has its true length and ends with the end token, so the empty
caption is a text of one token (T5) or two (CLIP).
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

from videojam_jax.errors import UserError, caused, first_line
from videojam_jax.models.text.pretrained import Tokenizer

T5_END = "</s>"
CLIP_BEGIN, CLIP_END = "<|startoftext|>", "<|endoftext|>"
# What CLIP's words are: its own two tokens, English endings, letters, one digit, other signs.
CLIP_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
BYTES = 384  # ByT5's vocabulary: three reserved ids, the bytes, and some that nothing gives


def open_tokenizer(folder: Path, kind: str) -> Tokenizer:
    """The tokenizer of a pretrained encoder.

    Args:
      folder: holds one of, the first that is there:
        a `tokenizer_config.json` or `config.json` of ByT5, which needs no vocabulary,
        `tokenizer.json`, `spiece.model` (T5), `vocab.json` and `merges.txt` (CLIP).
      kind: "t5" or "clip".

    Raises:
      UserError: none of them is in the folder, or one is not what it should be.
    """
    if kind not in ("t5", "clip"):
        raise UserError(f"a text encoder is of the kind 't5' or 'clip', not '{kind}'")
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a tokenizer was wanted there")
    if kind == "t5" and _is_byt5(folder):
        return ByteTokens()
    if (folder / "tokenizer.json").is_file():
        return _from_library(folder / "tokenizer.json", kind)
    if kind == "t5":
        if (folder / "spiece.model").is_file():
            return _from_spiece(folder / "spiece.model")
        raise UserError(
            f"{folder}: no tokenizer of a T5 in it; wanted is tokenizer.json, spiece.model, or "
            "for ByT5 its tokenizer_config.json"
        )
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if vocabulary.is_file() and merges.is_file():
        return _with_ends(vocabulary, _clip_from_files(vocabulary, merges), kind)
    raise UserError(
        f"{folder}: no tokenizer of a CLIP in it; wanted is tokenizer.json, or both vocab.json "
        "and merges.txt"
    )


@dataclasses.dataclass(frozen=True)
class ByteTokens:
    """ByT5: three ids are reserved (pad 0, end 1, unknown 2), then come the UTF-8 bytes."""

    reserved: int = 3
    end: int = 1

    def encode(self, captions: Sequence[str], max_length: int) -> list[list[int]]:
        """Ids of each caption, at most `max_length`.

        >>> ByteTokens().encode(["hi", ""], 8)
        [[107, 108, 1], [1]]
        """
        texts = ([byte + self.reserved for byte in caption.encode("utf-8")] for caption in captions)
        return [cut(ids, [], [self.end], max_length) for ids in texts]


@dataclasses.dataclass(frozen=True, eq=False)
class SpieceTokens:
    """T5: the pieces of a text and the end token.

    By SentencePiece itself: the `tokenizers` library normalises by graphemes and knows no kinds
    of pieces, so that "</s>" in a caption would end it.
    """

    model: sentencepiece.SentencePieceProcessor
    end: int

    def encode(self, captions: Sequence[str], max_length: int) -> list[list[int]]:
        """Ids of each caption, at most `max_length`."""
        return [
            cut(self.model.encode(caption), [], [self.end], max_length) for caption in captions
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class LibraryTokens:
    """What the `tokenizers` library makes of a text, between our own first and last ids."""

    model: tokenizers.Tokenizer
    before: tuple[int, ...]
    after: tuple[int, ...]

    def encode(self, captions: Sequence[str], max_length: int) -> list[list[int]]:
        """Ids of each caption, at most `max_length`."""
        # One at a time: the library's own threads and a process that is forked do not mix.
        return [
            cut(
                self.model.encode(caption, add_special_tokens=False).ids,
                self.before,
                self.after,
                max_length,
            )
            for caption in captions
        ]


def cut(
    ids: Sequence[int], before: Sequence[int], after: Sequence[int], max_length: int
) -> list[int]:
    """`before`, as many of `ids` as there is room for, and `after`.

    >>> cut([7, 8, 9], [0], [1], 4)
    [0, 7, 8, 1]
    """
    room = max_length - len(before) - len(after)
    if room < 0:
        raise UserError(
            f"a text of at most {max_length} tokens has no room for its first and last; "
            f"allow at least {len(before) + len(after)}"
        )
    return [*before, *ids[:room], *after]


def _is_byt5(folder: Path) -> bool:
    says = _json(folder / "tokenizer_config.json").get("tokenizer_class")
    if says is not None:
        return says == "ByT5Tokenizer"
    if (folder / "tokenizer.json").is_file() or (folder / "spiece.model").is_file():
        return False
    config = _json(folder / "config.json")
    return config.get("tokenizer_class") == "ByT5Tokenizer" or config.get("vocab_size") == BYTES


def _json(path: Path) -> Mapping[str, Any]:
    """A file's object; without the file an empty one."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def _from_library(path: Path, kind: str) -> LibraryTokens:
    try:
        model = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other kind
        raise UserError(f"{path}: not a tokenizer's file ({first_line(error)})") from error
    model.no_padding()
    model.no_truncation()
    return _with_ends(path, model, kind)


def _with_ends(path: Path, model: tokenizers.Tokenizer, kind: str) -> LibraryTokens:
    """Not every file says what comes first and last, so the kind does."""
    names = [T5_END] if kind == "t5" else [CLIP_BEGIN, CLIP_END]
    ids = [model.token_to_id(name) for name in names]
    for name, number in zip(names, ids, strict=True):
        if number is None:
            raise UserError(f"{path}: no token '{name}' in it, so it is not a {kind} tokenizer")
    return LibraryTokens(model, tuple(ids[:-1]), tuple(ids[-1:]))


def _from_spiece(path: Path) -> SpieceTokens:
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(path.read_bytes())
    except OSError as error:
        raise caused(f"cannot read {path}: {error.strerror or error}", error) from error
    except RuntimeError as error:
        raise UserError(f"{path}: not a whole SentencePiece model ({first_line(error)})") from error
    end = model.piece_to_id(T5_END)
    if not model.is_control(end):
        raise UserError(f"{path}: no token '{T5_END}' in it, so it is not a t5 tokenizer")
    return SpieceTokens(model, end)


def _clip_from_files(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    """CLIP's byte pairs (the behaviour of `transformers.CLIPTokenizer`)."""
    try:
        names, order = models.BPE.read_file(str(vocabulary), str(merges))
        pairs = models.BPE(names, order, end_of_word_suffix="</w>", unk_token=CLIP_END)
    except Exception as error:
        raise UserError(
            f"{vocabulary}, {merges}: not a vocabulary and its merges ({first_line(error)})"
        ) from error
    model = tokenizers.Tokenizer(pairs)
    model.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    ends = [name for name in (CLIP_BEGIN, CLIP_END) if name in names]
    model.add_special_tokens([AddedToken(name, normalized=False) for name in ends])
    return model
