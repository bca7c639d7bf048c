"""Tensors of a file that `torch.save` wrote, read without torch, and only when asked for.

A state dict is read from either format: the zip archive that torch writes since 1.6, and
what it wrote before (older RAFT checkpoints). The pickle in it may name nothing but tensors
and dictionaries, so that a file from the internet cannot run code. The numbers are mapped
from the file: reading a slice of a tensor reads that slice.
"""

import collections
import dataclasses
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from videojam_jax.errors import UserError, caused, first_line

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Where training scripts put the state dict when they save more than it.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def open_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, as arrays that lie in the file.

    Raises:
      UserError: it is no file of `torch.save`, or holds more than a state dict.
    """
    try:
        if zipfile.is_zipfile(path):
            state, places = _read_zip(path)
        elif _begins_as_zip(path):
            raise UserError(f"{path}: it ends too early; copy or download it again")
        else:
            state, places = _read_legacy(path)
        tensors = _state_dict(state)
    except UserError:
        raise
    except OSError as error:
        raise caused(f"{path}: cannot be read ({error.strerror or error})", error) from error
    except Exception as error:  # what a damaged pickle raises may be anything
        said = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, (pickle.UnpicklingError, zipfile.BadZipFile)):
            said = first_line(error)
        raise UserError(f"{path}: not a state dict that torch.save wrote ({said})") from error
    if not tensors:
        raise UserError(f"{path}: no tensors in it; a state dict is wanted")
    return {name: _mapped(path, name, tensor, places) for name, tensor in tensors.items()}


def _read_zip(path: Path) -> tuple[Any, dict[str, int]]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if not names:
            raise UserError(f"{path}: a zip archive without data.pkl, so not of torch.save")
        root = names[0].removesuffix("data.pkl")
        byteorder = root + "byteorder"
        if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
            raise UserError(f"{path}: written on a big-endian machine, which is not supported")
        with archive.open(names[0]) as pickled:
            state = _Unpickler(pickled).load()
        places = {}
        for info in archive.infolist():
            if info.filename.startswith(root + "data/"):
                if info.compress_type != zipfile.ZIP_STORED:
                    raise UserError(f"{path}: its tensors are compressed; save it anew with torch")
                key = info.filename.removeprefix(root + "data/")
                places[key] = _start_of_data(file, info)
    return state, places


def _start_of_data(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    # The central directory does not tell the length of the local header's padding.
    file.seek(info.header_offset)
    header = struct.unpack("<4s5H3L2H", file.read(30))
    return info.header_offset + 30 + header[-2] + header[-1]


def _begins_as_zip(path: Path) -> bool:
    # The table by which `is_zipfile` tells is at the end.
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _read_legacy(path: Path) -> tuple[Any, dict[str, int]]:
    with path.open("rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("no magic number")
        for _ in ("protocol version", "sizes of the machine's integers"):
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        state = unpickler.load()
        places = {}
        for key in _Unpickler(file).load():
            storage = unpickler.storages[key]
            (elements,) = struct.unpack("<q", file.read(8))
            places[key] = file.tell()
            file.seek(elements * storage.dtype.itemsize, 1)
    return state, places


class _Unpickler(pickle.Unpickler):
    """Knows tensors, storages and dictionaries, and nothing else."""

    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no tensor")

    def persistent_load(self, saved):
        kind, dtype, key, _, size, *view = saved
        if kind != "storage" or not isinstance(dtype, np.dtype) or not _is_count(size):
            raise pickle.UnpicklingError(f"it refers to {kind!r}, which is no tensor")
        if any(part is not None for part in view):
            raise pickle.UnpicklingError("parts of storages, as only very old torch wrote them")
        self.storages[key] = _Storage(key, dtype, size)
        return self.storages[key]


def _tensor(storage, offset, shape, stride, *_) -> _Tensor:
    # A number below zero would reach before the storage, which nothing else would notice.
    whole = len(shape) == len(stride) and all(map(_is_count, (offset, *shape, *stride)))
    if not isinstance(storage, _Storage) or not whole:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} and strides {stride}")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _state_dict(state: Any) -> dict[str, _Tensor]:
    if not isinstance(state, Mapping):
        return {}
    for key in _WRAPPERS:
        if inner := _state_dict(state.get(key)):
            return inner
    return {
        name: value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, _Tensor)
    }


def _mapped(path: Path, name: str, tensor: _Tensor, places: dict[str, int]) -> np.ndarray:
    storage = tensor.storage
    if storage.key not in places:
        raise UserError(f"{path}: the numbers of {name} are missing; is the file whole?")
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, storage.dtype)
    steps = zip(tensor.shape, tensor.stride, strict=True)
    last = tensor.offset + sum((n - 1) * stride for n, stride in steps)
    if last >= storage.size:
        raise UserError(f"{path}: {name} reaches beyond its storage")
    try:
        flat = np.memmap(path, storage.dtype, "r", places[storage.key], (storage.size,))
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: cut short within {name}") from error
    strides = [stride * storage.dtype.itemsize for stride in tensor.stride]
    return np.lib.stride_tricks.as_strided(
        flat[tensor.offset :], tensor.shape, strides, writeable=False
    )
