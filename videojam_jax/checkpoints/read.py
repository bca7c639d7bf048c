"""What is read of a run's last checkpoint, or of converted weights.

A folder may hold, in the place of checkpoints, one file of weights (`exported.py`), and such a
file may stand in its place.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from videojam_jax.checkpoints import exported
from videojam_jax.checkpoints.names import flat
from videojam_jax.differences import differences
from videojam_jax.errors import MayPass, UserError, first_line, may_pass

FOLDER = "checkpoints"
NO_ARCHITECTURE = "it says nothing of its architecture"
AT_ONCE = 2  # GB that are being read, beside the largest array


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is the workdir of a run, or of converted weights."""
    return (Path(folder) / FOLDER).is_dir()


def weights_file(folder: Path) -> Path | None:
    """The one file of weights that a folder has in the place of checkpoints, or that it is."""
    path = folder if exported.is_export(folder) else folder / exported.FILE
    return path if path.is_file() and not is_checkpoint(folder) else None


def config_file(workdir: Path) -> Path:
    """Where the config of a run lies: beside its weights, or in their file."""
    beside, file = workdir / "config.json", weights_file(workdir)
    if beside.is_file() or file is None:
        return beside
    return file if file == workdir or exported.config_in(file) is not None else beside


def all_steps(workdir: Path) -> list[int]:
    """The steps that a workdir has parameters of, in order."""
    if file := weights_file(workdir):
        return [exported.arrays_and_about(file)[1]["step"]]
    return sorted(_steps(workdir / FOLDER))


def latest_step(workdir: Path) -> int | None:
    """The last of them; None where there are none."""
    return max(all_steps(workdir), default=None)


def place_of(workdir: Path, step: int) -> Path:
    """Where the parameters of a step lie."""
    return weights_file(workdir) or workdir / FOLDER / str(step)


def latest_whole(workdir: Path) -> Path | None:
    """The last checkpoint that is whole, whatever is being written; None if there is none."""
    folder = workdir / FOLDER
    steps = _steps(folder)
    return folder / str(max(steps)) if steps else None


def _steps(folder: Path) -> list[int]:
    """Of the checkpoints that are whole: the folder of one being written has another name."""
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit()]


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
    args = ocp.args.Composite(**{item: ocp.args.JsonRestore()})
    with reading(manager.directory / str(step)):
        return manager.restore(step, args=args)[item]


class Damaged(UserError):
    """A checkpoint that cannot be read as a whole one can."""

    def __init__(self, folder: Path, said: str):
        others = [step for step in _steps(folder.parent) if str(step) != folder.name]
        left = f"that of step {max(others)} is used then" if others else "it is the only one there"
        super().__init__(
            f"{folder} cannot be read, as a whole checkpoint can ({said}): delete this folder; {left}"
        )
        self.said = said


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """What orbax makes of a checkpoint that was damaged, as `Damaged`, which says what helps."""
    try:
        yield
    # The latter two are of the machine: it has too little memory, or another process is gone.
    except (UserError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # which of many depends on the bytes
        if may_pass(error):
            raise MayPass(f"{folder} cannot be read ({first_line(error)[:200]})") from error
        raise Damaged(folder, first_line(error)[:200]) from error


def read_architecture(workdir: Path) -> dict[str, Any]:
    """What a workdir's latest checkpoint says of its model."""
    if file := weights_file(workdir):
        return exported.arrays_and_about(file)[1]["architecture"]
    manager = open_existing(workdir)
    found = read_json(manager, manager.latest_step(), "architecture")
    manager.close()
    return found


def restore_params(
    workdir: Path, abstract_params: Any, architecture: dict, *, ema: bool, step: int | None = None
) -> tuple[Any, int]:
    """The parameters alone (or their average) of a run's checkpoint, and its step.

    UserError when the run has no checkpoint, not this step, or another architecture.
    Converted weights, and those in one file, have but the one set.
    """
    if file := weights_file(workdir):
        arrays, about = exported.arrays_and_about(file)
        step = one_of([about["step"]], step, file)
        _check_same(file, about["architecture"], architecture)
        _check_shapes(file, arrays, flat(abstract_params))
        return exported.placed(arrays, abstract_params), step
    manager = open_existing(workdir)
    step = one_of(sorted(manager.all_steps()), step, workdir / FOLDER)
    check_architecture(manager, step, architecture)
    has_both = (manager.directory / str(step) / "params").is_dir()
    item = "params" if has_both and not ema else "ema_params"
    args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract_params)})
    with reading(manager.directory / str(step)):
        params = manager.restore(step, args=args)[item]
    manager.close()
    return params, step


def one_of(steps: list[int], wanted: int | None, place: Path) -> int:
    """The step that is wanted, the last one if none is; UserError when it is not there."""
    if wanted is not None and wanted not in steps:
        raise UserError(f"{place}: no step {wanted}; there are {steps}")
    return steps[-1] if wanted is None else wanted


def check_architecture(manager: ocp.CheckpointManager, step: int, architecture: dict) -> None:
    """UserError where a checkpoint is of another architecture than the config's."""
    saved = read_json(manager, step, "architecture")
    if saved is None:
        raise Damaged(manager.directory / str(step), NO_ARCHITECTURE)
    _check_same(manager.directory / str(step), saved, architecture)


def _check_same(place: Path, saved: dict, architecture: dict) -> None:
    for key, there, here in differences(saved, architecture):
        raise UserError(
            f"{place} is a checkpoint of another architecture: "
            f"{key} is {there!r} there and {here!r} in this config"
        )


def load_params(workdir: Path, abstract: Any) -> tuple[Any, dict[str, Any] | None]:
    """The (averaged) parameters of the latest checkpoint, and its `latent` item if it has one.

    Args:
      abstract: their shapes, dtypes and shardings.

    Raises:
      UserError: there is no checkpoint, or it is one of another model.
    """
    if file := weights_file(workdir):
        arrays, about = exported.arrays_and_about(file)
        _check_shapes(file, arrays, flat(abstract))
        return exported.placed(arrays, abstract), about.get("latent")
    manager = open_existing(workdir)
    step = manager.latest_step()
    latent = read_json(manager, step, "latent")
    manager.close()
    folder = manager.directory / str(step) / "ema_params"
    with reading(folder.parent):
        known = saved_shapes(folder)
    _check_shapes(folder.parent, flat(known), flat(abstract))
    # orbax begins to read all arrays, as they are on disk, before it casts the first of them.
    largest = max(math.prod(x.shape) * x.dtype.itemsize for x in flat(known).values())
    handler = ocp.StandardCheckpointHandler(restore_concurrent_gb=AT_ONCE + largest / 1e9)
    with reading(folder.parent):
        return handler.restore(folder, args=ocp.args.StandardRestore(abstract)), latent


def saved_shapes(folder: Path) -> dict[str, Any]:
    """Shapes and dtypes of the arrays in an item of a checkpoint, as nested dictionaries."""
    return ocp.PyTreeCheckpointHandler().metadata(folder).tree


def _check_shapes(place: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    problems = {
        "missing": [path for path in wanted if path not in there],
        "unknown": [path for path in there if path not in wanted],
        "of another shape": [
            f"{path} is {list(there[path].shape)}, the model wants {list(x.shape)}"
            for path, x in wanted.items()
            if path in there and tuple(there[path].shape) != tuple(x.shape)
        ],
    }
    said = [f"{len(names)} {what}: {', '.join(names)}" for what, names in problems.items() if names]
    if said:
        raise UserError(
            f"{place}: not the parameters that this config's model has; {'; '.join(said)}"
        )
