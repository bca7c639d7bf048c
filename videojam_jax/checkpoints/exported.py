"""A finished run as a small folder: its weights in one safetensors file, its config beside them.

`videojam convert RUN --out FOLDER` writes it, and it stands wherever the run itself may. The
arrays are the averaged parameters under our names, with "." for "/". The file's metadata says,
as JSON, what the checkpoint says beside them: `architecture`, `step` and, of an autoencoder,
`latent`. `read.py` reads it by the same functions as a checkpoint.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.checkpoints.safetensors_file import Sliced, open_safetensors
from videojam_jax.errors import UserError

FILE = "weights.safetensors"
METADATA = "videojam"  # where a safetensors file says what of ours it is


def arrays_and_about(path: Path) -> tuple[dict[str, Sliced], dict[str, Any]]:
    """The arrays of a file by our names, not read yet, and what it says of their run.

    Raises:
      UserError: no safetensors file, a damaged one, or not of a run of ours.
    """
    tensors, metadata = open_safetensors(path)
    if METADATA not in metadata:
        raise UserError(f"{path}: no run of ours, which `videojam convert RUN --out FOLDER` writes")
    arrays = {name.replace(".", "/"): tensor for name, tensor in tensors.items()}
    return arrays, {"step": 0} | json.loads(metadata[METADATA])  # older ones tell no step


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
    return hashlib.sha256(file.read_bytes()).hexdigest()
