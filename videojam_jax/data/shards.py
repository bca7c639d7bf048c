"""Files of a prepared data set, each of which is whole or not there.

A file is written under a temporary name beside its place, checked, flushed to the
disk and renamed. A shard of the data set is two such files: the clips
(`clips-00003-of-00016.array_record`) and, written after them, a note
(`clips-00003-of-00016.json`) with what a rerun has to know of them. A shard whose
note is missing, or whose clips have another size than noted, is not whole.
"""

import concurrent.futures
import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python import array_record_module

from videojam_jax.errors import caused
from videojam_jax.files import cannot_write, passing_name, write_whole

# One record a chunk, so that any record is read alone. All options that shape the
# bytes are named, so that another version's defaults do not change them.
_OPTIONS = "group_size:1,zstd:1,window_log:20,max_parallelism:1"

_TEMPORARY = re.compile(
    r"\.(?:clips-(?P<shard>\d+)-of-\d+\.(?:array_record|json)"
    r"|[a-z_]+\.[a-z]+\.p(?P<process>\d+))\.[0-9a-f]{8}\.part"
)


def shard_name(index: int, count: int) -> str:
    """`clips-00003-of-00016.array_record` for shard 3 of 16."""
    return f"clips-{index:05d}-of-{count:05d}.array_record"


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Writes an ArrayRecord file, whole or not at all.

    Equal records give equal bytes. Raises UserError when the disk does not take
    them; what `records` raises passes through; neither leaves a file behind.
    """
    with passing_name(path) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
        written = 0
        for record in records:
            with _writing(path):
                writer.write(record)
            written += 1
        with _writing(path):
            writer.close()
            # A write that failed late is reported by neither write nor close.
            if not _holds(temporary, written):
                raise OSError("the file is not whole after writing; is the disk full?")


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Writes the note of the shard whose clips are at `path`; the shard is whole then."""
    write_whole(path.with_suffix(".json"), to_json(note))


def write_common(path: Path, data: bytes, process_index: int) -> None:
    """Writes a file that belongs to no shard, whole or not at all.

    Several processes may write the same content at the same time.
    """
    write_whole(path, data, tag=f"p{process_index}")


def whole_shard(path: Path) -> dict[str, Any] | None:
    """The note of the shard with its clips at `path`, None where the shard is not whole.

    A note that was damaged counts as none: the shard is then made anew.
    """
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        return note if _is_note(note) and path.stat().st_size == note["bytes"] else None
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def absent(paths: Sequence[Path], *, notes: bool = False) -> list[Path]:
    """Those shards of one folder whose clips (or, with `notes`, notes) have no file there.

    It lists the folder, which on a bucket is one request for a thousand names.

    Raises:
      UserError, MayPass: it cannot be listed.
    """
    if not paths:
        return []
    try:
        there = set(os.listdir(paths[0].parent))
    except OSError as error:
        raise caused(f"{paths[0].parent} cannot be read: {error.strerror}", error) from error

    def is_there(path: Path) -> bool:
        return path.name in there and (not notes or path.with_suffix(".json").name in there)

    return [path for path in paths if not is_there(path)]


def whole_shards(paths: Sequence[Path]) -> list[dict[str, Any] | None]:
    """`whole_shard` of each; they lie in one folder. Asked in threads, since a bucket is slow."""
    left_out = set(absent(paths, notes=True))
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda path: None if path in left_out else whole_shard(path), paths))


def is_count(value: Any) -> bool:
    """Whether a value of a JSON file is a number of things."""
    return type(value) is int and value >= 0


def is_length(value: Any) -> bool:
    """Whether it is the length of the longest text, or of each encoder's part of it."""
    return is_count(value) or isinstance(value, list) and bool(value) and all(map(is_count, value))


def are_shapes(value: Any) -> bool:
    """Whether it is the shapes of a clip and of its latent."""
    if not isinstance(value, dict) or set(value) != {"video", "latent"}:
        return False
    return all(
        isinstance(shape, list) and len(shape) == 4 and all(map(is_count, shape))
        for shape in value.values()
    )


def _is_note(note: Any) -> bool:
    if not isinstance(note, dict):
        return False
    aside, clips = note.get("set_aside"), note.get("clips")
    return (
        is_count(clips)
        and is_count(note.get("bytes"))
        and is_length(note.get("longest_text"))
        and (are_shapes(note.get("shapes")) or (clips == 0 and note.get("shapes", 0) is None))
        and isinstance(aside, list)
        and all(
            isinstance(one, dict) and set(one) == {"source", "reason"}
            and all(isinstance(word, str) for word in one.values())
            for one in aside
        )
    )


def remove_stale(folder: Path, process_index: int, process_count: int) -> None:
    """Removes what killed runs left of this process's share: temporary files alone."""
    for path in folder.iterdir():
        if match := _TEMPORARY.fullmatch(path.name):
            owner = int(match["shard"] or match["process"] or 0) % process_count
            if owner == process_index:
                path.unlink(missing_ok=True)


def to_json(value: Any) -> bytes:
    """JSON for people and for comparing byte by byte: indented, in the given order."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """The OSError, and the RuntimeError that ArrayRecord raises instead, as UserError."""
    try:
        with cannot_write(path):
            yield
    except RuntimeError as error:
        reason = str(error).removeprefix("write() failed: ").split(";")[0]
        raise caused(f"cannot write {path}: {reason}", error) from error


def _holds(path: Path, count: int) -> bool:
    if not path.exists():
        raise FileNotFoundError(path)
    reader = array_record_module.ArrayRecordReader(str(path))
    try:
        # The index of the records stands at the end of the file.
        return reader.ok() and reader.num_records() == count
    finally:
        reader.close()
