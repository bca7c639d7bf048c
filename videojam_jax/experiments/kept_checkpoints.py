"""Whether trained runs still have the checkpoints that an experiment samples.

Runs are shared by all experiments of a workdir, and how many checkpoints a run keeps is no part
of what it is: one that another experiment trained may have only its last.
"""

from collections.abc import Sequence

from videojam_jax.checkpoints.read import all_steps
from videojam_jax.errors import UserError
from videojam_jax.experiments import sampling_stages
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.setting import Setting


def check(setting: Setting, rows: Sequence[SampledRow]) -> None:
    """UserError, which names run and steps, where a checkpoint of a row is gone for good.

    One of a step that a run has still to come to will be kept (`stages.training_stages`).
    """
    for seed in setting.config.seeds:
        for kind, wanted in sampling_stages.steps_needed(rows).items():
            there = all_steps(setting.run_folder(kind, seed))
            missing = [step for step in wanted if step not in there]
            if not setting.is_given(kind):
                missing = [step for step in missing if step < max(there, default=0)]
            if missing:
                raise UserError(_told(setting, kind, seed, wanted, missing, there))


def _told(
    setting: Setting, kind: str, seed: int, wanted: list[int], missing: list[int], there: list[int]
) -> str:
    if setting.is_given(kind):
        remedy = f"name a run that was trained with config.train.keep_steps = {tuple(wanted)}"
    else:
        kept = f"--config.change.train.keep_steps='{tuple(wanted)}'"
        remedy = (
            "another experiment trained it and kept no others. Delete that folder, and this one "
            "trains it again and keeps them; or choose another --workdir, and do this experiment "
            f"there first, or the others with {kept}"
        )
    return (
        f"{setting.run_folder(kind, seed)} has no checkpoint of step "
        f"{', '.join(map(str, missing))}; there are {', '.join(map(str, there)) or 'none'}: "
        f"{remedy}; or choose config.experiment.at by those that are there"
    )
