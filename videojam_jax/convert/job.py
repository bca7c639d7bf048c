"""`videojam convert`: public weights to a checkpoint of ours, and a checkpoint to safetensors.

    a file of RAFT, Wan's autoencoder, T5 or CLIP   ->  checkpoint  ->  the same tensors again
    a run of `videojam train`                       ->  safetensors under our names  ->  checkpoint
    the same                                        ->  a folder that stands for the run

Every tensor stays what it is to the bit, unless another dtype is asked for.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from videojam_jax.checkpoints.exported import FILE, METADATA, sha256
from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.checkpoints.read import (
    is_checkpoint,
    latest_step,
    latest_whole,
    params_as_saved,
    read_architecture,
)
from videojam_jax.checkpoints.safetensors_file import open_safetensors
from videojam_jax.checkpoints.write import Later, save_params
from videojam_jax.convert.kinds import KINDS, abstract, detect
from videojam_jax.convert.layout import Row
from videojam_jax.convert.read import (
    as_found,
    check,
    dtype_in,
    passed_over,
    public_tensors,
    read_row,
    slice_of,
)
from videojam_jax.convert.tensors import Tensor, Tensors, open_tensors
from videojam_jax.convert.weights import CONVERTED
from videojam_jax.errors import UserError
from videojam_jax.files import cannot_write, passing_name, write_whole

# What of a public folder goes with its weights: sizes, and the tokenizer.
COMPANIONS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "vocab.json",
    "merges.txt",
)
SHARD = 5_000_000_000  # bytes of one file, as Hugging Face splits them


def convert(
    source: Path,
    out: Path,
    *,
    kind: str | None = None,
    dtype: str | None = None,
    shard_bytes: int = SHARD,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Converts in the direction that the source asks for.

    Args:
      source: a public file or folder, or the workdir of a run or of converted weights.
      out: the folder of the checkpoint; or the file `*.safetensors`, split if it is large; of a
        run also a folder, which gets its weights as one file and its config, see
        `checkpoints.exported`.
      kind: of the public weights, a key of `KINDS`; default: found out.
      dtype: of the arrays that are written, "float32", say; default: each as it is.
      shard_bytes: of one safetensors file at most.
      tell: called with lines to print.

    Returns:
      What was written.

    Raises:
      UserError: a tensor is missing, unknown or of a wrong shape, all of them named; nothing
        of the kind at the source; or it cannot be written.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if is_checkpoint(source):
        if kind:
            raise UserError(f"{source} is a checkpoint of ours, which tells its kind: no --model")
        if out.suffix != ".safetensors":
            return _to_folder(source, out, dtype, tell)
        return _to_public(source, out, dtype, shard_bytes, tell)
    if out.suffix == ".safetensors":
        raise UserError(
            f"{source}: no checkpoint of ours, so this converts to one: --out must be a folder"
        )
    return _to_ours(source, out, kind, dtype, tell)


def _to_ours(source: Path, out: Path, kind: str | None, dtype: str | None, tell) -> list[Path]:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: it is a file; --out must be a folder")
    if latest_whole(out):
        raise UserError(f"{out}: there are checkpoints already; choose another folder")
    tensors = open_tensors(source)
    own = _own(tensors)
    if own is not None and kind is None:
        params = nested({
            name.replace(".", "/"): _own_tensor(tensor, dtype) for name, tensor in tensors.items()
        })
        tell(f"{len(tensors)} tensors of {_said(own['architecture'])}")
        written = [save_params(out, params, own["architecture"], own.get("latent"))]
        return written + (_companions(source, out) if source.is_dir() else [])
    kind = kind or detect(source, tensors)
    known = KINDS[kind]
    options = known.options(source, tensors)
    module = known.module(options, np.float32)
    rows = known.rows(module, options)
    shapes = flat(nn.unbox(abstract(known, module)))
    check(tensors, rows, shapes, known.ignored)  # before anything is read
    params = nested({
        row.ours: _later(tensors, row, shapes[row.ours].shape, dtype) for row in rows
    })
    with cannot_write(out):  # known before what may take long
        out.mkdir(parents=True, exist_ok=True)
    tell(f"{len(tensors)} tensors of {kind}: {_described(options)}")
    if beside := passed_over(tensors, rows):
        tell(f"{len(beside)} of them are no part of it: {', '.join(beside)}")
    about = {"kind": kind, "options": options}
    usual = {row.ours: row.public for row in rows}
    names = {r.ours: r.public for r in as_found(tensors, rows) if r.public != usual[r.ours]}
    about |= {"names": names} if names else {}  # to go out under the names it came in
    written = [save_params(out, params, {CONVERTED: about})]
    return written + _companions(source if source.is_dir() else source.parent, out)


def _later(tensors: Tensors, row: Row, shape: tuple[int, ...], dtype: str | None) -> Later:
    struct = jax.ShapeDtypeStruct(shape, _kept(dtype_in(tensors, row), dtype))
    return Later(shape, struct.dtype, lambda: read_row(tensors, row, struct))


def _own_tensor(tensor: Tensor, dtype: str | None) -> Later:
    kept = _kept(tensor.dtype, dtype)
    everything = (slice(None),) * len(tensor.shape)
    return Later(tensor.shape, kept, lambda: slice_of(tensor, everything, None, kept))


def _to_folder(source: Path, out: Path, dtype: str | None, tell) -> list[Path]:
    """A run as a folder that stands for it; the weights come last, so with them it is whole."""
    architecture = read_architecture(source)
    if CONVERTED in architecture:
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
    params, latent = params_as_saved(source)
    tensors, about = _own_tensors(params, architecture, latent, latest_step(source))
    tell(f"{len(tensors)} tensors of {_said(architecture)}")
    written = [write_whole(out / config.name, config.read_bytes())]
    total = sum(x.nbytes for x in tensors.values())  # one file, whatever its size
    written += _write(file, tensors, about, dtype, total)
    tell(f"{file.stat().st_size / 1e6:,.1f} MB, sha256 {sha256(file)}")
    return written


def _own_tensors(
    params: Mapping[str, Any], architecture: dict, latent: dict | None, step: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A run's parameters as its file has them, and the file's metadata."""
    tensors = {path.replace("/", "."): x for path, x in flat(params).items()}
    own = {"architecture": architecture, "step": step} | ({"latent": latent} if latent else {})
    return tensors, {"format": "pt", METADATA: json.dumps(own)}


def _to_public(source: Path, out: Path, dtype: str | None, shard_bytes: int, tell) -> list[Path]:
    if there := [path for path in (out, _index_of(out)) if path.exists()]:
        raise UserError(f"{there[0]}: it is there already; choose another name")
    architecture = read_architecture(source)
    with cannot_write(out):  # known before what may take long
        out.parent.mkdir(parents=True, exist_ok=True)
    params, latent = params_as_saved(source)
    if about := architecture.get(CONVERTED):
        known = KINDS[about["kind"]]
        module = known.module(about["options"], np.float32)
        names = about.get("names", {})
        rows = [
            dataclasses.replace(row, public=names.get(row.ours, row.public))
            for row in known.rows(module, about["options"])
        ]
        tensors, metadata = public_tensors(params, rows), {"format": "pt"}
    else:
        tensors, metadata = _own_tensors(params, architecture, latent, latest_step(source))
    tell(f"{len(tensors)} tensors of {_said(architecture)}")
    written = _write(out, tensors, metadata, dtype, shard_bytes)
    return written + _companions(source, out.parent)


def _write(
    out: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    dtype: str | None,
    shard_bytes: int,
) -> list[Path]:
    """One file, or several and their index; only one file's tensors are copied at a time."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        wanted = _kept(tensor.dtype, dtype).itemsize * tensor.size
        if groups[-1] and size + wanted > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += wanted
    count, places, written, total = len(groups), {}, [], 0
    for number, names in enumerate(groups, start=1):
        split = f"{out.stem}-{number:05d}-of-{count:05d}.safetensors"
        path = out if count == 1 else out.with_name(split)
        part = {name: np.ascontiguousarray(_cast(tensors[name], dtype)) for name in names}
        # A scalar comes out of ascontiguousarray with an axis.
        part = {name: x.reshape(tensors[name].shape) for name, x in part.items()}
        with passing_name(path) as passing, cannot_write(path):
            save_file(part, passing, metadata=dict(metadata))
            passing.chmod(0o644)  # the library leaves it to its owner alone
        places |= {name: path.name for name in names}
        total += sum(x.nbytes for x in part.values())
        written.append(path)
    if count > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        written.append(write_whole(_index_of(out), json.dumps(index, indent=2) + "\n"))
    return written


def _index_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.index.json")


def _own(tensors: Tensors) -> dict[str, Any] | None:
    """What a safetensors file says of the run of ours that it came from."""
    path = tensors.path
    if path.name.endswith(".index.json"):
        path = path.parent / sorted(set(json.loads(path.read_bytes())["weight_map"].values()))[0]
    if path.suffix != ".safetensors":
        return None
    said = open_safetensors(path)[1].get(METADATA)
    return json.loads(said) if said else None


def _kept(there: np.dtype, dtype: str | None) -> np.dtype:
    """What an array is kept as: as it is, or as asked for if it is of floating point."""
    is_float = jnp.issubdtype(there, jnp.floating)
    return np.dtype(dtype) if dtype and is_float else np.dtype(there)


def _cast(array: np.ndarray, dtype: str | None) -> np.ndarray:
    return array.astype(_kept(array.dtype, dtype), copy=False)


def _companions(source: Path, out: Path) -> list[Path]:
    """Copies what belongs to the weights, as far as it is there and not there yet."""
    copied = []
    for name in COMPANIONS:
        if (source / name).is_file() and not (out / name).exists():
            with passing_name(out / name) as passing, cannot_write(out / name):
                shutil.copyfile(source / name, passing)
            copied.append(out / name)
    return copied


def _said(architecture: Mapping[str, Any]) -> str:
    about = architecture.get(CONVERTED)
    if about:
        return f"{about['kind']}: {_described(about['options'])}"
    if "tae" in architecture:
        return "a temporal autoencoder"
    return "VideoJAM" if architecture.get("model", {}).get("motion") else "a base model"


def _described(options: Mapping[str, Any]) -> str:
    short = {key: value for key, value in options.items() if not isinstance(value, (list, tuple))}
    return ", ".join(f"{key} {value}" for key, value in short.items() if value is not None)
