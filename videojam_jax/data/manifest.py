"""What a prepared folder says about itself.

    settings.json     what shaped the clips; written with the first shard, and from
                      then on a run with other settings is refused
    manifest.json     written last: settings, counts, what was set aside and why,
                      shapes, shards, versions. No dates and no paths of this run, so
                      that the same work gives the same bytes
    null_text.msgpack the encoding of the empty caption
"""

import collections
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videojam_jax.data import records, shards
from videojam_jax.differences import differences, flat
from videojam_jax.errors import UserError, first_line

FORMAT = 1  # of the records and of the manifest

SETTINGS = "settings.json"
MANIFEST = "manifest.json"
NULL_TEXT = "null_text.msgpack"

# The packages whose version may show in the bytes.
_PACKAGES = ("array-record", "flax", "grain", "jax", "jaxlib", "ml-dtypes", "numpy")


# What helps where one file of a prepared folder was damaged: all others are kept.
ANEW = "delete it and run the same 'videojam prepare' again, which makes it anew"
_MOST_SHARDS = 10**7


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What settings.json says; None where it is missing, UserError where it was damaged."""
    return _read(folder / SETTINGS, _are_settings)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What manifest.json says, of this format or of another; as `read_settings`."""
    return _read(folder / MANIFEST, _is_manifest)


def digest(folder: Path) -> str | None:
    """Tells manifests apart as they lie there, read by nobody else; None where there is none."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:16]
    except OSError:
        return None


def identity(whole: Mapping[str, Any]) -> str:
    """Tells the clips of a manifest apart: settings, shards, shapes, what was set aside.

    Clips that were prepared again alike have the same, whatever packages did it.
    """
    told = {name: value for name, value in whole.items() if name != "versions"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def read_null_text(folder: Path) -> records.StoredText | None:
    """The encoding of the empty caption; None if it is missing, UserError if it was damaged."""
    path = folder / NULL_TEXT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return records.text_from_bytes(data)
    except Exception as error:  # which of many depends on the bytes
        raise UserError(f"{path} was damaged ({first_line(error)}): {ANEW}") from error


def _read(path: Path, is_whole: Callable[[dict], bool]) -> dict[str, Any] | None:
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        reason = first_line(error)
    else:
        if isinstance(tree, dict) and is_whole(tree):
            return tree
        reason = "a part of it is missing, or does not fit the rest"
    raise UserError(
        f"{path} is not a file that 'videojam prepare' wrote, or was damaged ({reason}): {ANEW}"
    )


def _are_settings(tree: dict) -> bool:
    clips, per_shard = tree.get("clips"), tree.get("clips_per_shard")
    return all(map(shards.is_count, (clips, per_shard))) and (
        0 < clips <= _MOST_SHARDS * per_shard
    )


def _is_manifest(tree: dict) -> bool:
    """Whether the parts that are read later are there and fit each other, if of this format."""
    if shards.is_count(tree.get("format")) and tree["format"] != FORMAT:
        return True
    aside, shapes, listed = tree.get("set_aside"), tree.get("shapes"), tree.get("shards")
    return (
        tree.get("format") == FORMAT
        and isinstance(tree.get("settings"), dict)
        and _are_settings(tree["settings"])
        and isinstance(aside, dict)
        and shards.is_count(aside.get("count"))
        and isinstance(aside.get("reasons"), dict)
        and shards.are_shapes(shapes)
        and shards.is_length(tree.get("longest_text"))
        and isinstance(listed, list)
        and all(isinstance(one, dict) for one in listed)
        and all(shards.is_count(one.get(key)) for one in listed for key in ("clips", "bytes"))
        and sum(one["clips"] for one in listed) == tree.get("clips")
        and [one.get("file") for one in listed]
        == [path.name for path in shard_paths(Path(), tree["settings"])]
    )


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a folder that was begun with other settings, naming the first that differs."""
    path, there = folder / SETTINGS, read_settings(folder)
    if there is None:
        path, there = folder / MANIFEST, (read_manifest(folder) or {}).get("settings")
    if there is None:
        return
    # As JSON, so that both went the same way, tuples and all, and 1 is not 1.0.
    before, now = (
        {key: json.dumps(value) for key, value in flat(tree).items()}
        for tree in (there, json.loads(shards.to_json(settings)))
    )
    for key, there, here in differences(before, now):
        raise UserError(
            f"{folder} was prepared with other settings ({path.name}): {key} is {there} in it and "
            f"{here} now; choose another folder, or delete this one to prepare it anew"
        )


def write_settings(folder: Path, settings: Mapping[str, Any], process_index: int) -> None:
    """Binds the folder to these settings, if nothing has bound it yet."""
    if not (folder / SETTINGS).exists():
        shards.write_common(folder / SETTINGS, shards.to_json(settings), process_index)


def shard_paths(folder: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Where the shards of this folder are or will be, in order."""
    count = -(-settings["clips"] // settings["clips_per_shard"])
    return [folder / shards.shard_name(index, count) for index in range(count)]


def unfinished(folder: Path) -> dict[int, Path]:
    """The shards that are not whole yet, by their number; none where nothing was begun."""
    settings = read_settings(folder)
    paths = shard_paths(folder, settings) if settings else []
    return {i: paths[i] for i, note in enumerate(shards.whole_shards(paths)) if note is None}


def build(
    folder: Path,
    settings: Mapping[str, Any],
    notes: Sequence[Mapping[str, Any]],
    set_aside: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """The manifest of a folder whose shards are all whole.

    Args:
      folder: holds the shards.
      settings: as in settings.json.
      notes: of all shards, in order.
      set_aside: what the source itself set aside while it listed its clips; what
        was found while preparing is in the notes.
    """
    aside = [*set_aside, *(one for note in notes for one in note["set_aside"])]
    reasons = collections.Counter(one["reason"] for one in aside)
    shapes = next(note["shapes"] for note in notes if note["clips"])
    return {
        "format": FORMAT,
        "clips": sum(note["clips"] for note in notes),
        "set_aside": {
            "count": len(aside),
            "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            "clips": aside,
        },
        "shapes": shapes,
        "longest_text": max(note["longest_text"] for note in notes),
        "settings": dict(settings),
        "shards": [
            {"file": path.name, "clips": note["clips"], "bytes": note["bytes"]}
            for path, note in zip(shard_paths(folder, settings), notes, strict=True)
        ],
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_null_text(folder: Path, text, process_index: int) -> None:
    """Stores the encoding of the empty caption by `text.encode`."""
    (null_text,) = text.encode([""])
    shards.write_common(folder / NULL_TEXT, records.text_to_bytes(null_text), process_index)
