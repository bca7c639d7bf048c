"""Weights as a checkpoint of ours, as `convert` writes them.

A converted model is a folder `checkpoints/0` with the items `ema_params` and
`architecture`: those of a run's checkpoint that others read. So converted weights stand
wherever a trained run may, and the other way round.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from videojam_jax.checkpoints.later import Later
from videojam_jax.checkpoints.read import FOLDER
from videojam_jax.errors import UserError, caused, first_line

# Bytes: whoever reads a part of an array reads whole chunks of it.
CHUNK = 64 * 2**20
TOGETHER = 16 * 2**20  # bytes of arrays that are written at the same time


class _InTurn(ocp.type_handlers.NumpyHandler):
    """Writes a few arrays at a time; orbax would make, copy and encode all of them at once.

    Small ones go together, since each write waits for the disk.
    """

    def __init__(self):
        super().__init__(deepcopy_host_arrays=False)

    async def serialize(self, values, infos, args=None):
        args = args or [ocp.SaveArgs()] * len(values)
        for some in _together([value.nbytes for value in values]):
            arrays = [np.asarray(value) for value in values[some]]
            for written in await super().serialize(arrays, infos[some], args[some]):
                await asyncio.to_thread(written.result)
        return []


def _together(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of at most `TOGETHER`, and what is larger alone."""
    begin = total = 0
    for end, size in enumerate(sizes):
        if total and total + size > TOGETHER:
            yield slice(begin, end)
            begin, total = end, 0
        total += size
    yield slice(begin, len(sizes))


def save_params(
    workdir: Path,
    params: Mapping[str, Any],
    architecture: Mapping[str, Any],
    latent: Mapping[str, Any] | None = None,
) -> Path:
    """Writes arrays as a workdir's checkpoint 0, whole or not at all; its folder.

    Beside them it takes the memory of a few of the largest alone.

    Args:
      params: nested dictionaries of NumPy arrays, or of `Later` ones.

    Raises:
      UserError: there is one already, or it cannot be written.
    """
    folder = (workdir / FOLDER).absolute()
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    writer = _InTurn()
    in_turn = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, writer), (Later, writer), (jax.Array, ocp.type_handlers.ArrayHandler())
    )
    handlers = {"ema_params": ocp.PyTreeCheckpointHandler(type_handler_registry=in_turn)}
    for item in ("architecture", "latent"):
        handlers[item] = ocp.JsonCheckpointHandler()
    in_chunks = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK), params)
    try:
        with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
            if manager.all_steps():
                raise UserError(f"{folder}: there are checkpoints already; choose another folder")
            items = {
                "ema_params": ocp.args.PyTreeSave(params, save_args=in_chunks),
                "architecture": ocp.args.JsonSave(dict(architecture)),
            }
            if latent is not None:
                items["latent"] = ocp.args.JsonSave(dict(latent))
            manager.save(0, args=ocp.args.Composite(**items), force=True)
    except (OSError, ValueError) as error:  # the latter is what orbax makes of a full disk
        said = getattr(error, "strerror", None) or first_line(error)
        raise caused(f"{folder}: cannot be written ({said})", error) from error
    return folder / "0"
