"""Where an experiment's parts lie, and which config each of its runs has.

    WORKDIR/data                        prepared clips, of all runs
    WORKDIR/seed_S/{base,control,videojam}   the trained runs, as of `videojam train`
    WORKDIR/NAME/                       one experiment: held-out clips, samples, report

Experiments of one workdir share its runs.
"""

import dataclasses
import functools
import json
from pathlib import Path

from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.builtin import run_folder
from videojam_jax.config import loading, preparing
from videojam_jax.config.schema import Config
from videojam_jax.differences import differences
from videojam_jax.errors import UserError
from videojam_jax.keys import TRAINING, tagged

# In the order in which they are trained: the others start from the base.
KINDS = ("base", "control", "videojam")


@dataclasses.dataclass(frozen=True)
class Setting:
    """An experiment's config, and the workdir it is run in."""

    config: FrozenConfigDict
    workdir: Path

    @property
    def name(self) -> str:
        return self.config.experiment.name

    @property
    def folder(self) -> Path:
        return self.workdir / self.name

    @property
    def kinds(self) -> tuple[str, ...]:
        """The runs there are: all but the control where the config names none."""
        return tuple(kind for kind in KINDS if self.config.runs[kind])

    def is_given(self, kind: str) -> bool:
        """Whether the config names a run that was trained elsewhere."""
        return (run_folder(self.config.runs[kind]) / "config.json").is_file()

    def run_folder(self, kind: str, seed: int) -> Path:
        if self.is_given(kind):
            return run_folder(self.config.runs[kind])
        return self.workdir / f"seed_{seed}" / kind

    def seed_of(self, kind: str, seed: int) -> int:
        """The first seed for a run that was trained elsewhere, which all seeds share."""
        return self.config.seeds[0] if self.is_given(kind) else seed

    def run_config(self, kind: str, seed: int) -> FrozenConfigDict:
        """The config that a run is trained with, or was, and is sampled with."""
        path, changes = self.config.runs[kind], self.config.change.to_dict()
        if self.is_given(kind):
            return _loaded(str(run_folder(path) / "config.json"), json.dumps(changes))
        base = self.config.runs.base if self.is_given("base") else "../base"
        train = {
            **changes.get("train", {}),
            "dataset": "../../data",
            "init_from": "" if kind == "base" else base,
        }
        return _loaded(path, json.dumps({**changes, "seed": seed, "train": train}))

    def check(self) -> None:
        """Before anything is started: do the runs fit each other, and what is there already?

        Raises:
          UserError: they do not, or a run in the workdir was trained with another config.
        """
        for kind in self.kinds:
            # A base may be what the runs of all seeds start from.
            if kind != "base" and self.is_given(kind) and len(self.config.seeds) > 1:
                raise UserError(
                    f"config.seeds = {tuple(self.config.seeds)}, but a run that was trained "
                    f"elsewhere has one seed, and config.runs.{kind} names one; name one seed"
                )
        configs = {kind: self.run_config(kind, self.config.seeds[0]) for kind in self.kinds}
        for kind, config in configs.items():
            if config.model.motion != (kind == "videojam"):
                what = "has motion" if config.model.motion else "has no motion"
                raise UserError(
                    f"config.runs.{kind} = {self.config.runs[kind]}: its model {what}, which only "
                    "VideoJAM's should have"
                )
            wanted, found = (
                preparing.preparation(one)["config"] for one in (configs["videojam"], config)
            )
            if not config.model.motion:  # it reads none, however that is encoded
                found["motion"] = wanted["motion"]
            if found != wanted:
                raise UserError(
                    f"config.runs.{kind} = {self.config.runs[kind]}: its clips, autoencoder or text "
                    "differ from VideoJAM's, so they cannot share one data set"
                )

        for seed in self.config.seeds:
            for kind in self.kinds:
                if not self.is_given(kind):
                    _check_trained(self.run_folder(kind, seed), self.run_config(kind, seed))

    def held_out(self) -> FrozenConfigDict:
        """VideoJAM's config for the clips that are measured and were not trained on."""
        config = self.run_config("videojam", self.config.seeds[0])
        tree = config.to_dict()
        changes = self.config.held_out.to_dict()
        loading.merge(tree, changes)
        if tree["source"] == config.source.to_dict():
            raise UserError(
                "config.held_out changes nothing of the source: the clips that are measured would "
                "be those that were trained on; name another seed of the simulator "
                "(config.held_out.source.seed), another folder, or config.prompts"
            )
        if tree["source"]["name"] == "simulated":
            tree["source"]["clips"] = self.config.clips
        tree["prepare"]["clips_per_shard"] = min(
            tree["prepare"]["clips_per_shard"], self.config.clips
        )
        return loading.resolve(tree)


@functools.cache
def _loaded(path: str, changes: str) -> FrozenConfigDict:
    """A run's config, read once: who edits the file while an experiment runs does not mix two."""
    if path.endswith(".json"):
        return loading.load_resolved(Path(path), changes=json.loads(changes))
    return loading.load(path, changes=json.loads(changes))


def _check_trained(folder: Path, config: FrozenConfigDict) -> None:
    path = folder / "config.json"
    if not path.is_file():
        return
    before, now = (
        tagged(Config, each, TRAINING) for each in (loading.load_resolved(path), config)
    )
    for key, there, here in differences(before, now):
        raise UserError(
            f"{folder} was trained with config.{key} = {there!r}, which is now {here!r}: "
            "choose another --workdir, or delete that folder"
        )
