"""Sets of prompts: files of users and benchmarks, and one of our own.

A file is read by the end of its name:

- `.csv`, `.tsv`: a table with a header row. The prompt is in the column `prompt` (or
  `caption`, `text`, `prompt_en`; in any case), and what the other columns hold are tags, as
  many as `;`, `|` or commas in a cell separate. A single column needs no header.
- `.jsonl`: a JSON object a line with the same keys, or a JSON string a line;
  `.json`: a list of these.
- any other: a prompt a line.

So Movie Gen Video Bench can be read in both forms that it was published in, and VBench's list
of its own prompts.

Text is UTF-8 (a byte order mark is allowed), runs of white space become one space, and blank
lines are passed over.
"""

import csv
import importlib.resources
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from videojam_jax.errors import UserError, caused

# Names of the column that holds the prompts; the first that is there is taken.
COLUMNS = ("prompt", "caption", "text", "prompt_en")
SEPARATORS = re.compile("[;|,]")
FOLDER = importlib.resources.files(__package__) / "prompt_sets"


@dataclass(frozen=True)
class TaggedPrompt:
    """What to show, and the kinds of prompts it is one of."""

    text: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Prompts without repetition.

    Attributes:
      prompts: in the order of the file.
      repeated: those that stood there again, once for each time that was left out.
    """

    prompts: tuple[TaggedPrompt, ...]
    repeated: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]


def tags(prompts: Iterable[TaggedPrompt]) -> list[str]:
    """All tags, in the order in which the prompts first have them."""
    return list(dict.fromkeys(tag for prompt in prompts for tag in prompt.tags))


def load_prompts(name_or_path: str | Path) -> PromptSet:
    """The set of this name (see `names`), or else the file of this name.

    Raises:
      UserError: it is neither, or the file cannot be used.
    """
    known = names()
    if str(name_or_path) in known:
        return named_prompts(str(name_or_path))
    path = Path(name_or_path)
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file, and no set of prompts of that name "
            f"(there is {', '.join(known)})"
        )
    return read_prompts(path)


def names() -> list[str]:
    """The sets that come with the package.

    `motion64`: 64 prompts for real-world video, 16 each tagged "basic motion", "complex
    motion", "rotational motion" and "physics".
    """
    return sorted(
        PurePath(file.name).stem for file in FOLDER.iterdir() if file.name.endswith(".csv")
    )


def named_prompts(name: str) -> PromptSet:
    """A set that comes with the package.

    Raises:
      UserError: there is none of that name.
    """
    if name not in names():
        raise UserError(f"no set of prompts '{name}'; there is {', '.join(names())}")
    return _parse(f"{name}.csv", (FOLDER / f"{name}.csv").read_bytes())


def read_prompts(path: str | Path) -> PromptSet:
    """The prompts of a file; see the top of this module for what it may be.

    Raises:
      UserError: it cannot be read, is not UTF-8, holds no prompt or no column of prompts,
        or a line of it is broken.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise caused(f"cannot read {path}: {error.strerror}", error) from error
    return _parse(str(path), data)


def _parse(name: str, data: bytes) -> PromptSet:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: not UTF-8 ({error.reason})") from error
    match PurePath(name).suffix.lower():
        case ".csv":
            found = _table(name, text, ",")
        case ".tsv":
            found = _table(name, text, "\t")
        case ".jsonl":
            found = _json_lines(name, text)
        case ".json":
            found = _json_list(name, text)
        case _:
            found = (TaggedPrompt(line) for line in map(_tidy, _lines(text)) if line)
    prompts: dict[str, TaggedPrompt] = {}
    repeated = []
    for prompt in found:
        if prompt.text in prompts:
            repeated.append(prompt.text)
        else:
            prompts[prompt.text] = prompt
    if not prompts:
        raise UserError(f"{name}: holds no prompt")
    return PromptSet(tuple(prompts.values()), tuple(repeated))


def _lines(text: str) -> list[str]:
    """Only what ends a line in a file: a prompt may hold other separators that Unicode has."""
    return re.split("\r\n|\r|\n", text)


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _table(name: str, text: str, delimiter: str) -> Iterator[TaggedPrompt]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{name}, line {reader.line_num}"
            if header is None:
                header, is_header = _header(name, row)
                if is_header:
                    continue
            if len(row) != len(header):
                raise UserError(f"{where}: {len(row)} cells under {len(header)} columns")
            yield _prompt(where, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {error}") from error


def _header(name: str, row: Sequence[str]) -> tuple[list[str], bool]:
    """Names of the columns, and whether the first row is what names them."""
    columns = [_tidy(cell).lower() for cell in row]
    if set(columns) & set(COLUMNS):
        if twice := {column for column in columns if column and columns.count(column) > 1}:
            raise UserError(f"{name}: has two columns '{min(twice)}'")
        return columns, True
    if len(row) == 1:
        return [COLUMNS[0]], False
    there = ", ".join(f"'{_tidy(cell)[:30]}'" for cell in row)
    raise UserError(f"{name}: no column '{COLUMNS[0]}'; its columns are {there}")


def _json_lines(name: str, text: str) -> Iterator[TaggedPrompt]:
    for number, line in enumerate(_lines(text), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                value = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where}: is not JSON: {error}") from error
            yield _json_prompt(where, value)


def _json_list(name: str, text: str) -> Iterator[TaggedPrompt]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: is not JSON: {error}") from error
    if not isinstance(values, list):
        raise UserError(f"{name}: wanted a list of strings or of objects with '{COLUMNS[0]}'")
    for number, value in enumerate(values):
        yield _json_prompt(f"{name}, entry {number}", value)


def _json_prompt(where: str, value) -> TaggedPrompt:
    if isinstance(value, str):
        value = {COLUMNS[0]: value}
    if not isinstance(value, dict):
        raise UserError(f"{where}: wanted a string or an object with '{COLUMNS[0]}'")
    return _prompt(where, {key.strip().lower(): entry for key, entry in value.items()})


def _prompt(where: str, fields: dict) -> TaggedPrompt:
    """The prompt among named values; strings and lists of strings beside it are its tags."""
    column = next((column for column in COLUMNS if column in fields), None)
    if column is None:
        there = ", ".join(f"'{key}'" for key in fields)
        raise UserError(f"{where}: no '{COLUMNS[0]}'; it has {there or 'nothing'}")
    text = fields[column]
    if not isinstance(text, str) or not _tidy(text) or re.search("[\ud800-\udfff]", text):
        raise UserError(f"{where}: its '{column}' is no text")
    found = []
    for key, value in fields.items():
        if key != column:
            cells = value if isinstance(value, list) else [value]
            found += [part for cell in cells if isinstance(cell, str) for part in _split(cell)]
    return TaggedPrompt(_tidy(text), tuple(dict.fromkeys(found)))


def _split(cell: str) -> list[str]:
    """The tags in a cell. Numbers are none: they are indices and seeds."""
    parts = map(_tidy, SEPARATORS.split(cell))
    return [part for part in parts if part and not re.fullmatch(r"[-+]?\d[\d.]*", part)]
