"""Stored clips measured, on as many processors as there are.

What is imported here is imported anew by every process that helps: models are not.
"""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from videojam_jax.experiments import store
from videojam_jax.measure.corruptions import shuffle
from videojam_jax.measure.features import FEATURES
from videojam_jax.measure.flow import flow_measures
from videojam_jax.measure.physics import physics_measures

# For fewer clips than this, starting processes takes longer than measuring.
FEW = 24


@dataclasses.dataclass(frozen=True)
class FolderMeasures:
    """What was measured of the clips of one folder.

    Attributes:
      values: for each measure `[n]`, NaN where it says nothing of a clip.
      features: for each feature `[n, d]`.
    """

    values: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray]


def measure(
    batches: Sequence[tuple[int, Path]],
    captions: Sequence[str],
    fps: float,
    *,
    simulated: bool,
    shuffled: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> FolderMeasures:
    """Measures stored clips, on as many processors as there are.

    Args:
      batches: of one folder, as `store.batches` lists them.
      captions: what was asked for, one for each clip.
      fps: frames a second.
      simulated: whether they show what the simulator does; if not, the measures of bodies
        are left out.
      shuffled: measure the clips with their frames in another order.
      tell: is called with the number of clips that are measured.
    """
    tasks = [
        (path, list(captions[first:]), first, fps, simulated, shuffled) for first, path in batches
    ]
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    parts = []
    with _pool(1 if len(captions) < FEW else workers) as apply:
        for part in apply(_measure_batch, *zip(*tasks, strict=True)):
            parts.append(part)
            tell(sum(len(part) for part in parts))
    clips = [clip for part in parts for clip in part]
    return FolderMeasures(
        {name: np.array([values[name] for values, _ in clips]) for name in clips[0][0]},
        {name: np.stack([features[name] for _, features in clips]) for name in FEATURES},
    )


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Callable]:
    """`map`, over so many processes; what is left to do is dropped on an error.

    Threads would wait for one another. The processes are begun anew, since one with JAX's
    threads must not be copied, and leave Ctrl-C to this one.
    """
    if workers < 2:
        yield map
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _measure_batch(
    path: Path, captions: list[str], first: int, fps: float, simulated: bool, shuffled: bool
) -> list[tuple[dict[str, float], dict[str, np.ndarray]]]:
    clips = store.load(path)
    measured = []
    for i, video in enumerate(clips.videos):
        predicted = None if clips.flows is None or shuffled else clips.flows[i]
        if shuffled:
            video = shuffle(video, 1.0, np.random.default_rng(first + i))
        values = flow_measures(video, predicted, fps)
        if simulated:
            values |= physics_measures(video, captions[i])
        vectors = {name: feature.vector(video) for name, feature in FEATURES.items()}
        measured.append((values, vectors))
    return measured
