"""SentencePiece's unigram models (`spiece.model`), as the T5 family keeps its vocabulary.

Reads the file and cuts texts as `SentencePieceProcessor.encode` does, to the same ids (Kudo
and Richardson 2018; Kudo 2018 for the unigram model). The `tokenizers` library is close, but
normalises by graphemes and knows no kinds of pieces, so that "</s>" in a caption would end it.
"""

import dataclasses
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from videojam_jax.errors import UserError

NORMAL, UNKNOWN, USER_DEFINED, UNUSED, BYTE = 1, 2, 4, 5, 6  # kinds of pieces; 3 is control
UNIGRAM = 1
SPACE = "\u2581"  # stands for a space within pieces
_UNKNOWN_PENALTY = np.float32(10)  # below the worst piece, for a character that none has


@dataclasses.dataclass(frozen=True, eq=False)
class SentencePiece:
    """A unigram model.

    Attributes:
      pieces: what a text is cut into: id and log probability of each. The user's own pieces
        are never cut, so theirs is better than what any path over them could have.
      reserved: ids of the pieces that no text contains: unknown, control and bytes.
      unknown: id of what no piece has.
      byte_fallback: such characters become their UTF-8 bytes instead.
      own: the user's own pieces, which the normaliser leaves as they are.
      characters: replacements of the normaliser.
      dummy_prefix: a space is put before each text.
      trim: spaces at the ends go, and of several only one stays.
      escape: spaces become `SPACE`.
    """

    pieces: Mapping[str, tuple[int, np.float32]]
    reserved: Mapping[str, int]
    unknown: int
    byte_fallback: bool
    own: frozenset[str]
    characters: "CharacterMap"
    dummy_prefix: bool
    trim: bool
    escape: bool

    def __post_init__(self):
        scores = [score for name, (_, score) in self.pieces.items() if name not in self.own]
        worst = min(scores, default=np.float32(0)) - _UNKNOWN_PENALTY
        object.__setattr__(self, "_unknown_score", worst)
        object.__setattr__(self, "_longest", max(map(len, self.pieces), default=1))
        object.__setattr__(self, "_longest_own", max(map(len, self.own), default=0))

    def encode(self, text: str) -> list[int]:
        """The ids of the most probable pieces, without anything before or after them."""
        ids: list[int] = []
        was_unknown = False
        for piece, number in self._best_path(self.normalise(text)):
            if number != self.unknown:
                ids.append(number)
            elif self.byte_fallback:
                ids += [self.reserved[f"<0x{byte:02X}>"] for byte in piece.encode("utf-8")]
            elif not was_unknown:  # a run of unknown characters is one unknown
                ids.append(number)
            was_unknown = number == self.unknown
        return ids

    def normalise(self, text: str) -> str:
        """The text that is cut into pieces."""
        parts = list(self._replaced(text))
        if self.trim:
            first = next((i for i, part in enumerate(parts) if part != " "), len(parts))
            parts = parts[first:]
        if not parts:
            return ""
        found = [" "] if self.dummy_prefix else []
        after_space = self.trim
        for part in parts:
            if after_space:
                part = part.lstrip(" ")
            if part:
                found.append(part)
                after_space = self.trim and part.endswith(" ")
        normal = "".join(found)
        if self.escape:
            normal = normal.replace(" ", SPACE)
        return normal.rstrip(SPACE if self.escape else " ") if self.trim else normal

    def _replaced(self, text: str) -> Iterator[str]:
        """What each part of the text, one or more characters, is replaced with."""
        data, start = text.encode("utf-8"), 0
        while start < len(data):
            own = self._own_piece(data, start)
            if own:
                replacement, size = own.decode("utf-8"), len(own)
            else:
                replacement, size = self.characters.longest(data, start)
            yield replacement
            start += size

    def _own_piece(self, data: bytes, start: int) -> bytes:
        if not self.own:
            return b""
        ahead = data[start : start + 4 * self._longest_own].decode("utf-8", "ignore")
        found = [piece for piece in self.own if ahead.startswith(piece)]
        return max(found, key=len, default="").encode("utf-8")

    def _best_path(self, text: str) -> list[tuple[str, int]]:
        """Viterbi: the cut of `text` whose scores have the largest sum.

        Sums are in float32, as SentencePiece's are: "aaa" is "a" + "aa" or "aa" + "a", and
        which of the two is better is a matter of rounding.
        """
        n = len(text)
        best: list = [None] * (n + 1)  # of the ways to each place: score, start and id of the last
        best[0] = (np.float32(0), 0, self.unknown)
        for start in range(n):
            score = best[start][0]
            known = False
            for end in range(start + 1, min(n, start + self._longest) + 1):
                piece = self.pieces.get(text[start:end])
                if piece is None:
                    continue
                known |= end == start + 1
                total = score + piece[1]
                if best[end] is None or total > best[end][0]:
                    best[end] = (total, start, piece[0])
            if not known:
                total = score + self._unknown_score
                if best[start + 1] is None or total > best[start + 1][0]:
                    best[start + 1] = (total, start, self.unknown)
        path, end = [], n
        while end:
            _, start, number = best[end]
            path.append((text[start:end], number))
            end = start
        return path[::-1]


class CharacterMap:
    """The normaliser's table: a trie over UTF-8 bytes (darts-clone's), and replacements.

    The trie is an array of 32-bit units. One's low byte is its label; bit 8 says that a
    key ends here; the bits from 10 on are an offset to the units below, times 256 where
    bit 9 is set. A unit that is a value has bit 31 and is otherwise the value.
    """

    def __init__(self, table: bytes):
        """`table` as in the file: size of the trie, trie, replacements ending in NUL."""
        size = struct.unpack_from("<I", table)[0] if table else 0
        self._units = struct.unpack_from(f"<{size // 4}I", table, 4) if table else ()
        self._replacements = table[4 + size :]

    def longest(self, data: bytes, start: int) -> tuple[str, int]:
        """The replacement of the longest key at `start`, else the character, and its bytes."""
        size, value = 0, 0
        if self._units:
            place = _below(self._units[0])
            for end in range(start, len(data)):
                place ^= data[end]
                unit = self._units[place]
                if unit & 0x800000FF != data[end]:
                    break
                place ^= _below(unit)
                if unit >> 8 & 1:
                    size, value = end + 1 - start, self._units[place] & 0x7FFFFFFF
        if size:
            stop = self._replacements.index(b"\0", value)
            return self._replacements[value:stop].decode("utf-8"), size
        first = data[start]
        size = 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        return data[start : start + size].decode("utf-8"), size


def read_spiece(path: str | os.PathLike) -> SentencePiece:
    """Reads a `spiece.model`.

    Raises:
      UserError: not such a file, or not a unigram model.
    """
    path = Path(path)
    try:
        return _model(path, path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, IndexError, struct.error) as error:
        raise UserError(f"{path}: not a whole SentencePiece model ({error})") from error


def _model(path: Path, data: bytes) -> SentencePiece:
    """Field numbers are those of SentencePiece's `sentencepiece_model.proto`."""
    listed: list[tuple[str, np.float32, int]] = []
    trainer: dict[int, int | bytes] = {}
    normaliser: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(value))
            (score,) = struct.unpack("<f", piece.get(2, bytes(4)))
            listed.append((piece[1].decode("utf-8"), np.float32(score), piece.get(3, NORMAL)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normaliser = dict(_fields(value))
    if not listed:
        raise ValueError("no pieces in it")
    if trainer.get(3, UNIGRAM) != UNIGRAM or trainer.get(24, 0):
        raise UserError(
            f"{path}: only SentencePiece models of the kind unigram, with the space before the "
            "word, are supported; a tokenizer.json beside it would be read instead"
        )
    # An own piece counts for more than any path over it. SentencePiece means a bonus in
    # proportion to the best score, but starts to look for that at zero, above all of them.
    top = max([np.float32(0), *(score for _, score, kind in listed if kind == NORMAL)])
    pieces, reserved = {}, {}
    for number, (name, score, kind) in enumerate(listed):
        if kind == USER_DEFINED:
            pieces[name] = (number, len(name.encode("utf-8")) * top + np.float32(1))
        elif kind == NORMAL:
            pieces[name] = (number, score)
        elif kind != UNUSED:
            reserved[name] = number
    unknown = [number for number, (*_, kind) in enumerate(listed) if kind == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"{len(unknown)} pieces for what is unknown, not 1")
    return SentencePiece(
        pieces=pieces,
        reserved=reserved,
        unknown=unknown[0],
        byte_fallback=bool(trainer.get(35, 0)),
        own=frozenset(name for name, _, kind in listed if kind == USER_DEFINED),
        characters=CharacterMap(normaliser.get(2, b"")),
        dummy_prefix=bool(normaliser.get(3, 1)),
        trim=bool(normaliser.get(4, 1)),
        escape=bool(normaliser.get(5, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer message: numbers as int, all else as its bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(kind)
        if size is None or place + size > len(data):
            raise ValueError("it ends within a field" if size else f"a field of kind {kind}")
        yield number, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
        shift += 7


def _below(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)
