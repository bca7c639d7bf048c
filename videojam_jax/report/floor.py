"""Whether a run learned anything of a half of its loss: what it ended at, and its linear floor."""

from collections.abc import Sequence

from videojam_jax.measure.statistics import Estimate, mean_interval
from videojam_jax.report.curves import PANELS, LoggedRun, floor_of, series

# A run ends at the mean of this share of its rows, and of no fewer than so many: a row alone is
# a mean over few clips, noises and times.
LAST, FEWEST = 0.1, 5
# The floor is itself of a part of the clips (train/floor.py).
FLOOR_KNOWN_TO = 0.03


def against_floors(runs: Sequence[LoggedRun]) -> list[str]:
    """A sentence for each run and half whose linear floor is known; else nothing.

    Above and below are told where both the 95 % interval of the loss at the end and the floor's
    own uncertainty allow it.
    """
    found = []
    for run in runs:
        for _, key, floor_key in PANELS:
            floor, losses = floor_of(run, floor_key), series(run.rows, key)[:, 1]
            if floor is not None and len(losses) > 1:
                last = losses[-max(FEWEST, round(LAST * len(losses))) :]
                half = key.removesuffix("_loss")
                found.append(_sentence(run.name, half, mean_interval(last[None]), floor))
    return found


def _sentence(name: str, half: str, end: Estimate, floor: float) -> str:
    margin = FLOOR_KNOWN_TO * floor
    if end.low > floor + margin:
        return (
            f"{name} has learned nothing of the {half} half: its {half} loss ended at "
            f"{end.mean:.3g}, above the linear floor of {floor:.3g}."
        )
    if end.high < floor - margin:
        return (
            f"{name}: the {half} loss ended at {end.mean:.3g}, "
            f"{100 * (1 - end.mean / floor):.0f} % below its linear floor of {floor:.3g}."
        )
    return (
        f"{name}: the {half} loss ended at {end.mean:.3g}, too near its linear floor of "
        f"{floor:.3g} to say that anything of that half was learned."
    )
