"""The stages in which stored clips are measured, and what was measured as arrays."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videojam_jax.evaluate.corruptions import shuffle
from videojam_jax.evaluate.experiments import sampled, store
from videojam_jax.evaluate.experiments.sampled import Row
from videojam_jax.evaluate.experiments.setting import Setting
from videojam_jax.evaluate.experiments.stages import Stage
from videojam_jax.evaluate.metrics.features import FEATURES
from videojam_jax.evaluate.metrics.flow import FLOW_MEASURES, flow_measures
from videojam_jax.evaluate.metrics.measure import Measure
from videojam_jax.evaluate.metrics.physics import PHYSICS_MEASURES, physics_measures
from videojam_jax.parallel import distributed
from videojam_jax.train.logging import progress

MEASURES: dict[str, Measure] = {**PHYSICS_MEASURES, **FLOW_MEASURES}
FORMAT = 1  # of the file; raised when a measure's definition changes
# For fewer clips than this, starting processes takes longer than measuring.
FEW = 24


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of one row's clips.

    Attributes:
      values: for each measure `[n]`, NaN where it says nothing of a clip.
      features: for each feature `[n, d]`.
    """

    values: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray]


def row_stage(setting: Setting, row: Row, seed: int) -> Stage:
    """Measures a sampled row."""
    folder = sampled.row_folder(setting, row, seed)
    return Stage(
        f"measure {row.label}, seed {seed}",
        *_stage(setting, folder, folder / "measures.json"),
    )


def real_stages(setting: Setting) -> list[Stage]:
    """Measures the held-out clips, and the same with their frames shuffled: ceiling and floor."""
    folder = sampled.real_folder(setting)
    return [
        Stage("measure held-out clips", *_stage(setting, folder, folder / "measures.json")),
        Stage(
            "measure held-out clips with their frames shuffled",
            *_stage(setting, folder, folder / "shuffled.json", shuffled=True),
        ),
    ]


def read(path: Path) -> Measured:
    """What a stage wrote."""
    tree = store.read_json(path)

    def arrays(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.array(values, np.float64) for name, values in tree.items()}

    return Measured(arrays(tree["values"]), arrays(tree["features"]))


def _stage(setting: Setting, folder: Path, out: Path, shuffled: bool = False):
    """`(is_done, make)` of the measurement of the clips in a folder; process 0 makes it."""

    def origin() -> dict[str, Any]:
        return {"format": FORMAT, "clips": store.read_json(folder / store.ORIGIN)["digest"],
                "shuffled": shuffled}  # fmt: skip

    def is_done() -> bool:
        return store.is_of(out, origin())

    def make() -> None:
        if not distributed.leader():
            return
        held_out = setting.run_config("videojam", setting.config.seeds[0])
        found = measure(
            store.batches(folder),
            sampled.captions(setting),
            held_out.clip.fps,
            simulated=held_out.source.name == "simulated",
            shuffled=shuffled,
        )
        content = {
            "values": {name: array.tolist() for name, array in found.values.items()},
            "features": {name: array.tolist() for name, array in found.features.items()},
        }
        store.write_json(out, content, origin())

    return is_done, make


def measure(
    batches: Sequence[tuple[int, Path]],
    captions: Sequence[str],
    fps: float,
    *,
    simulated: bool,
    shuffled: bool = False,
) -> Measured:
    """Measures stored clips, on as many processors as there are.

    Args:
      batches: of one folder, as `store.batches` lists them.
      captions: what was asked for, one for each clip.
      fps: frames a second.
      simulated: whether they show what the simulator does; if not, the measures of bodies
        are left out.
      shuffled: measure the clips with their frames in another order.
    """
    tasks = [
        (path, list(captions[first:]), first, fps, simulated, shuffled) for first, path in batches
    ]
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    parts = []
    with progress(len(captions), 0, "clips measured") as tell:
        if workers < 2 or len(captions) < FEW:
            for task in tasks:
                parts.append(_measure_batch(*task))
                tell(sum(len(part) for part in parts))
        else:
            with _pool(workers) as pool:
                for part in pool.map(_measure_batch, *zip(*tasks, strict=True)):
                    parts.append(part)
                    tell(sum(len(part) for part in parts))
    clips = [clip for part in parts for clip in part]
    return Measured(
        {name: np.array([values[name] for values, _ in clips]) for name in clips[0][0]},
        {name: np.stack([features[name] for _, features in clips]) for name in FEATURES},
    )


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[concurrent.futures.Executor]:
    """Processes, since threads would wait for one another; what is left is dropped on an error.

    They are begun anew, since a process with JAX's threads must not be copied, and leave
    Ctrl-C to this one.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_batch(
    path: Path, captions: list[str], first: int, fps: float, simulated: bool, shuffled: bool
) -> list[tuple[dict[str, float], dict[str, np.ndarray]]]:
    clips = store.load(path)
    found = []
    for i, video in enumerate(clips.videos):
        predicted = None if clips.flows is None or shuffled else clips.flows[i]
        if shuffled:
            video = shuffle(video, 1.0, np.random.default_rng(first + i))
        values = flow_measures(video, predicted, fps)
        if simulated:
            values |= physics_measures(video, captions[i])
        found.append((values, {name: one.vector(video) for name, one in FEATURES.items()}))
    return found
