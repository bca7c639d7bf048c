"""The tensors of a safetensors file, each read only when asked for, and by slices."""

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
