"""`videojam convert`: public weights to a checkpoint of ours, and a checkpoint to safetensors.

    a file of RAFT, Wan's autoencoder, T5 or CLIP   ->  checkpoint  ->  the same tensors again
    a run of `videojam train`                       ->  safetensors under our names  ->  checkpoint
    the same                                        ->  a folder that stands for the run

Every tensor stays what it is to the bit, unless another dtype is asked for.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

from videojam_jax.checkpoints.average import average_as_saved
from videojam_jax.checkpoints.exported import about_run
from videojam_jax.checkpoints.later import Later
from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.checkpoints.read import is_checkpoint, latest_whole
from videojam_jax.checkpoints.write import save_params
from videojam_jax.convert import export
from videojam_jax.convert.kinds import KINDS, abstract, detect
from videojam_jax.convert.layout import Row
from videojam_jax.convert.read import (
    as_found,
    check,
    dtype_in,
    kept,
    passed_over,
    read_row,
    slice_of,
)
from videojam_jax.convert.said import described, said
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
    step: int | None = None,
    shard_bytes: int = SHARD,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Converts in the direction that the source asks for.

    Args:
      source: a public file or folder, or the workdir of a run or of converted weights.
      out: the folder of the checkpoint; or the file `*.safetensors`, split if it is large; of a
        run also a folder, which gets its weights as one file and its config. See
        `checkpoints.exported`.
      kind: of the public weights, a key of `KINDS`; default: found out.
      dtype: of the arrays that are written, "float32", say; default: each as it is.
      step: of a run's checkpoint; default: the last whole one.
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
        saved = average_as_saved(source, step)
        if out.suffix != ".safetensors":
            return export.to_folder(source, saved, out, dtype, tell)
        written = export.to_file(source, saved, out, dtype, shard_bytes, tell)
        # A run's config is in the file; one beside it would be of whichever run came first.
        is_run = CONVERTED not in saved.architecture
        return written if is_run else written + _companions(source, out.parent)
    if step is not None:
        raise UserError(f"{source}: no run of ours, which has checkpoints of steps: no --step")
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
    own = about_run(tensors.path)
    if own is not None and kind is None:
        params = nested({
            name.replace(".", "/"): _own_tensor(tensor, dtype) for name, tensor in tensors.items()
        })
        tell(f"{len(tensors)} tensors of {said(own['architecture'])}")
        with cannot_write(out):
            out.mkdir(parents=True, exist_ok=True)
        written = _companions(source, out) if source.is_dir() else []
        config = out / "config.json"  # before the weights, which make the folder a run's
        if "config" in own and not config.exists():
            written.append(write_whole(config, json.dumps(own["config"], indent=2) + "\n"))
        return [save_params(out, params, own["architecture"], own.get("latent")), *written]
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
    tell(f"{len(tensors)} tensors of {kind}: {described(options)}")
    if beside := passed_over(tensors, rows):
        tell(f"{len(beside)} of them are no part of it: {', '.join(beside)}")
    about = {"kind": kind, "options": options}
    usual = {row.ours: row.public for row in rows}
    names = {r.ours: r.public for r in as_found(tensors, rows) if r.public != usual[r.ours]}
    about |= {"names": names} if names else {}  # to go out under the names it came in
    written = [save_params(out, params, {CONVERTED: about})]
    return written + _companions(source if source.is_dir() else source.parent, out)


def _later(tensors: Tensors, row: Row, shape: tuple[int, ...], dtype: str | None) -> Later:
    struct = jax.ShapeDtypeStruct(shape, kept(dtype_in(tensors, row), dtype))
    return Later(shape, struct.dtype, lambda: read_row(tensors, row, struct))


def _own_tensor(tensor: Tensor, dtype: str | None) -> Later:
    wanted = kept(tensor.dtype, dtype)
    everything = (slice(None),) * len(tensor.shape)
    return Later(tensor.shape, wanted, lambda: slice_of(tensor, everything, None, wanted))


def _companions(source: Path, out: Path) -> list[Path]:
    """Copies what belongs to the weights, as far as it is there and not there yet."""
    copied = []
    for name in COMPANIONS:
        if (source / name).is_file() and not (out / name).exists():
            with passing_name(out / name) as passing, cannot_write(out / name):
                shutil.copyfile(source / name, passing)
            copied.append(out / name)
    return copied
