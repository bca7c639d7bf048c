"""Which clip is where in which batch: a function of the seed and the step's number alone.

The global batch of step `s` holds the elements `s B .. (s + 1) B - 1` of one endless
order: the clips shuffled by the seed, shuffled differently in every epoch. Each
process reads its own rows of that batch, so the order is the same on any number of
processes, and a run continues at step `s` without reading what came before.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import numpy as np

_ENDLESS = 2**62

Batch = dict[str, Any]


def places(
    clips: int, seed: int, batch_size: int, rows: Sequence[int] | np.ndarray | None
) -> Callable[[int], list[tuple[int, int]]]:
    """`at(step)`: `(row, clip)` of each of these rows of a step's global batch.

    Args:
      clips: how many there are; may be fewer than a batch.
      batch_size: clips of the global batch, over all processes.
      rows: which rows of it are read here, in this order; None for all.
    """
    rows = range(batch_size) if rows is None else [int(row) for row in rows]
    if not rows or min(rows) < 0 or max(rows) >= batch_size:
        raise ValueError(f"rows {rows} are not rows of a batch of {batch_size}")
    order = grain.MapDataset.range(clips).seed(seed).shuffle().repeat()
    return lambda step: [(row, order[step * batch_size + row]) for row in rows]


def endless(
    batch: Callable[[int], Batch], start_step: int, threads: int, prefetch: int
) -> Iterator[Batch]:
    """The batches from that of `start_step` on, made ahead of their use by several threads.

    Args:
      batch: `batch(step)`; a thread makes a whole one.
      prefetch: batches kept ready.
    """
    steps = grain.MapDataset.range(start_step, _ENDLESS).map(batch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return iter(steps.to_iter_dataset(options))
