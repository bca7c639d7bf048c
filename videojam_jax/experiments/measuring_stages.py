"""The stages in which stored clips are measured, and what was measured as arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from videojam_jax.experiments import sampling_stages, store
from videojam_jax.experiments.folder_measures import FolderMeasures, measure
from videojam_jax.experiments.sampling_stages import SampledRow
from videojam_jax.experiments.score import motion_score
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage, training_stages
from videojam_jax.measure.flow import FLOW_MEASURES
from videojam_jax.measure.measure import Measure
from videojam_jax.measure.physics import PHYSICS_MEASURES
from videojam_jax.measure.statistics import Estimate
from videojam_jax.terminal.progress import progress

MEASURES: dict[str, Measure] = {**PHYSICS_MEASURES, **FLOW_MEASURES}
FORMAT = 2  # of the file; raised when a measure's definition changes


def stages(
    setting: Setting, rows: Sequence[SampledRow], params_of: Callable | None = None
) -> list[Stage]:
    """Trains what is missing, measures the held-out clips, then samples and measures each row.

    Training keeps the checkpoints of the steps that rows name.

    Args:
      params_of: of `sampling_stages.run_params`, where other stages need it too.
    """
    params_of = params_of or sampling_stages.run_params(setting)
    parts = training_stages(setting, sampling_stages.steps_needed(rows))
    if sampling_stages.has_real(setting):
        parts += [sampling_stages.held_out_stage(setting), sampling_stages.real_stage(setting)]
        parts += _real_stages(setting)
    for seed in setting.config.seeds:
        for row in rows:
            if seed != setting.seed_of(row.kind, seed):
                continue  # a run that all seeds share is sampled once
            parts.append(sampling_stages.row_stage(setting, row, seed, params_of))
            parts.append(_row_stage(setting, row, seed))
    return parts


def _row_stage(setting: Setting, row: SampledRow, seed: int) -> Stage:
    """Measures a sampled row."""
    folder = sampling_stages.row_folder(setting, row, seed)
    return _stage(setting, f"measure {row.label}, seed {seed}", folder / "measures.json")


def _real_stages(setting: Setting) -> list[Stage]:
    """Measures the held-out clips, and the same with their frames shuffled: ceiling and floor."""
    folder = sampling_stages.real_folder(setting)
    return [
        _stage(setting, "measure held-out clips", folder / "measures.json"),
        _stage(
            setting,
            "measure held-out clips with their frames shuffled",
            folder / "shuffled.json",
            shuffled=True,
        ),
    ]


def read(path: Path) -> FolderMeasures:
    """What a stage wrote."""
    tree = store.read_json(path)

    def arrays(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.array(values, np.float64) for name, values in tree.items()}

    return FolderMeasures(arrays(tree["values"]), arrays(tree["features"]))


@dataclasses.dataclass(frozen=True)
class RowMeasures:
    """What was measured of one row over all seeds.

    Attributes:
      values: for each measure `[seeds, clips]`.
      features: for each feature, for each seed `[clips, d]`.
    """

    values: Mapping[str, Float[np.ndarray, "seeds clips"]]
    features: Mapping[str, list[Float[np.ndarray, "clips d"]]]


def gather(paths: list[Path]) -> RowMeasures:
    """One row's measurements, a file a seed, with the score that sums them up."""
    parts = [read(path) for path in paths]
    values = {name: np.stack([part.values[name] for part in parts]) for name in parts[0].values}
    values["motion_score"] = motion_score(values)
    return RowMeasures(
        values, {name: [part.features[name] for part in parts] for name in parts[0].features}
    )


def gather_rows(setting: Setting, rows: Sequence[SampledRow]) -> dict[str, RowMeasures]:
    """What was measured of each row, by its name."""
    seeds = setting.config.seeds
    return {
        row.name: gather(
            [sampling_stages.row_folder(setting, row, s) / "measures.json" for s in seeds]
        )
        for row in rows
    }


def in_range(interval: Estimate, measure: Measure) -> Estimate:
    """An interval without what the measure cannot be: shares lie from 0 to 1."""
    if measure.ideal is not None and measure.worst is not None:
        return interval.within(*sorted((measure.ideal, measure.worst)))
    return interval.within(0.0, 1.0) if measure.unit == "%" else interval


def _stage(setting: Setting, name: str, path: Path, shuffled: bool = False) -> Stage:
    """Measures the clips beside `path`."""
    folder = path.parent

    def origin() -> dict[str, Any]:
        return {"format": FORMAT, "clips": store.read_json(folder / store.ORIGIN)["digest"],
                "shuffled": shuffled}  # fmt: skip

    def content() -> dict[str, Any]:
        config = setting.run_config("videojam", setting.config.seeds[0])
        captions = sampling_stages.captions(setting)
        with progress(len(captions), 0, "clips") as tell:
            found = measure(
                store.batches(folder),
                captions,
                config.clip.fps,
                simulated=config.source.name == "simulated",
                shuffled=shuffled,
                tell=tell,
            )
        return {
            "values": {name: array.tolist() for name, array in found.values.items()},
            "features": {name: array.tolist() for name, array in found.features.items()},
        }

    return json_stage(name, path, origin, content)
