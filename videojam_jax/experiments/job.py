"""`videojam evaluate`: an experiment's stages, then its report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import FrozenConfigDict

from videojam_jax import keys
from videojam_jax.config.shared import shared
from videojam_jax.differences import flat
from videojam_jax.experiments import ablation, guidance, horizon, permutation, steps, when
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import run_stages, untrained
from videojam_jax.parallel import distributed

# Each has `stages(setting)` and `report(setting)`.
EXPERIMENTS = {
    "ablation": ablation,
    "permutation": permutation,
    "when": when,
    "guidance": guidance,
    "horizon": horizon,
    "steps": steps,
}


def evaluate(
    config: FrozenConfigDict, workdir: Path, tell: Callable[[str], None]
) -> list[Path] | None:
    """Runs what is not done yet of an experiment, and writes its report.

    Args:
      config: of the experiment, see `config.loading.load_experiment`.
      workdir: shared by experiments that have the same runs.
      tell: is given a line when a stage begins.

    Returns:
      The files of the report (none in processes other than 0), or None where a signal
      stopped it: the same call goes on.

    Raises:
      UserError: the config's runs do not fit each other or what is in the workdir, or a stage
        failed.
    """
    setting = Setting(config, workdir)
    setting.check()
    experiment = EXPERIMENTS[setting.name]
    try:
        if not run_stages(experiment.stages(setting), tell):
            return None
        return experiment.report(setting) if distributed.leader() else []
    except KeyboardInterrupt:
        return None


def folders(config: FrozenConfigDict, workdir: Path) -> list[Path]:
    """What no other run may write to meanwhile: the experiment's folder, the runs to be trained.

    Experiments that share trained runs may be done side by side.

    Raises:
      UserError: as `evaluate`.
    """
    setting = Setting(config, workdir)
    setting.check()
    return [setting.folder, *untrained(setting)]


def facts(config: FrozenConfigDict, workdir: Path) -> dict[str, Any]:
    """What all processes of `evaluate` have alike: the experiment's keys and its runs', by name."""
    setting = Setting(config, workdir)
    seed = setting.config.seeds[0]
    own = flat(keys.jsonable(config.to_dict()))
    # What stands in the runs' configs counts, not where they lie.
    found = {f"config.{name}": own[name] for name in own if not name.startswith("runs.")}
    for kind in setting.kinds:
        of_run = shared(setting.run_config(kind, seed))
        found |= {f"{kind}'s {name}": value for name, value in of_run.items()}
    return found


def outline(config: FrozenConfigDict, workdir: Path) -> list[str]:
    """The names of the stages, without doing any."""
    setting = Setting(config, workdir)
    setting.check()
    return [stage.name for stage in EXPERIMENTS[setting.name].stages(setting)]
