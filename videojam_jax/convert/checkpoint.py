"""Weights as a checkpoint of ours: what `convert` writes, and what is read of any run.

A converted model is a folder `checkpoints/0` with the items `ema_params` and
`architecture`: those of a run's checkpoint that others read. So converted weights stand
wherever a trained run may, and the other way round.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from videojam_jax.errors import UserError, first_line

FOLDER = "checkpoints"


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is the workdir of a run, or of converted weights."""
    return (Path(folder) / FOLDER).is_dir()


def open_existing(workdir: Path) -> ocp.CheckpointManager:
    """A workdir's checkpoints, to be read; UserError when there is none."""
    folder = workdir / FOLDER
    if not folder.is_dir():
        raise UserError(
            f"{workdir}: no checkpoints there; it should be the workdir of a `videojam train`, "
            "or weights that `videojam convert` wrote"
        )
    options = ocp.CheckpointManagerOptions(create=False, enable_async_checkpointing=False)
    manager = ocp.CheckpointManager(folder.absolute(), options=options)
    if manager.latest_step() is None:
        raise UserError(f"{folder}: no whole checkpoint there yet")
    return manager


def read_json(manager: ocp.CheckpointManager, step: int, item: str) -> Any:
    """A JSON item of a checkpoint; None where it has none of that name."""
    if not (manager.directory / str(step) / item).is_dir():
        return None
    return manager.restore(step, args=ocp.args.Composite(**{item: ocp.args.JsonRestore()}))[item]


def restore_item(manager: ocp.CheckpointManager, step: int, item: str, abstract: Any) -> Any:
    """Arrays of a checkpoint, laid out and cast as `abstract` says."""
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
    return manager.restore(step, args=args)[item]


def read_architecture(workdir: Path) -> dict[str, Any]:
    """What a workdir's latest checkpoint says of its model."""
    manager = open_existing(workdir)
    found = read_json(manager, manager.latest_step(), "architecture")
    manager.close()
    return found


def load(workdir: Path, abstract: Any) -> tuple[Any, dict[str, Any] | None]:
    """The (averaged) parameters of the latest checkpoint, and its `latent` item if it has one.

    Args:
      abstract: their shapes, dtypes and shardings.

    Raises:
      UserError: there is no checkpoint, or it is one of another model.
    """
    manager = open_existing(workdir)
    step = manager.latest_step()
    try:
        params = restore_item(manager, step, "ema_params", abstract)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{manager.directory / str(step)}: not the parameters that this config's model has "
            f"({first_line(error)})"
        ) from error
    latent = read_json(manager, step, "latent")
    manager.close()
    return params, latent


def save(
    workdir: Path,
    params: Mapping[str, Any],
    architecture: Mapping[str, Any],
    latent: Mapping[str, Any] | None = None,
) -> Path:
    """Writes parameters as a workdir's checkpoint 0, whole or not at all; its folder.

    To be called by every process of a run.

    Raises:
      UserError: there is one already, or it cannot be written.
    """
    folder = (workdir / FOLDER).absolute()
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    try:
        with ocp.CheckpointManager(folder, options=options) as manager:
            if manager.all_steps():
                raise UserError(f"{folder}: there are checkpoints already; choose another folder")
            items = {
                "ema_params": ocp.args.StandardSave(params),
                "architecture": ocp.args.JsonSave(dict(architecture)),
            }
            if latent is not None:
                items["latent"] = ocp.args.JsonSave(dict(latent))
            manager.save(0, args=ocp.args.Composite(**items), force=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return folder / "0"
