"""Sampled clips on disk, without loss, for those who measure them.

A folder of them holds `origin.json`, which says what the clips were made from, and
`clips_NNNNN.npz`, each a batch that begins with clip number NNNNN. Clips of another
origin are removed before the first of the new ones is written.
"""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videojam_jax.errors import MayPass, UserError, may_pass
from videojam_jax.files import write_whole
from videojam_jax.report.table import without_nan
from videojam_jax.sample.clips import Clips

ORIGIN = "origin.json"


def digest(origin: Mapping[str, Any]) -> str:
    """Tells origins apart.

    >>> digest({"seed": 0}) == digest({"seed": 1})
    False
    """
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def begin(folder: Path, origin: Mapping[str, Any]) -> None:
    """Makes the folder ready for clips of this origin; those there already stay."""
    if is_of(folder / ORIGIN, origin):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / ORIGIN, _with_digest(origin, {}))


def save(folder: Path, first: int, clips: Clips) -> None:
    """Writes a batch, whole; flow in float16, which errs by less than 0.05 %."""
    arrays = {"videos": clips.videos}
    if clips.flows is not None:
        arrays |= {"flow_rgbs": clips.flow_rgbs, "flows": clips.flows.astype(np.float16)}
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    write_whole(folder / f"clips_{first:05}.npz", out.getvalue())


def batches(folder: Path) -> list[tuple[int, Path]]:
    """The batches there are: the number of the first clip, and the file."""
    paths = sorted(folder.glob("clips_*.npz"))
    return [(int(path.stem.removeprefix("clips_")), path) for path in paths]


def load(path: Path) -> Clips:
    """One batch.

    Raises:
      UserError: the file is not whole.
    """
    try:
        with np.load(path) as arrays:
            motion = "flows" in arrays
            return Clips(
                arrays["videos"],
                arrays["flow_rgbs"] if motion else None,
                arrays["flows"].astype(np.float32) if motion else None,
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if may_pass(error):
            raise MayPass(f"{path}: cannot be read ({error})") from error
        raise UserError(
            f"{path}: cannot be read as sampled clips ({error}); delete it and run again"
        ) from error


def finished(folder: Path) -> set[int]:
    """The numbers of the clips that are there."""
    return {first + i for first, path in batches(folder) for i in range(len(load(path).videos))}


def first_clips(folder: Path, count: int) -> Clips:
    """The first `count` clips of a folder, as one."""
    parts = []
    for _, path in batches(folder):
        if count <= 0:
            break
        clips = load(path)
        parts.append(
            Clips(*(None if x is None else x[:count] for x in
                    (clips.videos, clips.flow_rgbs, clips.flows)))
        )  # fmt: skip
        count -= len(clips.videos)
    motion = parts[0].flows is not None
    return Clips(
        np.concatenate([part.videos for part in parts]),
        np.concatenate([part.flow_rgbs for part in parts]) if motion else None,
        np.concatenate([part.flows for part in parts]) if motion else None,
    )


def videos(folder: Path) -> Iterator[np.ndarray]:
    """All clips, uint8 `[t, h, w, 3]`, a batch of them in memory at a time."""
    for _, path in batches(folder):
        yield from load(path).videos


def is_of(path: Path, origin: Mapping[str, Any]) -> bool:
    """Whether a JSON file, as `write_json` writes them, is of this origin."""
    try:
        return json.loads(path.read_bytes())["digest"] == digest(origin)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_json(path: Path, content: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    """A JSON file that says what it was made from; numbers that are not finite are null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, _with_digest(origin, content))


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and run again") from error


def _with_digest(origin: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    tree = {"digest": digest(origin), "origin": origin, **content}
    return json.dumps(without_nan(tree), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
