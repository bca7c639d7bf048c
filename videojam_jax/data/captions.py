"""The captions of a folder of videos: NAME.txt beside a file, or one table at the root.

A table is `captions.jsonl`, lines of {"file": "sub/one.mp4", "caption": "..."}, or
`captions.csv` with a header row naming the columns `file` and `caption`. File names are
relative to the folder. All text is UTF-8 (a byte order mark is allowed); white space
runs, line ends included, become one space. A text file beside a video comes before
the table.
"""

import csv
import dataclasses
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from videojam_jax.errors import MayPass, UserError, caused, may_pass

TABLES = ("captions.jsonl", "captions.csv")


@dataclasses.dataclass(frozen=True)
class Captions:
    """What was found.

    Attributes:
      by_file: the caption of each video that has one.
      unusable: for a video whose caption cannot be read, why.
      problems: other troubles, {"source": where, "reason": what}: a line that cannot
        be read, a caption without a video, a second caption for one video.
    """

    by_file: dict[str, str]
    unusable: dict[str, str]
    problems: list[dict[str, str]]


def read_captions(root: Path, videos: Sequence[str], texts: Sequence[str]) -> Captions:
    """Read the captions of `videos`.

    Args:
      root: the folder.
      videos: names of its video files, relative to `root`, with forward slashes.
      texts: names of its .txt files, likewise.

    Raises:
      UserError: the folder has both tables, or a table cannot be opened or has not
        the columns it needs.
      MayPass: the disk or the network does not give a caption for now.
    """
    captions = Captions({}, {}, [])
    by_stem: dict[str, list[str]] = {}
    for video in videos:
        by_stem.setdefault(posixpath.splitext(video)[0], []).append(video)
    for text in texts:
        named = by_stem.get(posixpath.splitext(text)[0], [])
        if not named:
            _problem(captions, text, "a caption without a video")
            continue
        try:
            caption = _tidy((root / text).read_bytes().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            captions.unusable.update({v: f"its caption {text} {_not_utf8(error)}" for v in named})
        except OSError as error:
            if may_pass(error):
                raise MayPass(f"{root / text} cannot be read: {error.strerror}") from error
            reason = f"its caption {text} cannot be read: {error.strerror}"
            captions.unusable.update({v: reason for v in named})
        else:
            captions.by_file.update({v: caption for v in named})
    _add_table(captions, root, frozenset(videos))
    return captions


def _add_table(captions: Captions, root: Path, videos: frozenset[str]) -> None:
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) > 1:
        raise UserError(f"{root} has both {' and '.join(TABLES)}; keep one of them")
    if not tables:
        return
    table = tables[0]
    try:
        data = table.read_bytes()
    except OSError as error:
        raise caused(f"{table} cannot be read: {error.strerror}", error) from error
    beside = captions.by_file.keys() | captions.unusable.keys()
    lines: dict[str, int] = {}
    rows = _jsonl_rows if table.suffix == ".jsonl" else _csv_rows
    for line, file, caption, trouble in rows(table, data):
        where = f"{table.name}:{line}"
        name = posixpath.normpath(file.replace("\\", "/")) if file else None
        if trouble and name not in videos:
            _problem(captions, where, f"line {line} {trouble}")
        elif name not in videos:
            _problem(captions, where, f"line {line}: a caption without a video: no file {file}")
        elif name in lines:
            reason = f"line {line}: a second caption for {name}; line {lines[name]} has the first"
            _problem(captions, where, reason)
        else:
            lines[name] = line
            if name in beside:
                continue
            if trouble:
                captions.unusable[name] = f"its caption, {table.name} line {line}, {trouble}"
            else:
                captions.by_file[name] = _tidy(caption)


def _jsonl_rows(table: Path, data: bytes) -> Iterator[tuple[int, str | None, str, str | None]]:
    """(line, file, caption, trouble) of each line; `file` too where only that is known."""
    for line, text in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not text.strip():
            continue
        # Bytes that are not UTF-8 are carried along, to learn which file they belong to.
        try:
            row = json.loads(text.decode("utf-8", "surrogateescape"))
        except ValueError as error:
            reason = _utf8_trouble(text) or f"is not JSON: {getattr(error, 'msg', error)}"
            yield line, None, "", reason
            continue
        if not isinstance(row, dict):
            yield line, None, "", 'is not an object with "file" and "caption"'
            continue
        file, caption = row.get("file"), row.get("caption")
        for key, value in (("file", file), ("caption", caption)):
            if not isinstance(value, str):
                reason = f'has no text under "{key}"'
                yield line, file if isinstance(file, str) else None, "", reason
                break
        else:
            # A lone surrogate may also be written as an escape: "\ud800".
            escaped = caption.encode("utf-8", "surrogatepass")
            yield line, file, caption, _utf8_trouble(text) or _utf8_trouble(escaped)


def _csv_rows(table: Path, data: bytes) -> Iterator[tuple[int, str | None, str, str | None]]:
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [f'"{name}"' for name in ("file", "caption") if name not in header]
        if missing:
            raise UserError(
                f'{table}: its first line must name the columns "file" and "caption"; '
                f"{' and '.join(missing)} is not there"
            )
        at_file, at_caption = header.index("file"), header.index("caption")
        line = reader.line_num + 1  # a row may span lines; its first is named
        for row in reader:
            if len(row) > max(at_file, at_caption):
                caption = row[at_caption]
                trouble = _utf8_trouble((row[at_file] + caption).encode("utf-8", "surrogateescape"))
                yield line, row[at_file], caption, trouble
            elif row:
                yield line, None, "", f"has {len(row)} columns of {len(header)}"
            line = reader.line_num + 1
    except csv.Error as error:
        # From a broken quote on, rows can no longer be told apart.
        yield reader.line_num, None, "", f"is not CSV ({error}); the rest is not read"


def _problem(captions: Captions, source: str, reason: str) -> None:
    captions.problems.append({"source": source, "reason": reason})


def _tidy(caption: str) -> str:
    return " ".join(caption.split())


def _utf8_trouble(data: bytes) -> str | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    return None


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"is not UTF-8 (byte 0x{error.object[error.start]:02x})"
