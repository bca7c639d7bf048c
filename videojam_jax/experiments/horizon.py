"""When and why: at which times VideoJAM gains on the control, and at which it loses.

No paper has this. Two views of one question: the losses of both over `t`, and clips of which the
first sampling steps are VideoJAM's and the rest the control's, or the other way round.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from videojam_jax.config import sampling
from videojam_jax.errors import UserError
from videojam_jax.experiments import (
    horizon_losses,
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
from videojam_jax.report.figures import Curves, Line, draw
from videojam_jax.report.page import ClipGrid, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable, mark

# Each model samples by its own rule.
RULES = {"control": "dit", "videojam": "videojam"}
# Who does the first steps, and who the rest.
ORDERS = (("videojam", "control"), ("control", "videojam"))
Scores = dict[str, Float[np.ndarray, "seeds clips"]]  # by the name of a row


def steps(setting: Setting) -> list[int]:
    """After how many sampling steps the other model goes on; 0 and all are among them."""
    config, shares = _config(setting), setting.config.experiment.first
    counts = (sampling.first_steps(config, share) for share in shares)
    return sorted({0, config.sample.steps, *counts})


def row(setting: Setting, first: str, then: str, count: int) -> SampledRow:
    """A model's first `count` steps and the other's rest; of none or all of them, one model's.

    VideoJAM's state is handed to the control without its motion. The control's has none:
    VideoJAM makes it of its own reading of the video (`diffusion.sampler.read_motion`). Steps
    keep their numbers, so Inner-Guidance is in those of VideoJAM's that it always is in.
    """
    config = _config(setting)
    of, times = config.sample.steps, sampling.times(config)
    if count in (0, of):
        kind = first if count else then
        return SampledRow(kind, LABELS[kind], kind, {"guidance": RULES[kind]})
    return SampledRow(
        f"{first}_{count:04}_{then}",
        f"{SHORT[first]} to step {count} of {of} (t = {times[count]:.3f}), then {SHORT[then]}",
        then,
        {"guidance": RULES[then]},
        start=count,
        before=row(setting, first, then, of),
    )


def rows(setting: Setting) -> list[SampledRow]:
    """Control and VideoJAM alone, then the hybrids."""
    none, *counts, every = steps(setting)
    alone = [row(setting, *ORDERS[0], count) for count in (none, every)]
    return alone + [row(setting, *order, count) for order in ORDERS for count in counts]


def stages(setting: Setting) -> list[Stage]:
    """Trains what is missing; samples and measures the hybrids, then the losses.

    Raises:
      UserError: the runs cannot be compared, or cannot hand clips over to each other.
    """
    _check(setting)
    params_of = sampling_stages.run_params(setting)
    parts = measuring_stages.stages(setting, rows(setting), params_of)
    if not sampling_stages.has_real(setting):
        parts.append(sampling_stages.held_out_stage(setting))
    times = horizon_losses.time_grid(setting.config.experiment.times)
    return parts + horizon_losses.stages(setting, times, params_of)


def report(setting: Setting) -> list[Path]:
    """Both losses over t, the score over the step of the hand-over, and clips of it."""
    scores = {
        name: of.values["motion_score"] for name, of in gather_rows(setting, rows(setting)).items()
    }
    sections = [
        horizon_losses.section(setting),
        Section(
            "Sampled by one model first, then by the other",
            HAND_OVER,
            [_drawing(setting, scores), _table(setting, scores)],
        ),
        trust(setting),
        losses(setting),
        Section(
            "Clips",
            "Each caption from the same noise, handed over at a later and later step.",
            _grids(setting),
        ),
        making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="When and why: where VideoJAM gains, and where it loses",
        sections=sections,
    )


def _config(setting: Setting):
    return setting.run_config("videojam", setting.config.seeds[0])


def _check(setting: Setting) -> None:
    if "control" not in setting.kinds:
        raise UserError(
            "config.runs.control is empty, but horizon compares VideoJAM with the control, and "
            "hands clips over between them; name its config or its run"
        )
    check_same_times(setting)
    if not _config(setting).loss.motion_target_when_dropped:
        raise UserError(
            f"config.runs.videojam = {setting.config.runs.videojam}: it was trained with "
            "config.loss.motion_target_when_dropped = False, so that it cannot tell the motion of "
            "a clip that it takes over from the control; train it with True"
        )


def check_same_times(setting: Setting) -> None:
    """UserError where a step of VideoJAM's sampler and of the control's are of other times."""
    joint = _config(setting)
    control = setting.run_config("control", setting.config.seeds[0])
    if not np.array_equal(sampling.times(joint), sampling.times(control)):
        raise UserError(
            "the runs' config.sample give VideoJAM and the control other sampling times, so "
            "that neither can go on where the other stopped; give both the same schedule and steps "
            "(config.change.sample.steps, ...)"
        )


def _by_step(setting: Setting, first: str, then: str, scores: Scores) -> list[np.ndarray]:
    return [scores[row(setting, first, then, count).name] for count in steps(setting)]


def _drawing(setting: Setting, scores: Scores):
    counts, of = steps(setting), _config(setting).sample.steps

    def line(first: str, then: str, estimates: list[Estimate]) -> Line:
        ends = ([100 * getattr(e, end) for e in estimates] for end in ("mean", "low", "high"))
        return Line(f"{SHORT[first]}, then {SHORT[then]}", counts, *ends)

    score, less = [], []
    for first, then in ORDERS:
        values = _by_step(setting, first, then, scores)
        score.append(line(first, then, [in_range(mean_interval(x), SCORE) for x in values]))
        less.append(line(first, then, [difference(x, scores["control"]) for x in values]))
    x_label = f"steps of the first model, of {of}"
    return draw(
        [
            Curves("Motion score", score, x_label, "%"),
            Curves("Motion score, less the control's", less, x_label, "points, paired by clip"),
        ],
        "Bands: 95 %. At the ends, one model alone.",
    )


def _table(setting: Setting, scores: Scores) -> QuantityTable:
    score, less, marks = {}, {}, {}
    if sampling_stages.has_real(setting):
        for name, file in (("real", "measures.json"), ("shuffled", "shuffled.json")):
            path = sampling_stages.real_folder(setting) / file
            values = gather([path]).values["motion_score"]
            score[LABELS[name]] = in_range(mean_interval(values), SCORE)
    for one in rows(setting):
        values = scores[one.name]
        score[one.label] = in_range(mean_interval(values), SCORE)
        if one.name != "control":
            less[one.label] = difference(values, scores["control"])
            marks[one.label] = mark(less[one.label], SCORE.better)
    return QuantityTable(
        "",
        [
            Quantity(SCORE.name, score, "%", SCORE.meaning),
            Quantity("less the control's", less, "%", "in points, paired by clip", marks),
        ],
        models_as_rows=True,
        reference=LABELS["control"],
    )


def _grids(setting: Setting) -> list[ClipGrid]:
    """A grid for each order of the models: every caption at every step of the hand-over."""
    grids, seed, count = [], setting.config.seeds[0], setting.config.shown
    asked = sampling_stages.captions(setting)[:count]
    for first, then in ORDERS:
        labels, columns = [], []
        if sampling_stages.has_real(setting):
            folder = sampling_stages.real_folder(setting)
            labels, columns = ["real"], [store.first_clips(folder, count).videos]
        for number in steps(setting):
            folder = sampling_stages.row_folder(setting, row(setting, first, then, number), seed)
            labels.append(f"{number} steps")
            columns.append(store.first_clips(folder, count).videos)
        lines = [(caption, [column[i] for column in columns]) for i, caption in enumerate(asked)]
        title = f"{SHORT[first]} for so many steps, then {SHORT[then]}"
        grids.append(ClipGrid(title, labels, lines, _config(setting).clip.fps))
    return grids


SHORT = {"videojam": "VideoJAM", "control": "control"}
HAND_OVER = (
    "Clips whose first steps are one model's and the rest the other's, all from the same captions "
    "and noise, each model by its own guidance. VideoJAM's clip is handed over without its motion; "
    "of the control's clip VideoJAM makes the motion by its own reading: the clean motion that it "
    "predicts with its motion input dropped, noised to that time with the motion's own noise. "
    "Where the first model's steps raise the score above the control's, the gain is made there; "
    "where it falls again with the last of them, it is lost there."
)
