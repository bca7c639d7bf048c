"""Do the paper's orderings hold? Rows of the ablation against VideoJAM, and VBench's columns."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from videojam_jax.errors import UserError
from videojam_jax.experiments.measuring_stages import RowMeasures
from videojam_jax.experiments.report_parts import LABELS
from videojam_jax.experiments.score import SCORE
from videojam_jax.experiments.setting import Setting
from videojam_jax.measure import vbench
from videojam_jax.measure.statistics import Estimate, difference
from videojam_jax.report.page import Section
from videojam_jax.report.table import Quantity, QuantityTable

REFERENCE = "videojam"
Rows = Mapping[str, RowMeasures]  # from a row's name to what was measured of it
# The paper's two models: VBench's Appearance and Motion (Tables 1, 2 and 3). Of the 30B it has no
# rows of the ablation.
PAPER = {
    "4B": {
        "base": (75.2, 78.3),
        "videojam": (75.1, 93.7),
        "no_text_guidance": (74.5, 93.3),
        "no_inner_guidance": (75.3, 93.1),
        "no_optical_flow": (74.7, 90.1),
        "ip2p": (72.0, 90.4),
    },
    "30B": {"base": (72.4, 88.1), "videojam": (73.4, 92.4)},
}
VBENCH = (
    "From VBench's own results in vbench/seed_S/ROW/ beside this page, of the clips in "
    "videos/seed_S/ROW/; the aggregates are the paper's."
)


@dataclasses.dataclass(frozen=True)
class _Judge:
    """What rows are compared by: `[seeds, clips]` of each, what it is, and how it came to be it."""

    values: Mapping[str, Float[np.ndarray, "seeds clips"]]
    meaning: str
    text: str


def _judge(setting: Setting, by_row: Rows) -> _Judge:
    """VBench's Motion, which the paper judges by, where all rows have it; else our own score."""
    given = _results(setting, by_row)
    if given and given.keys() == by_row.keys():
        return _Judge(
            _motion(given),
            "difference of VBench's Motion",
            "Judged by VBench's Motion, as the paper does.",
        )
    score = {name: row.values["motion_score"] for name, row in by_row.items()}
    so_far = f" (so far, of {len(given)} of {len(by_row)})" if given else ""
    text = (
        "Judged by the motion score, which is not the paper's measure: that is VBench's Motion, by "
        f"which rows are judged here too once VBench's results of all of them are there{so_far}."
    )
    return _Judge(score, f"difference of the motion score: {SCORE.meaning}", text)


def orderings(setting: Setting, by_row: Rows) -> Section:
    """Where the paper's VideoJAM moves better than the row, does ours?"""
    text = "Each row against VideoJAM, clip by clip, from the same captions and noise."
    if REFERENCE not in by_row:
        return Section("The paper's orderings")
    judge, model = _judge(setting, by_row), setting.config.experiment.paper
    motion = {name: points for name, (_, points) in PAPER[model].items()}
    full = judge.values[REFERENCE]
    paper, here, verdicts, share = {}, {}, {}, {}
    for name, values in judge.values.items():
        if name == REFERENCE:
            continue
        less = difference(full, values)
        label = f"VideoJAM over {LABELS[name]}"
        if name in motion:
            paper[label] = f"{motion[REFERENCE] - motion[name]:+.1f}"
        here[label] = less
        verdicts[label] = verdict(less)
        share[label] = float(np.mean(full > values))
    table = QuantityTable(
        "",
        [
            Quantity(f"paper, {model}", paper, meaning="difference of VBench's Motion, in points"),
            Quantity("here", here, "%", judge.meaning),
            Quantity("ordering", verdicts, meaning="holds where the whole interval is above 0, "
                     "does not hold where it is below, is undecided where it has 0 within"),
            Quantity("clips", share, "%", "share of clips in which VideoJAM's is higher"),
        ],
        models_as_rows=True,
    )  # fmt: skip
    return Section("The paper's orderings", f"{text} {judge.text}", [table])


def verdict(less: Estimate) -> str:
    """What the interval of "VideoJAM less the other" says of the paper's ordering.

    >>> verdict(Estimate(0.2, 0.1, 0.3, 64)), verdict(Estimate(0.2, -0.1, 0.5, 64))
    ('holds', 'undecided')
    """
    if not less.excludes(0.0):
        return "undecided"
    return "holds" if less.low > 0 else "does not hold"


def _results(setting: Setting, by_row: Rows) -> dict[str, list[vbench.Results]]:
    """VBench's results, one of each seed, of the rows beside whose videos all of them lie."""
    found = {}
    for name in by_row:
        folders = [setting.folder / "vbench" / f"seed_{seed}" / name
                   for seed in setting.config.seeds]  # fmt: skip
        if all(folder.is_dir() for folder in folders):
            found[name] = [vbench.read_results(folder) for folder in folders]
    return found


def _motion(
    given: Mapping[str, list[vbench.Results]],
) -> dict[str, Float[np.ndarray, "seeds clips"]]:
    """VBench's Motion of each clip; UserError where rows are not of the same clips."""
    values, clips = {}, None
    for name, of_seeds in given.items():
        parts = []
        for results in of_seeds:
            names, of_clips = vbench.per_clip(results)
            clips = names if clips is None else clips
            if names != clips:
                raise UserError(
                    f"VBench's results of {LABELS[name]} are of {len(names)} clips, those of "
                    f"another row or seed of {len(clips)}, and not the same: run VBench on all of "
                    "videos/"
                )
            parts.append(of_clips["motion"])
        values[name] = np.stack(parts)
    return values


def vbench_section(setting: Setting, by_row: Rows) -> Section:
    """The paper's columns, where VBench's results lie beside the videos; means of the seeds."""
    columns: dict[str, dict[str, float]] = {}
    for row, of_seeds in _results(setting, by_row).items():
        scores = [vbench.aggregates(results) for results in of_seeds]
        for name in ("appearance", "motion", *vbench.DIMENSIONS):
            mean = float(np.mean([score[name] for score in scores]))
            columns.setdefault(name, {})[LABELS[row]] = mean
    if not columns:
        return Section("VBench", VBENCH)
    quantities, model = [], setting.config.experiment.paper
    for i, name in enumerate(("appearance", "motion")):
        paper = {LABELS[row]: both[i] / 100 for row, both in PAPER[model].items()}
        quantities += [
            Quantity(name.capitalize(), columns.pop(name)),
            Quantity(f"{name.capitalize()}, paper {model}", paper),
        ]
    quantities += [Quantity(name.replace("_", " "), values) for name, values in columns.items()]
    return Section("VBench", VBENCH, [QuantityTable("", quantities, models_as_rows=True)])
