"""Safetensors files that are never in memory as a whole: neither when read nor when written."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 NumPy learns bfloat16 from it
import numpy as np
from safetensors import SafetensorError, safe_open

from videojam_jax.errors import UserError, caused, first_line

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {np.dtype(name): short for short, name in _DTYPES.items()}
PIECE = 16 * 2**20  # bytes that are cast and written at once


class Sliced:
    """A tensor of a safetensors file: `tensor[1:3, :]` reads that part alone."""

    def __init__(self, file, name: str):
        self._slice = file.get_slice(name)
        self.shape = tuple(self._slice.get_shape())
        self.dtype = np.dtype(_DTYPES[self._slice.get_dtype()])

    def __getitem__(self, index) -> np.ndarray:
        if 0 in self.shape:  # the library finds every slice of it out of bounds
            return np.zeros(self.shape, self.dtype)[index]
        return self._slice[index]


def open_safetensors(path: Path) -> tuple[dict[str, Sliced], dict[str, str]]:
    """The tensors of a file by name, and its metadata.

    Raises:
      UserError: it cannot be read, is damaged, or holds numbers of a kind that is not read here.
    """
    try:
        file = safe_open(path, framework="np")
        return {name: Sliced(file, name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({first_line(error)})") from error
    except OSError as error:
        raise caused(f"{path}: cannot be read ({error.strerror or error})", error) from error
    except KeyError as error:
        raise UserError(
            f"{path}: it holds numbers of the kind {error}, which are not read here; known are "
            f"{', '.join(_DTYPES)}"
        ) from error


def write_safetensors(
    path: Path,
    known: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    arrays: Iterable[np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Writes tensors to a new file, one after the other.

    The library's own writer wants all of them at once.

    Args:
      known: of each tensor its shape and the dtype it is to have, those of larger numbers first,
        so that each lies in the file as a machine reads it best.
      arrays: their numbers, in this order, of any dtype; no more of them are taken.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for name, (shape, dtype) in known.items():
        end = place + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [place, end]
        }  # fmt: skip
        place = end
    said = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    said += b" " * (-len(said) % 8)
    with path.open("xb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        arrays = iter(arrays)
        for name, (shape, dtype) in known.items():
            array = next(arrays)
            if array.shape != shape:
                raise ValueError(f"{name} is {array.shape}, where {shape} is announced")
            file.writelines(_pieces(array, dtype))
            del array  # before the next one is made


def _pieces(array: np.ndarray, dtype: np.dtype) -> Iterator[bytes]:
    rows = array if array.ndim else array[None]
    step = max(1, PIECE // max(1, math.prod(rows.shape[1:]) * dtype.itemsize))
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(dtype, copy=False).tobytes()
