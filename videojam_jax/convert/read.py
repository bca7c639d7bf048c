"""From a public file's tensors to the parameters of a model of ours, and the names back."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.convert.layout import Row
from videojam_jax.convert.tensors import Tensor, Tensors
from videojam_jax.errors import UserError

PIECE = 16 * 2**20  # bytes of a file that are read at once, to be cast


def read(
    tensors: Tensors,
    rows: Sequence[Row],
    abstract: Mapping[str, Any],
    *,
    ignored: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads a model's parameters, and only those parts of them that this process's devices hold.

    Args:
      tensors: of the file.
      rows: the layout; one for each array of `abstract`.
      abstract: nested dictionaries of `jax.ShapeDtypeStruct`. Where one has a sharding, its
        array is read slice by slice to the devices it names; else it comes as one NumPy
        array. Numbers are cast to its dtype, a slice at a time.
      ignored: patterns of tensors that the model rightly has no use for.

    Returns:
      The parameters, in the form of `abstract`.

    Raises:
      UserError: a tensor is missing, has another shape, or is not known; all are named.
    """
    wanted = flat(abstract)
    check(tensors, rows, wanted, ignored)
    found = {row.ours: read_row(tensors, row, wanted[row.ours]) for row in rows}
    return nested(found)


def check(
    tensors: Tensors,
    rows: Sequence[Row],
    wanted: Mapping[str, Any],
    ignored: Sequence[str] = (),
) -> None:
    """UserError naming every tensor that is missing, has a wrong shape, or is not known."""
    ours = [row.ours for row in rows]
    odd = set(ours) ^ set(wanted) | {path for path in ours if ours.count(path) > 1}
    odd = odd or {r.ours for r in rows if r.stack and r.stack != wanted[r.ours].shape[0]}
    if odd:
        raise ValueError(f"the layout is not that of the model: {sorted(odd)}")
    missing, wrong, used = [], [], set()
    for row in rows:
        shape = wanted[row.ours].shape
        for names in _public_names(row):
            used.update(names)
            name = next((name for name in names if name in tensors), None)
            if name is None:
                missing.append(names[0])
                continue
            of_ours = shape[1:] if row.stack else shape
            there = tuple(tensors[name].shape)
            if len(there) != len(of_ours) or _transposed(there, row.axes) != tuple(of_ours):
                public = _untransposed(of_ours, row.axes)
                wrong.append(f"{name} is {list(there)}, the model wants {list(public)}")
    patterns = [re.compile(pattern) for pattern in ignored]
    unknown = [
        name
        for name in tensors
        if name not in used and not any(pattern.fullmatch(name) for pattern in patterns)
    ]
    problems = []
    for what, names in (("missing", missing), ("of another shape", wrong), ("unknown", unknown)):
        if names:
            problems.append(f"{len(names)} {what}: {', '.join(names)}")
    if problems:
        raise UserError(f"{tensors.path} does not fit the model; {'; '.join(problems)}")


def passed_over(tensors: Tensors, rows: Sequence[Row]) -> list[str]:
    """The tensors of a file that the layout does not read."""
    used = {name for row in rows for names in _public_names(row) for name in names}
    return [name for name in tensors if name not in used]


def as_found(tensors: Tensors, rows: Sequence[Row]) -> list[Row]:
    """The rows with the names that this file has, where those are not the usual ones."""
    found = []
    for row in rows:
        names = (row.public, *row.also)
        there = (name for name in names if (name.format(0) if row.stack else name) in tensors)
        found.append(dataclasses.replace(row, public=next(there, row.public), also=names))
    return found


def kept(there: np.dtype, dtype: str | None) -> np.dtype:
    """What an array is kept as: as it is, or as asked for if it is of floating point."""
    is_float = jnp.issubdtype(there, jnp.floating)
    return np.dtype(dtype) if dtype and is_float else np.dtype(there)


def dtype_in(tensors: Tensors, row: Row) -> np.dtype:
    """What a row's tensors are kept as in a file; of several the one that holds them all."""
    names = (next(name for name in names if name in tensors) for names in _public_names(row))
    return np.dtype(functools.reduce(jnp.promote_types, (tensors[name].dtype for name in names)))


def public_tensors(params: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Our parameters under their public names and in their public axes: `read`'s inverse."""
    arrays = flat(params)
    found = {}
    for row in rows:
        ours = arrays[row.ours]
        layers = ours if row.stack else [ours]
        for (name, *_), layer in zip(_public_names(row), layers, strict=True):
            layer = np.asarray(layer)
            back = None if row.axes is None else np.argsort(row.axes)
            found[name] = layer if back is None else layer.transpose(back)
    return found


def _public_names(row: Row) -> list[tuple[str, ...]]:
    """For each layer (or the one tensor), the names it may have."""
    names = (row.public, *row.also)
    if not row.stack:
        return [names]
    return [tuple(name.format(layer) for name in names) for layer in range(row.stack)]


def read_row(tensors: Tensors, row: Row, struct: jax.ShapeDtypeStruct) -> Any:
    """One array of ours, of a file that is checked."""
    parts: list[Tensor] = []
    for names in _public_names(row):
        parts.append(tensors[next(name for name in names if name in tensors)])
    sharding = getattr(struct, "sharding", None)

    def part(index: tuple[slice, ...]) -> np.ndarray:
        if not row.stack:
            return slice_of(parts[0], index, row.axes, struct.dtype)
        layers, *rest = index
        lengths = [len(range(size)[i]) for i, size in zip(index, struct.shape, strict=True)]
        found = np.empty(lengths, struct.dtype)  # filled in place: a list would be a second copy
        for layer, tensor in enumerate(parts[layers]):
            found[layer] = slice_of(tensor, tuple(rest), row.axes, struct.dtype)
        return found

    if sharding is None:
        return part((slice(None),) * len(struct.shape))
    return jax.make_array_from_callback(struct.shape, sharding, part)


def slice_of(
    tensor: Tensor, index: tuple[slice, ...], axes: tuple[int, ...] | None, dtype: np.dtype
) -> np.ndarray:
    """The part of `tensor.transpose(axes)` at `index`, read and cast a piece at a time."""
    if not index:
        return np.array(tensor[...], dtype)
    sizes = zip(_untransposed(index, axes), tensor.shape, strict=True)
    first, *rest = (slice(*one.indices(size)[:2]) for one, size in sizes)
    shape = [one.stop - one.start for one in (first, *rest)]
    found = np.empty(_transposed(shape, axes), dtype)
    as_in_file = found if axes is None else found.transpose(np.argsort(axes))
    step = max(1, PIECE // max(1, math.prod(shape[1:]) * tensor.dtype.itemsize))
    for start in range(first.start, first.stop, step):
        stop = min(start + step, first.stop)
        piece = tensor[(slice(start, stop), *rest)]
        as_in_file[start - first.start : stop - first.start] = piece
    return found


def _transposed(values, axes):
    return tuple(values) if axes is None else tuple(values[axis] for axis in axes)


def _untransposed(values, axes):
    """The order of the public tensor, from ours."""
    if axes is None:
        return tuple(values)
    back: list[Any] = [None] * len(axes)
    for value, axis in zip(values, axes, strict=True):
        back[axis] = value
    return tuple(back)
