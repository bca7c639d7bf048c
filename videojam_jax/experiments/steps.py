"""How VideoJAM's gain over the control goes with steps of fine-tuning.

No paper has this. A comparison after one number of steps is one point of two curves: where the
task is easy enough, the control catches up. So checkpoints of both on their way are sampled from
the same captions and noise. The base is step 0 of both: VideoJAM begins as its base exactly.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ml_collections import FrozenConfigDict

from videojam_jax.config import sampling
from videojam_jax.errors import UserError
from videojam_jax.experiments import (
    horizon,
    kept_checkpoints,
    measuring_stages,
    sampling_stages,
    store,
)
from videojam_jax.experiments.measuring_stages import gather, gather_rows, in_range
from videojam_jax.experiments.report_parts import LABELS, losses, making, trust
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.score import SCORE
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage
from videojam_jax.measure.statistics import Estimate, difference, mean_interval
from videojam_jax.report.figures import Curves, Figure, Line, draw
from videojam_jax.report.page import ClipGrid, Section, write_report
from videojam_jax.report.table import Mark, Quantity, QuantityTable, mark, show

BASE = SampledRow("base", LABELS["base"], "base", {"guidance": "dit"})
CONTROL = SampledRow("control", LABELS["control"], "control", {"guidance": "dit"})
VIDEOJAM = SampledRow("videojam", LABELS["videojam"], "videojam", {"guidance": "videojam"})
WITHOUT_FLOW = SampledRow(
    "no_optical_flow", "VideoJAM w/o optical flow", "videojam", {"guidance": "no_optical_flow"}
)
# By the name of a curve: of the base, then of each step.
Scores = dict[str, list[Float[np.ndarray, "seeds clips"]]]


def steps(setting: Setting) -> list[int]:
    """Of training, whose checkpoints are sampled, in order."""
    count = _config(setting).train.steps
    return sorted({round(share * count) for share in setting.config.experiment.at} - {0})


def curves(setting: Setting) -> list[SampledRow]:
    """What is sampled of every step, its step left open; the control is the first."""
    found, config = [CONTROL, VIDEOJAM, WITHOUT_FLOW], _config(setting)
    count = sampling.first_steps(config, setting.config.experiment.first)
    if 0 < count < config.sample.steps:
        found.append(horizon.row(setting, "videojam", "control", count))
    return found


def row(curve: SampledRow, step: int) -> SampledRow:
    """A curve's point: the checkpoints of this step, of all runs that its clips come from."""
    return dataclasses.replace(
        curve,
        name=f"{curve.name}_step_{step:06}",
        label=f"{curve.label}, {step:,} steps of training",
        step=step,
        before=curve.before and row(curve.before, step),
    )


def rows(setting: Setting) -> list[SampledRow]:
    """The base, then all curves step by step."""
    return [BASE, *(row(curve, step) for step in steps(setting) for curve in curves(setting))]


def stages(setting: Setting) -> list[Stage]:
    """Trains what is missing and keeps the checkpoints; samples and measures each of them.

    Raises:
      UserError: the runs cannot be compared step by step, or one that is trained already lacks
        a checkpoint.
    """
    _check(setting)
    kept_checkpoints.check(setting, rows(setting))
    return measuring_stages.stages(setting, rows(setting))


def report(setting: Setting) -> list[Path]:
    """The score and the gain over steps, drawn and in tables, and clips of them."""
    scores = _scores(setting)
    gains, change = _less(scores, VIDEOJAM)[1:], _change(scores)
    said = verdict(steps(setting), gains, change)
    sections = [
        Section(
            "Over steps of fine-tuning",
            f"{CURVES} {_ends(setting)}".strip(),
            [said, _drawing(setting, scores), *_tables(setting, scores)],
        ),
        trust(setting, *checkpoint_notes(_config(setting))),
        losses(setting),
        Section("Clips", "Each caption from the same noise, step by step.", _grids(setting)),
        making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="Sooner or further? VideoJAM's gain over steps of fine-tuning",
        sections=sections,
    )


def verdict(counts: Sequence[int], gains: Sequence[Estimate], change: Estimate | None) -> str:
    """After which steps VideoJAM is above the control, and how the gain goes from first to last.

    Args:
      counts: steps of training, in order.
      gains: the motion score less the control's after each, as a share.
      change: the last gain less the first, paired; None where there is one alone.
    """
    after: dict[Mark, list[str]] = {}
    for count, gain in zip(counts, gains, strict=True):
        after.setdefault(mark(gain, SCORE.better), []).append(f"{count:,}")
    found = [f"{words} after {', '.join(after[how])}" for how, words in HOW.items() if how in after]
    said = f"By steps of training, VideoJAM's motion score is {'; '.join(found)}."
    if change is None:
        return said
    points = Estimate(100 * change.mean, 100 * change.low, 100 * change.high, change.count)
    return (
        f"{said} From {counts[0]:,} to {counts[-1]:,} steps its gain on the control changes by "
        f"{show(points)} points: {TREND[mark(change, SCORE.better)]}."
    )


def checkpoint_notes(config: FrozenConfigDict) -> list[str]:
    """What a checkpoint from the middle of a run is, beside its end, in words."""
    optimizer, count = config.optimizer, config.train.steps
    which = (
        f"Sampled are the averaged parameters of each checkpoint (decay {optimizer.ema_decay:g})"
        if config.sample.ema
        else "Sampled are the parameters of each checkpoint as they are, not their average"
    )
    falling = min(optimizer.decay_steps, count)
    if not falling:
        return [f"{which}. The learning rate does not fall at the end of these runs, so that a "
                "point is what a run of that many steps would have come to."]  # fmt: skip
    return [
        f"{which}. The learning rate falls to zero over the last {falling:,} of {count:,} steps, "
        "for control and VideoJAM alike, and the last checkpoint alone has all of that: those "
        f"up to step {count - falling:,} are noisier (the less so, the more is averaged), and a "
        "run of only that many steps, with a fall of its own, would have ended better. So the "
        "curves rise at their ends by the fall as well; compare control and VideoJAM at one step."
    ]


def _config(setting: Setting) -> FrozenConfigDict:
    return setting.run_config("videojam", setting.config.seeds[0])


def _check(setting: Setting) -> None:
    if "control" not in setting.kinds:
        raise UserError(
            "config.runs.control is empty, but steps compares VideoJAM with the control at every "
            "step; name its config or its run"
        )
    counts = [
        setting.run_config(kind, setting.config.seeds[0]).train.steps
        for kind in ("control", "videojam")
    ]
    if counts[0] != counts[1]:
        raise UserError(
            f"config.train.steps is {counts[0]:,} of the control and {counts[1]:,} of VideoJAM, "
            "but steps compares them at the same shares of their steps; train both for as long"
        )
    if not steps(setting):
        raise UserError(
            f"config.experiment.at = {tuple(setting.config.experiment.at)}: of {counts[0]:,} steps "
            "of training, that is none; name shares above 0, such as (0.25, 0.5, 1.0)"
        )
    if any(curve.before for curve in curves(setting)):
        horizon.check_same_times(setting)


def _scores(setting: Setting) -> Scores:
    found = {
        name: of.values["motion_score"] for name, of in gather_rows(setting, rows(setting)).items()
    }
    return {
        curve.name: [found[BASE.name], *(found[row(curve, s).name] for s in steps(setting))]
        for curve in curves(setting)
    }


def _drawing(setting: Setting, scores: Scores) -> Figure:
    counts = [0, *steps(setting)]

    def line(curve: SampledRow, estimates: list[Estimate]) -> Line:
        ends = ([100 * getattr(e, end) for e in estimates] for end in ("mean", "low", "high"))
        return Line(curve.label, counts, *ends)

    control, *others = curves(setting)
    score = [
        line(curve, [in_range(mean_interval(values), SCORE) for values in scores[curve.name]])
        for curve in (control, *others)
    ]
    less = [line(curve, _less(scores, curve)) for curve in others]
    return draw(
        [
            Curves("Motion score", score, "steps of training", "%"),
            Curves("Motion score, less the control's", less, "steps of training",
                   "points, paired by clip"),
        ],
        "Bands: 95 %. At step 0 all are the base.",
    )  # fmt: skip


def _less(scores: Scores, curve: SampledRow) -> list[Estimate]:
    """A curve's scores less the control's, of the base (none) and of each step."""
    pairs = zip(scores[curve.name], scores[CONTROL.name], strict=True)
    return [difference(values, control) for values, control in pairs]


def _change(scores: Scores) -> Estimate | None:
    """VideoJAM's gain after the last of the steps less that after the first."""
    _, *gains = (v - c for v, c in zip(scores["videojam"], scores["control"], strict=True))
    return difference(gains[-1], gains[0]) if len(gains) > 1 else None


def _tables(setting: Setting, scores: Scores) -> list[QuantityTable]:
    counts = [f"{step:,} steps" for step in steps(setting)]
    score, less = [], []
    for curve in curves(setting):
        each = [in_range(mean_interval(values), SCORE) for values in scores[curve.name]]
        score.append(
            Quantity(curve.label, dict(zip(["0 steps, the base", *counts], each, strict=True)), "%")
        )
        if curve.name != CONTROL.name:
            each = dict(zip(counts, _less(scores, curve)[1:], strict=True))
            marks = {step: mark(estimate, SCORE.better) for step, estimate in each.items()}
            less.append(Quantity(curve.label, each, "%", marks=marks))
    return [
        QuantityTable("Motion score", score, f"The {SCORE.meaning}.", models_as_rows=True),
        QuantityTable(
            "Motion score, less the control's",
            less,
            "In points, paired by clip, each after as many steps as the control.",
            models_as_rows=True,
            reference=LABELS["control"],
        ),
    ]


def _ends(setting: Setting) -> str:
    """What the score is of real clips, as far as there are any."""
    if not sampling_stages.has_real(setting):
        return ""
    folder, said = sampling_stages.real_folder(setting), []
    for file in ("measures.json", "shuffled.json"):
        values = gather([folder / file]).values["motion_score"]
        said.append(show(in_range(mean_interval(values), SCORE), SCORE.unit))
    return f"Of real clips it is {said[0]}, of the same with their frames shuffled {said[1]}."


def _grids(setting: Setting) -> list[ClipGrid]:
    """A grid for control and VideoJAM: every caption after every number of steps."""
    grids, seed, count = [], setting.config.seeds[0], setting.config.shown
    asked = sampling_stages.captions(setting)[:count]
    for curve in (VIDEOJAM, CONTROL):
        shown = {"the base": sampling_stages.row_folder(setting, BASE, seed)}
        if sampling_stages.has_real(setting):
            shown = {"real": sampling_stages.real_folder(setting), **shown}
        for step in steps(setting):
            shown[f"{step:,} steps"] = sampling_stages.row_folder(setting, row(curve, step), seed)
        columns = [store.first_clips(folder, count).videos for folder in shown.values()]
        lines = [(caption, [column[i] for column in columns]) for i, caption in enumerate(asked)]
        grids.append(ClipGrid(curve.label, list(shown), lines, _config(setting).clip.fps))
    return grids


HOW = {
    Mark.BETTER: "above the control's",
    Mark.WORSE: "below the control's",
    Mark.UNDECIDED: "not to be told from the control's",
}
TREND = {
    Mark.BETTER: "it grows",
    Mark.WORSE: "it shrinks",
    Mark.UNDECIDED: "whether it grows or shrinks is left open",
}
CURVES = (
    "Control and VideoJAM see the same clips in the same order; each point is a checkpoint of the "
    "same two runs of every seed, sampled from the same captions and noise. A gain that shrinks "
    "says that VideoJAM learns sooner what the control learns too; one that stays, as far as "
    "these steps go, that it learns something else."
)
