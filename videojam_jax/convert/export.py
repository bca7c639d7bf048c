"""A checkpoint of ours to safetensors, one array at a time.

Memory follows the largest array and not the model: an array is read from the checkpoint, cast and
written before the next one is looked at.
"""

import dataclasses
import itertools
import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videojam_jax.checkpoints.average import Saved
from videojam_jax.checkpoints.exported import FILE, metadata, sha256
from videojam_jax.checkpoints.read import is_checkpoint
from videojam_jax.checkpoints.safetensors_file import write_safetensors
from videojam_jax.convert.kinds import KINDS
from videojam_jax.convert.layout import Row
from videojam_jax.convert.read import kept, public_tensors
from videojam_jax.convert.said import said
from videojam_jax.convert.weights import CONVERTED
from videojam_jax.errors import UserError
from videojam_jax.files import cannot_write, passing_name, write_whole

Tell = Callable[[str], None]


def to_folder(source: Path, saved: Saved, out: Path, dtype: str | None, tell: Tell) -> list[Path]:
    """A run as a folder that stands for it; the weights come last, so with them it is whole."""
    if CONVERTED in saved.architecture:
        raise UserError(
            f"{source} is a checkpoint of public weights, so --out must be a file *.safetensors, "
            f"not {out}"
        )
    if is_checkpoint(out) or (out / FILE).exists():
        raise UserError(f"{out}: there are weights already; choose another folder")
    config, file = source / "config.json", out / FILE
    if not config.is_file():
        raise UserError(f"{config}: no such file; a run of `videojam train` has it")
    with cannot_write(out):
        out.mkdir(parents=True, exist_ok=True)
    written = [write_whole(out / config.name, config.read_bytes())]
    rows, about = _of_run(source, saved)
    written += _write(file, saved, rows, about, dtype, None, tell)  # one file, whatever its size
    tell(f"{file.stat().st_size / 1e6:,.1f} MB, sha256 {sha256(file)}")
    return written


def to_file(
    source: Path, saved: Saved, out: Path, dtype: str | None, shard_bytes: int, tell: Tell
) -> list[Path]:
    """Any checkpoint of ours as one safetensors file, or several and their index."""
    if there := [path for path in (out, _index_of(out)) if path.exists()]:
        raise UserError(f"{there[0]}: it is there already; choose another name")
    with cannot_write(out):  # known before what may take long
        out.parent.mkdir(parents=True, exist_ok=True)
    of = _of_public if CONVERTED in saved.architecture else _of_run
    return _write(out, saved, *of(source, saved), dtype, shard_bytes, tell)


def _of_run(source: Path, saved: Saved) -> tuple[list[Row], dict[str, str]]:
    """Each array under its own name; the file says what of ours it is."""
    names = {name.replace("/", "."): name for name in saved.arrays}
    config = source / "config.json"
    about = {
        "architecture": saved.architecture,
        "step": saved.step,
        "latent": saved.latent,
        "config": json.loads(config.read_bytes()) if config.is_file() else None,
    }
    return [Row(names[public], public) for public in sorted(names)], metadata(about)


def _of_public(source: Path, saved: Saved) -> tuple[list[Row], dict[str, str]]:
    """The names that the weights came in under."""
    about = saved.architecture[CONVERTED]
    known, names = KINDS[about["kind"]], about.get("names", {})
    rows = known.rows(known.module(about["options"], np.float32), about["options"])
    named = [dataclasses.replace(row, public=names.get(row.ours, row.public)) for row in rows]
    return named, {"format": "pt"}


def _write(
    out: Path,
    saved: Saved,
    rows: Sequence[Row],
    about: Mapping[str, str],
    dtype: str | None,
    shard_bytes: int | None,
    tell: Tell,
) -> list[Path]:
    """One file, or several of at most `shard_bytes` and their index."""
    rows = sorted(rows, key=lambda row: -kept(saved.arrays[row.ours].dtype, dtype).itemsize)
    known = {
        name: (x.shape, kept(x.dtype, dtype)) for name, x in _tensors(rows, saved, _stand_in)
    }
    tell(f"{len(known)} tensors of {said(saved.architecture)}")
    groups = _groups(known, shard_bytes)
    arrays = map(operator.itemgetter(1), _tensors(rows, saved, np.asarray))  # which keeps none
    count, places, written = len(groups), {}, []
    for number, names in enumerate(groups, start=1):
        split = f"{out.stem}-{number:05d}-of-{count:05d}.safetensors"
        path = out if count == 1 else out.with_name(split)
        part = {name: known[name] for name in names}
        with passing_name(path) as passing, cannot_write(path):
            write_safetensors(passing, part, itertools.islice(arrays, len(names)), about)
        places |= {name: path.name for name in names}
        written.append(path)
    if count > 1:
        total = sum(map(_nbytes, known.values()))
        index = {"metadata": {"total_size": total}, "weight_map": places}
        written.append(write_whole(_index_of(out), json.dumps(index, indent=2) + "\n"))
    return written


def _tensors(
    rows: Sequence[Row], saved: Saved, made: Callable[[Any], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of each array of ours in turn, of which one alone is in memory."""
    for row in rows:
        yield from public_tensors({row.ours: made(saved.arrays[row.ours])}, [row]).items()


def _stand_in(array) -> np.ndarray:
    """An array's shape and dtype, of which no number is read nor kept."""
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _groups(
    known: Mapping[str, tuple[tuple[int, ...], np.dtype]], shard_bytes: int | None
) -> list[list[str]]:
    """The names of what goes to each file, in order."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, one in known.items():
        if groups[-1] and shard_bytes is not None and size + _nbytes(one) > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += _nbytes(one)
    return groups


def _nbytes(one: tuple[tuple[int, ...], np.dtype]) -> int:
    shape, dtype = one
    return math.prod(shape) * dtype.itemsize


def _index_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.index.json")
