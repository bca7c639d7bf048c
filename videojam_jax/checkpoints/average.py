"""The averaged parameters of a run's checkpoint, an array at a time."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from videojam_jax.checkpoints.later import Later
from videojam_jax.checkpoints.names import flat, nested
from videojam_jax.checkpoints.read import (
    FOLDER,
    NO_ARCHITECTURE,
    Damaged,
    one_of,
    open_existing,
    read_json,
    reading,
    saved_shapes,
)


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint says of a model: its arrays by their names, and what tells its kind."""

    arrays: dict[str, Later]
    architecture: dict[str, Any]
    latent: dict[str, Any] | None
    step: int


def average_as_saved(workdir: Path, step: int | None = None) -> Saved:
    """The averaged parameters of a step (the last one), each read from the disk when it is wanted.

    Raises:
      UserError: there is no checkpoint, or none of this step; also later, when one is read, where
        it is damaged.
    """
    manager = open_existing(workdir)
    step = one_of(sorted(manager.all_steps()), step, workdir / FOLDER)
    architecture, latent = (read_json(manager, step, item) for item in ("architecture", "latent"))
    manager.close()
    folder = manager.directory / str(step)
    if architecture is None:
        raise Damaged(folder, NO_ARCHITECTURE)
    item = folder / "ema_params"
    with reading(folder):
        known = flat(saved_shapes(item))

    def read(name: str) -> np.ndarray:
        # As NumPy's: the devices that wrote it may be more than there are here.
        kind = nested({name: ocp.RestoreArgs(restore_type=np.ndarray)})
        part = ocp.args.PyTreeRestore(nested({name: 0}), restore_args=kind, partial_restore=True)
        with reading(folder), ocp.PyTreeCheckpointer() as reader:
            return flat(reader.restore(item, args=part))[name]

    arrays = {
        name: Later(tuple(x.shape), np.dtype(x.dtype), functools.partial(read, name))
        for name, x in known.items()
    }
    return Saved(arrays, architecture, latent, step)
