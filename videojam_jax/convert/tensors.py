"""The tensors of a file of weights, by name, each read only when asked for, and by slices."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from videojam_jax.checkpoints.index import read_index
from videojam_jax.checkpoints.safetensors_file import open_safetensors
from videojam_jax.convert.torch_file import open_torch_file
from videojam_jax.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_INDEX = ".safetensors.index.json"
_TORCH_INDEX = ".bin.index.json"
# What a folder as Hugging Face keeps it may hold, the first that is there, before names that
# are less common; diffusers and transformers have names of their own.
_PREFERRED = tuple(
    f"{name}{ending}"
    for ending in (_INDEX, ".safetensors", _TORCH_INDEX, ".bin")
    for name in ("model", "diffusion_pytorch_model", "pytorch_model")
)


class Tensor(Protocol):
    """A tensor in a file: `tensor[1:3, :]` reads that part alone."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index) -> np.ndarray: ...


def open_tensors(path: str | os.PathLike) -> "Tensors":
    """Opens a file of weights; nothing but names and shapes is read yet.

    Args:
      path: `*.safetensors`, a file of `torch.save` (`.pth`, `.pt`, `.bin`), the index
        `*.index.json` of one that is split, or a folder with one of these as Hugging Face
        lays them out.

    Raises:
      UserError: no such file, none of these kinds, damaged, or a part that is missing.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    if path.name.endswith((_INDEX, _TORCH_INDEX)):
        return Tensors(path, _from_index(path))
    if path.suffix == ".safetensors":
        return Tensors(path, open_safetensors(path)[0])
    if path.suffix in SUFFIXES:
        return Tensors(path, open_torch_file(path))
    raise UserError(f"{path}: weights are read from {', '.join(SUFFIXES)} and *{_INDEX}")


class Tensors(Mapping[str, Tensor]):
    """The tensors of a file by name.

    Attributes:
      path: of the file (or the index) they are in.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]):
        self.path = path
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _in_folder(folder: Path) -> Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for endings in ((_INDEX, _TORCH_INDEX), SUFFIXES):
        found = [path for path in files if path.name.endswith(endings)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if found:
        names = ", ".join(path.name for path in found[:4])
        raise UserError(f"{folder}: several files of weights ({names}); name one of them")
    raise UserError(
        f"{folder}: no weights in it; wanted: *{_INDEX}, or a file {', '.join(SUFFIXES)}"
    )


def _from_index(path: Path) -> dict[str, Tensor]:
    places = read_index(path)
    parts = {}
    for part in sorted(set(places.values())):
        is_safe = part.suffix == ".safetensors"
        parts[part] = open_safetensors(part)[0] if is_safe else open_torch_file(part)
    for name, part in places.items():
        if name not in parts[part]:
            raise UserError(f"{path}: {name} is not in {part.name}, where it should be")
    return {name: parts[part][name] for name, part in places.items()}
