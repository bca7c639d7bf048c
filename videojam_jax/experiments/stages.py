"""An experiment as stages, each of which is done once, however often it is run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from videojam_jax.checkpoints.read import latest_step
from videojam_jax.config import loading, preparing
from videojam_jax.data import loader, manifest
from videojam_jax.data.prepare import Share
from videojam_jax.errors import UserError
from videojam_jax.experiments import store
from videojam_jax.experiments.setting import Setting
from videojam_jax.parallel import distributed
from videojam_jax.terminal.progress import progress
from videojam_jax.train.loop import train


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of an experiment that others go on from.

    Attributes:
      name: as it is told.
      is_done: looks whether all of it is on disk, and made as it would be made now.
      make: does what is missing of it; True when a signal stopped it.
    """

    name: str
    is_done: Callable[[], bool]
    make: Callable[[], bool | None]


def run_stages(stages: Sequence[Stage], tell: Callable[[str], None]) -> bool:
    """Does the stages that are not done, in order; False when a signal stopped one.

    To be called alike by every process of a run; process 0 looks what is done.
    """
    for number, stage in enumerate(stages, 1):
        done = distributed.broadcast_text(str(stage.is_done()) if distributed.leader() else None)
        tell(f"[{number}/{len(stages)}] {stage.name}{': done' if done == 'True' else ''}")
        if done == "True":
            continue
        if stage.make():
            return False
        distributed.barrier(stage.name)
    return True


def json_stage(
    name: str,
    path: Path,
    origin: Callable[[], Mapping[str, Any]],
    content: Callable[[], Mapping[str, Any]],
    *,
    together: bool = False,
) -> Stage:
    """A JSON file that is made where there is none of this origin.

    Args:
      path: process 0 writes it, see `store.write_json`.
      origin: what it is made from, asked for when earlier stages are done.
      content: makes what is in it; called by process 0, or by all of them.
      together: all processes of a run make it.
    """

    def make() -> None:
        if together or distributed.leader():
            made = content()
            if distributed.leader():
                store.write_json(path, made, origin())

    return Stage(name, lambda: store.is_of(path, origin()), make)


def clips_stage(
    name: str,
    folder: Path,
    origin: Callable[[], Mapping[str, Any]],
    count: Callable[[], int],
    make: Callable[[], None],
) -> Stage:
    """A folder of so many stored clips, emptied first where they are of another origin.

    Args:
      make: saves those that are missing; called by every process of a run.
    """

    def is_done() -> bool:
        return store.is_of(folder / store.ORIGIN, origin()) and (
            len(store.finished(folder)) == count()
        )

    def begin_and_make() -> None:
        if distributed.leader():
            store.begin(folder, origin())
        distributed.barrier(f"{folder} is there")
        make()

    return Stage(name, is_done, begin_and_make)


def data_stage(name: str, config, folder: Path) -> Stage:
    """Clips prepared as a config says, each process its share."""

    def is_done() -> bool:
        try:
            dataset = loader.open_dataset(folder)
        except UserError:
            return False
        if manifest.unfinished(folder):
            return False
        # Clips of one's own may have been prepared in any way that gives these latents.
        if config.source.name == "simulated":
            source = preparing.source(config)
            shaping = preparing.preparation(config)
            now = {**shaping, "source": source.describe(), "clips": len(source)}
            manifest.check_settings(folder, {**dataset.manifest["settings"], **now})
        return True

    def make() -> None:
        share = Share(jax.process_index(), jax.process_count())
        prepare_together(config, preparing.source(config, folder, share), folder)

    return Stage(name, is_done, make)


def prepare_together(config, source, folder: Path, text=None) -> None:
    """Prepares a source's clips; to be called by every process of a run, each does its share.

    Args:
      config, source, text: see `preparing.prepare`.
    """

    def prepare(share: Share) -> None:
        with progress(len(source), 0, "clips") as tell:
            preparing.prepare(
                config, source, folder, lambda done, *_: tell(done), share, text=text
            )

    prepare(Share(jax.process_index(), jax.process_count()))
    distributed.barrier(f"{folder}: all shards")
    # Whoever was last has found all shards whole, unless two were last at once.
    if distributed.leader():
        prepare(Share())


def training_stages(
    setting: Setting, keep: Mapping[str, Sequence[int]] | None = None
) -> list[Stage]:
    """The data, and for every seed the runs, as far as the config does not name trained ones.

    Args:
      keep: for a kind of run, steps whose checkpoints are kept beside those its config keeps.
    """
    runs = _own_runs(setting)
    if not runs:
        return []
    config = setting.run_config("videojam", setting.config.seeds[0])
    stages = [data_stage("prepare the clips to train on", config, setting.workdir / "data")]
    keep = keep or {}
    return stages + [_training(setting, kind, seed, keep.get(kind, ())) for kind, seed in runs]


def untrained(setting: Setting) -> list[Path]:
    """The folders of the runs that are still to be trained, or to be trained further."""
    return [
        setting.run_folder(kind, seed)
        for kind, seed in _own_runs(setting)
        if not _is_trained(setting.run_config(kind, seed), setting.run_folder(kind, seed))
    ]


def _own_runs(setting: Setting) -> list[tuple[str, int]]:
    """Kind and seed of the runs that are trained here, in the order in which they are."""
    kinds = [kind for kind in setting.kinds if not setting.is_given(kind)]
    return [(kind, seed) for seed in setting.config.seeds for kind in kinds]


def _is_trained(config, folder: Path) -> bool:
    step = latest_step(folder)
    return step is not None and step >= config.train.steps


def _training(setting: Setting, kind: str, seed: int, keep: Sequence[int]) -> Stage:
    tree, folder = setting.run_config(kind, seed).to_dict(), setting.run_folder(kind, seed)
    tree["train"]["keep_steps"] = tuple(sorted({*tree["train"]["keep_steps"], *keep}))
    config = loading.resolve(tree)

    def is_done() -> bool:
        return _is_trained(config, folder)

    def make() -> bool:
        if distributed.leader():
            folder.mkdir(parents=True, exist_ok=True)
        distributed.barrier(f"{folder} is there")
        return train(config, loading.to_json(config), folder).stopped

    return Stage(f"train {kind}, seed {seed}", is_done, make)
