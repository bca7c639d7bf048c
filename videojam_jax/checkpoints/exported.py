"""A finished run as weights that stand for it: a small folder, or one safetensors file.

`videojam convert RUN --out FOLDER` writes `weights.safetensors` and the run's `config.json`;
`--out NAME.safetensors` that file alone, or several and their index. Either stands wherever the
run itself may. The arrays are the averaged parameters under our names, with "." for "/". The
file's metadata says, as JSON, what the checkpoint says beside them: `architecture`, `step`, the
run's resolved `config` and, of an autoencoder, `latent`. `read.py` reads it by the same functions
as a checkpoint.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from videojam_jax.checkpoints.index import read_index
from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.checkpoints.safetensors_file import Sliced, open_safetensors
from videojam_jax.errors import UserError

FILE = "weights.safetensors"
ENDINGS = (".safetensors", ".safetensors.index.json")
METADATA = "videojam"  # where a safetensors file says what of ours it is


def is_export(path: Path) -> bool:
    """Whether a path is a safetensors file, or the index of one that is split."""
    return path.name.endswith(ENDINGS) and path.is_file()


def arrays_and_about(path: Path) -> tuple[dict[str, Sliced], dict[str, Any]]:
    """The arrays of a file by our names, not read yet, and what it says of their run.

    Raises:
      UserError: no safetensors file, a damaged one, or not of a run of ours.
    """
    places = read_index(path) if path.suffix == ".json" else {}
    parts = {part: open_safetensors(part) for part in sorted(set(places.values())) or [path]}
    tensors = {name: tensor for part, _ in parts.values() for name, tensor in part.items()}
    if missing := [name for name in places if name not in tensors]:
        raise UserError(f"{path}: {missing[0]} is not in {places[missing[0]].name}, as it says")
    about = _about(parts[min(parts)][1])
    if about is None:
        raise UserError(
            f"{path}: no run of ours, which `videojam convert RUN --out FOLDER or "
            "NAME.safetensors` writes"
        )
    return {name.replace(".", "/"): tensor for name, tensor in tensors.items()}, about


def about_run(path: Path) -> dict[str, Any] | None:
    """What a file, or the index of one, says of the run of ours it came from; None of others."""
    if path.suffix == ".json":
        path = min(read_index(path).values())
    return _about(open_safetensors(path)[1]) if path.suffix == ".safetensors" else None


def config_in(path: Path) -> dict[str, Any] | None:
    """The resolved config of the run that a file is of; None where it has none."""
    return (about_run(path) or {}).get("config")


def _about(metadata: dict[str, str]) -> dict[str, Any] | None:
    # Older ones tell no step and no config.
    return {"step": 0} | json.loads(metadata[METADATA]) if METADATA in metadata else None


def metadata(about: dict[str, Any]) -> dict[str, str]:
    """What a file has that says this of its run; without what is None."""
    return {"format": "pt", METADATA: json.dumps({k: v for k, v in about.items() if v is not None})}


def placed(arrays: dict[str, Sliced], abstract: Any) -> Any:
    """The arrays where `abstract`'s shardings say, each device's part read and cast by itself."""

    def place(name: str, x: jax.ShapeDtypeStruct) -> jax.Array:
        def part(index: tuple[slice, ...]) -> np.ndarray:
            return arrays[name][index or ...].astype(x.dtype)

        return jax.make_array_from_callback(x.shape, x.sharding, part)

    # Jobs forbid accidental transfers; this one is meant.
    with jax.transfer_guard_host_to_device("allow"):
        return nested({name: place(name, x) for name, x in flat(abstract).items()})


@functools.cache  # experiments ask for it before every stage, and the file stays what it is
def sha256(file: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
