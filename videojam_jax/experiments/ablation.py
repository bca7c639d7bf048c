"""Which part does what: the rows of the paper's Table 3, and two baselines.

The base is trained, then for as many further steps plainly (the control) and as VideoJAM;
VideoJAM is sampled with each guidance rule. All rows have the same captions and noise.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from videojam_jax.experiments import measuring_stages, sampling_stages, store
from videojam_jax.experiments.measuring_stages import gather, gather_rows, in_range
from videojam_jax.experiments.orderings import REFERENCE, Rows, orderings, vbench_section
from videojam_jax.experiments.report_parts import LABELS, losses, making, trust
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.score import SCORE
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage
from videojam_jax.measure import vbench
from videojam_jax.measure.features import FEATURES
from videojam_jax.measure.flow import FLOW_MEASURES
from videojam_jax.measure.frechet import frechet_distance, frechet_floor
from videojam_jax.measure.measure import Measure
from videojam_jax.measure.physics import PHYSICS_MEASURES
from videojam_jax.measure.statistics import difference, mean_interval
from videojam_jax.report.page import FLOW_COLOURS, ClipGrid, Headline, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable, mark


def rows(setting: Setting) -> list[SampledRow]:
    """The config's rows, as far as there are runs for them."""
    chosen = []
    for name in setting.config.experiment.rows:
        kind = name if name in ("base", "control") else "videojam"
        if kind in setting.kinds:
            rule = "dit" if kind != "videojam" else name
            chosen.append(SampledRow(name, LABELS[name], kind, {"guidance": rule}))
    return chosen


def stages(setting: Setting) -> list[Stage]:
    chosen = rows(setting)
    videos = [
        _videos_stage(setting, row, seed) for seed in setting.config.seeds for row in chosen
    ]
    return [*measuring_stages.stages(setting, chosen), *videos]


def _videos_stage(setting: Setting, row: SampledRow, seed: int) -> Stage:
    """A row's clips as files: for people to vote on, and for VBench."""
    source = sampling_stages.row_folder(setting, row, seed)
    folder = setting.folder / "videos" / f"seed_{seed}" / row.name

    def origin():
        return {"clips": store.read_json(source / store.ORIGIN)["digest"]}

    def write() -> dict[str, Any]:
        config = sampling_stages.row_config(setting, row, seed)
        store.begin(folder, origin())
        vbench.write_videos(
            folder,
            sampling_stages.captions(setting),
            store.videos(source),
            config.clip.fps,
            scale=config.sample.enlarge,
        )
        return {}

    name = f"write {row.label}'s videos, seed {seed}"
    return json_stage(name, folder.with_suffix(".json"), origin, write)


def report(setting: Setting) -> list[Path]:
    """The tables, what they say of the paper's orderings, and clips to look at."""
    by_row = gather_rows(setting, rows(setting))
    real = {}
    if sampling_stages.has_real(setting):
        folder = sampling_stages.real_folder(setting)
        real = {
            "real": gather([folder / "measures.json"]),
            "shuffled": gather([folder / "shuffled.json"]),
        }
    sections = [
        orderings(setting, by_row),
        Section("Ablation", parts=[*_tables(by_row, real), *_distances(by_row, real)]),
        Section(
            "Differences from VideoJAM",
            "Row less VideoJAM, paired by clip; of shares in points. A row is called better or "
            "worse where the interval of its difference leaves out 0; of rows that do not differ "
            "at all, one cell in twenty says so by chance.",
            _differences(by_row),
        ),
        vbench_section(setting, by_row),
        trust(setting, _range(real)),
        losses(setting),
        Section("Clips", GRID, [_grid(setting, setting.config.shown)]),
        making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="Which part of VideoJAM does what",
        headline=_headline(setting),
        sections=sections,
    )


def _tables(by_row: Rows, real: Rows) -> list[QuantityTable]:
    everything = {**real, **by_row}
    tables = []
    for title, measures in _groups(by_row).items():
        quantities = []
        for name, measure in measures.items():
            values = {
                LABELS[row]: in_range(mean_interval(of.values[name]), measure)
                for row, of in everything.items()
            }
            quantities.append(Quantity(measure.name, values, measure.unit, measure.meaning))
        tables.append(QuantityTable(title, quantities, models_as_rows=True))
    return tables


def _differences(by_row: Rows) -> list[QuantityTable]:
    if REFERENCE not in by_row:
        return []
    full = by_row[REFERENCE].values
    tables = []
    for title, measures in _groups(by_row).items():
        quantities = []
        for name, measure in measures.items():
            less = {
                row: difference(of.values[name], full[name])
                for row, of in by_row.items()
                if row != REFERENCE
            }
            less = {LABELS[row]: estimate for row, estimate in less.items() if estimate.count}
            marks = {label: mark(estimate, measure.better) for label, estimate in less.items()}
            quantities.append(Quantity(measure.name, less, measure.unit, marks=marks))
        tables.append(
            QuantityTable(title, quantities, models_as_rows=True, reference=LABELS[REFERENCE])
        )
    return tables


def _groups(by_row: Rows) -> dict[str, dict[str, Measure]]:
    """The measures that say something of any row, as tables hold them."""
    groups = {
        "Of tracked bodies": {"motion_score": SCORE, **PHYSICS_MEASURES},
        "Of optical flow": dict(FLOW_MEASURES),
    }
    for measures in groups.values():
        for name in list(measures):
            values = [row.values[name] for row in by_row.values() if name in row.values]
            if not any(np.isfinite(each).any() for each in values):
                del measures[name]
    return {title: measures for title, measures in groups.items() if measures}


def _distances(by_row: Rows, real: Rows) -> list[QuantityTable]:
    """Frechet distances from the held-out clips, and how large they are between these."""
    if not real:
        return []
    quantities = []
    for name, feature in FEATURES.items():
        (clips,) = real["real"].features[name]
        values = {
            LABELS[row]: _mean_distance(clips, by_row[row].features[name]) for row in by_row
        }
        (shuffled,) = real["shuffled"].features[name]
        floor = frechet_floor(clips)
        values = {
            "real clips, one half from the other": floor,
            LABELS["shuffled"]: _mean_distance(clips, [shuffled]),
            **values,
        }
        quantities.append(
            Quantity(f"Fréchet distance, {feature.name}", values, meaning=feature.meaning)
        )
    return [
        QuantityTable(
            "Distances of sets",
            quantities,
            "From the held-out clips, over all clips of a row, the mean of the seeds. What is not "
            "above the first line cannot be told from real clips; sets of half the size have about "
            "twice the distance, so it errs on the side of alike.",
            models_as_rows=True,
        )
    ]


def _mean_distance(clips: Float[np.ndarray, "n d"], others: list) -> float:
    # Without the rounding that equal sets are apart.
    return round(float(np.mean([frechet_distance(clips, other) for other in others])), 6)


def _range(real: Rows) -> str:
    if not real:
        return "There are no real clips beside these captions, so no ceiling of the measures."
    ceiling, floor = (mean_interval(real[name].values["motion_score"]).mean for name in
                      ("real", "shuffled"))  # fmt: skip
    return (
        f"Held-out clips have a motion score of {100 * ceiling:.0f} %, the same with their frames "
        f"shuffled of {100 * floor:.0f} %: a row's score is to be read between these two."
    )


def _grid(setting: Setting, count: int) -> ClipGrid:
    seed, columns, labels = setting.config.seeds[0], [], []
    if sampling_stages.has_real(setting):
        real = store.first_clips(sampling_stages.real_folder(setting), count)
        columns += [real.videos, real.flow_rgbs]
        labels += ["real", "its flow"]
    for row in rows(setting):
        clips = store.first_clips(sampling_stages.row_folder(setting, row, seed), count)
        columns.append(clips.videos)
        labels.append(row.label)
        if row.name == REFERENCE:
            columns.append(clips.flow_rgbs)
            labels.append("its predicted flow")
    config = setting.run_config("videojam", seed)
    lines = [
        (caption, [column[i] for column in columns])
        for i, caption in enumerate(sampling_stages.captions(setting)[:count])
    ]
    return ClipGrid("", labels, lines, config.clip.fps)


def _headline(setting: Setting) -> Headline:
    """The first caption: the real clip, the three runs, and the motion VideoJAM predicted."""
    grid = _grid(setting, 1)
    caption, clips = grid.rows[0]
    shown = {"real", *(LABELS[kind] for kind in setting.kinds), "its predicted flow"}
    strips = [strip for strip in zip(grid.labels, clips, strict=True) if strip[0] in shown]
    return Headline(strips or list(zip(grid.labels, clips, strict=True)), f"“{caption}”")


GRID = f"The first held-out captions, one row each, all from the same noise. {FLOW_COLOURS}"
