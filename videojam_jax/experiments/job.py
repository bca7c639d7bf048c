"""`videojam evaluate`: an experiment's stages, then its report."""

from collections.abc import Callable
from pathlib import Path

from ml_collections import FrozenConfigDict

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


def outline(config: FrozenConfigDict, workdir: Path) -> list[str]:
    """The names of the stages, without doing any."""
    setting = Setting(config, workdir)
    setting.check()
    return [stage.name for stage in EXPERIMENTS[setting.name].stages(setting)]
