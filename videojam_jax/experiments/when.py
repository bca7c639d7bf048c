"""When is motion decided? Clips noised to some way and sampled on from there.

VideoJAM (arXiv 2502.02492, figure 8): real clips are noised to steps 20, 60 and 80 of 100 of
the sampler and sampled from there. What of the clip comes back was decided before that step.
Steps are counted as in `time_axes`: noised to step 60 is to the end of the first 60 steps.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import FrozenConfigDict

from videojam_jax.config import sampling
from videojam_jax.experiments import sampling_stages, store
from videojam_jax.experiments.report_parts import LABELS, STEPS, at_step, losses, making, trust
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage, training_stages
from videojam_jax.measure import warping
from videojam_jax.measure.agreement import agreement
from videojam_jax.measure.flow import measured_flow
from videojam_jax.measure.statistics import mean_interval
from videojam_jax.motion.flow_rgb import repeat_last
from videojam_jax.report.figures import Curves, Line, draw
from videojam_jax.report.page import ClipGrid, Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable
from videojam_jax.terminal.progress import progress

KEPT = {
    "motion": "share of the input's motion, by measured flow, on which the clip's agrees with it",
    "pixels": "1 - mean absolute difference to the input's pixels, of the range of a pixel",
}


def rows(setting: Setting) -> list[SampledRow]:
    """Every run, from every share of the sampler's way that the config names, and from noise."""
    every = []
    for kind in setting.kinds:
        config = setting.run_config(kind, setting.config.seeds[0])
        rule = {"guidance": "videojam" if kind == "videojam" else "dit"}
        for start in steps(setting, config):
            every.append(SampledRow(f"{kind}_from_{start:04}", LABELS[kind], kind, rule, start))
    return every


def steps(setting: Setting, config: FrozenConfigDict) -> list[int]:
    """The sampler's steps to begin at, those before are left out; 0 (noise) is always among them.

    Args:
      config: of the run that samples.
    """
    last = config.sample.steps - 1
    shares = setting.config.experiment.kept
    return sorted({0, *(min(sampling.first_steps(config, share), last) for share in shares)})


def stages(setting: Setting) -> list[Stage]:
    params_of = sampling_stages.run_params(setting)
    parts = [*training_stages(setting), sampling_stages.held_out_stage(setting),
             sampling_stages.real_stage(setting)]  # fmt: skip
    for seed in setting.config.seeds:
        for row in rows(setting):
            parts.append(sampling_stages.row_stage(setting, row, seed, params_of))
            parts.append(_compare_stage(setting, row, seed))
    return parts


def kept(
    video: UInt8[np.ndarray, "t h w 3"], given: UInt8[np.ndarray, "t h w 3"]
) -> dict[str, float]:
    """How much of a clip came back, each in [0, 1]; `KEPT` defines them."""
    difference = np.abs(video.astype(np.float32) - given.astype(np.float32)).mean() / 255
    wanted = measured_flow(given)
    backward = np.ascontiguousarray(measured_flow(given[::-1])[::-1])
    weights = warping.weights(warping.hidden(wanted, backward))
    came = repeat_last(measured_flow(video))
    return {"motion": agreement(given, came, wanted, weights), "pixels": 1 - float(difference)}


def _compare_stage(setting: Setting, row: SampledRow, seed: int) -> Stage:
    folder = sampling_stages.row_folder(setting, row, seed)

    def origin():
        real = sampling_stages.real_folder(setting)
        return {"clips": store.read_json(folder / store.ORIGIN)["digest"],
                "real": store.read_json(real / store.ORIGIN)["digest"]}  # fmt: skip

    def compare() -> dict[str, list[float]]:
        real = store.videos(sampling_stages.real_folder(setting))
        pairs = zip(store.videos(folder), real, strict=True)
        shares = []
        with progress(len(sampling_stages.captions(setting)), 0, "clips") as tell:
            for video, given in pairs:
                shares.append(kept(video, given))
                tell(len(shares))
        return {name: [share[name] for share in shares] for name in KEPT}

    name = f"compare {row.label} from step {row.start} with the input, seed {seed}"
    return json_stage(name, folder / "kept.json", origin, compare)


def report(setting: Setting) -> list[Path]:
    """How much comes back from each step, as curves, a table and clips."""
    by_row = {row.name: _read(setting, row) for row in rows(setting)}
    panels = [
        Curves(
            {"motion": "Motion that came back", "pixels": "Pixels that came back"}[name],
            [_line(setting, kind, by_row, name) for kind in setting.kinds],
            x_label="sampling step that the clip is noised to",
            y_limits=(0.0, 1.0) if name == "motion" else None,
        )
        for name in KEPT
    ]
    sections = [
        Section(
            "Figure 8 of the paper",
            "Held-out clips noised to where a step of the sampler begins, and sampled on from that "
            f"step. {STEPS} Step 0 is pure noise: what agrees there is chance. Bands: 95 % of the "
            "mean.",
            [draw(panels), _table(setting, by_row)],
        ),
        trust(setting),
        losses(setting),
        Section("Clips", "Each caption's input, and what was sampled from it.", _grids(setting)),
        making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="When is motion decided?",
        sections=sections,
    )


def _read(setting: Setting, row: SampledRow) -> dict[str, Float[np.ndarray, "seeds clips"]]:
    trees = [
        store.read_json(sampling_stages.row_folder(setting, row, seed) / "kept.json")
        for seed in setting.config.seeds
    ]
    return {name: np.array([tree[name] for tree in trees], np.float64) for name in KEPT}


def _line(setting: Setting, kind: str, by_row, name: str) -> Line:
    of_kind = [row for row in rows(setting) if row.kind == kind]
    intervals = [mean_interval(by_row[row.name][name]) for row in of_kind]
    ends = ([getattr(interval, end) for interval in intervals] for end in ("mean", "low", "high"))
    return Line(LABELS[kind], [row.start for row in of_kind], *ends)


def _table(setting: Setting, by_row) -> QuantityTable:
    quantities = []
    for name, meaning in KEPT.items():
        for i, start in enumerate(sorted({row.start for row in rows(setting)})):
            values = {
                row.label: mean_interval(by_row[row.name][name])
                for row in rows(setting)
                if row.start == start
            }
            config = setting.run_config("videojam", setting.config.seeds[0])
            where = f"from {at_step(config, start)}"
            quantities.append(Quantity(f"{name}, {where}", values, "%", "" if i else meaning))
    return QuantityTable("", quantities)


def _grids(setting: Setting) -> list[ClipGrid]:
    """A grid for each run: the input, and what was sampled from each step."""
    grids, seed, count = [], setting.config.seeds[0], setting.config.shown
    asked = sampling_stages.captions(setting)[:count]
    real = store.first_clips(sampling_stages.real_folder(setting), count).videos
    for kind in setting.kinds:
        of_kind = [row for row in rows(setting) if row.kind == kind]
        videos = [
            store.first_clips(sampling_stages.row_folder(setting, row, seed), count).videos
            for row in of_kind
        ]
        lines = [(caption, [real[i], *(v[i] for v in videos)]) for i, caption in enumerate(asked)]
        labels = ["input", *(f"from step {row.start}" for row in of_kind)]
        fps = setting.run_config(kind, seed).clip.fps
        grids.append(ClipGrid(LABELS[kind], labels, lines, fps))
    return grids
