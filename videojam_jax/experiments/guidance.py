"""How strong should the guidance be? A sweep of w1, w2 and the steps that have w2."""

from pathlib import Path

import numpy as np

from videojam_jax.config import sampling
from videojam_jax.experiments import measuring_stages, sampling_stages, store
from videojam_jax.experiments.measuring_stages import RowMeasures, gather_rows, in_range
from videojam_jax.experiments.report_parts import LABELS, losses, making, trust
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.score import SCORE
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage
from videojam_jax.measure.statistics import mean_interval
from videojam_jax.report.figures import HeatMap, draw
from videojam_jax.report.page import ClipGrid, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable


def weight_rows(setting: Setting) -> list[list[SampledRow]]:
    """VideoJAM with every pair of weights: a list for each w2 (rows), of all w1 (columns)."""
    section = setting.config.experiment
    return [
        [
            SampledRow(
                f"w_text_{w_text:g}_w_motion_{w_motion:g}",
                f"w1 = {w_text:g}, w2 = {w_motion:g}",
                "videojam",
                {"guidance": "videojam", "w_text": float(w_text), "w_motion": float(w_motion)},
            )
            for w_text in section.w_text
        ]
        for w_motion in section.w_motion
    ]


def interval_rows(setting: Setting) -> list[SampledRow]:
    """VideoJAM with the motion's guidance in the first steps, fewer or more of them."""
    config = setting.run_config("videojam", setting.config.seeds[0])
    steps, shares = config.sample.steps, setting.config.experiment.inner
    counts = sorted({sampling.first_steps(config, share) for share in shares})
    return [
        SampledRow(f"inner_{n:04}", f"first {n} of {steps} steps", "videojam",
            {"guidance": "videojam", "inner_share": n / steps})
        for n in counts
    ]  # fmt: skip


def _all_rows(setting: Setting) -> list[SampledRow]:
    return [*(row for line in weight_rows(setting) for row in line), *interval_rows(setting)]


def stages(setting: Setting) -> list[Stage]:
    return measuring_stages.stages(setting, _all_rows(setting))


def report(setting: Setting) -> list[Path]:
    """Heat maps of every measure over w1 and w2, and a table over the interval."""
    by_row = gather_rows(setting, _all_rows(setting))
    sections = [
        Section(
            "Weights",
            "w1 pulls towards the text, w2 towards the model's own motion, in the first steps. "
            "Means over clips and seeds; more is better where nothing else is said.",
            [draw(three) for three in _triples(_maps(setting, by_row))],
        ),
        Section(
            "Steps with the motion's guidance",
            "At the weights of the run's own config; in the steps after, text guidance alone.",
            [_interval_table(setting, by_row)],
        ),
        trust(setting, TRUST),
        losses(setting),
        Section("Clips", "One caption with all weights.", [_grid(setting)]),
        making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="How strong should the guidance be?",
        sections=sections,
    )


def _measures(by_row: dict[str, RowMeasures]):
    values = next(iter(by_row.values())).values
    known = {"motion_score": SCORE, **measuring_stages.MEASURES}
    return {name: measure for name, measure in known.items()
            if name in values and np.isfinite(values[name]).any()}  # fmt: skip


def _maps(setting: Setting, by_row: dict[str, RowMeasures]) -> list[HeatMap]:
    section, rows = setting.config.experiment, weight_rows(setting)
    return [
        HeatMap(
            f"{measure.name}{BETTER[measure.better]}",
            np.array([[mean_interval(by_row[r.name].values[name]).mean for r in l] for l in rows]),
            [f"{w:g}" for w in section.w_motion],
            [f"{w:g}" for w in section.w_text],
            unit=measure.unit,
            row_title="w2 (motion)",
            column_title="w1 (text)",
        )
        for name, measure in _measures(by_row).items()
    ]


def _triples(maps: list[HeatMap]) -> list[list[HeatMap]]:
    return [maps[i : i + 3] for i in range(0, len(maps), 3)]


def _interval_table(setting: Setting, by_row: dict[str, RowMeasures]) -> QuantityTable:
    return QuantityTable(
        "",
        [
            Quantity(
                measure.name,
                {row.label: in_range(mean_interval(by_row[row.name].values[name]), measure)
                 for row in interval_rows(setting)},
                measure.unit,
                measure.meaning,
            )
            for name, measure in _measures(by_row).items()
        ],
    )  # fmt: skip


def _grid(setting: Setting) -> ClipGrid:
    """The first caption: a card for each w2, with all w1."""
    seed, lines = setting.config.seeds[0], []
    for line in weight_rows(setting):
        videos = [
            store.first_clips(sampling_stages.row_folder(setting, row, seed), 1).videos[0]
            for row in line
        ]
        lines.append((f"w2 = {line[0].sample['w_motion']:g}", videos))
    labels = [f"w1 = {w:g}" for w in setting.config.experiment.w_text]
    caption = sampling_stages.captions(setting)[0]
    fps = setting.run_config("videojam", seed).clip.fps
    return ClipGrid(f"{LABELS['videojam']}: “{caption}”", labels, lines, fps)


BETTER = {1: "", 0: " (neither is better)", -1: " (less is better)"}
TRUST = (
    "The best cell of a map is the best of many: its value is flattered by chance. Choose weights "
    "here and measure them on other clips (another config.held_out, another sample_seed)."
)
