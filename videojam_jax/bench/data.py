"""`videojam bench data`: clips a second that are simulated, prepared and loaded."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from videojam_jax.data.clip import ClipSpec
from videojam_jax.data.loader import batches, open_dataset
from videojam_jax.data.prepare import Models, PrepareOptions, prepare
from videojam_jax.data.simulate import Options, SimulatedOptions, simulate
from videojam_jax.data.sources import Simulated
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.text.bytes import ByteText

TEXT_LENGTH = 256


def bench_data(
    folder: Path | None = None,
    *,
    frames: int = 16,
    height: int = 64,
    width: int = 64,
    seconds: float = 3.0,
    clips: int = 256,
    batch_size: int = 8,
    workers: int = 2,
) -> list[dict[str, str | float]]:
    """Measures the way of a clip from nothing to a batch.

    Args:
      folder: a prepared folder to load from; None prepares `clips` simulated clips of
        this size in a temporary one, and measures that as well.
      frames, height, width: of the simulated clips.
      seconds: for which simulating and loading are each measured.
      clips: prepared for the measurement.
      batch_size: of the loader, and of the encoder.
      workers: threads of the loader and of `prepare`.

    Returns:
      Rows `{"name": what was measured, "clips_per_s": rate}`.
    """
    size = {"frames": frames, "height": height, "width": width}
    named = f"{frames} x {height} x {width}"
    rows = [_row(f"simulate {named}, with flow and caption, one core",
                 simulate_rate(seconds, **size))]
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            rate = prepare_rate(folder, clips, batch_size, workers, **size)
            rows.append(_row(f"prepare {named}, exact flow, pixels, {workers} threads", rate))
        rate = loader_rate(folder, seconds, batch_size, workers)
        rows.append(_row(f"load batches of {batch_size}, {workers} threads", rate))
    return rows


def simulate_rate(seconds: float, **options) -> float:
    """Simulated clips a second, exact flow and caption included, on one core.

    Args:
      seconds: how long to measure.
      options: of `data.simulate.Options`.
    """
    wanted = Options(**options)
    index = itertools.count()
    with _one_core():
        simulate(next(index), wanted)
        return _rate(lambda: simulate(next(index), wanted), 1, seconds)


def prepare_rate(
    folder: Path, clips: int, batch_size: int, workers: int, *, frames: int, height: int, width: int
) -> float:
    """Clips a second from the simulation into `folder`, after the first batch (which compiles)."""
    if clips <= batch_size:
        raise UserError(f"bench: clips = {clips} must be more than one batch of {batch_size}")
    after_batch: list[tuple[float, int]] = []
    prepare(
        Simulated(SimulatedOptions(clips=clips), ClipSpec(frames, height, width, fps=8.0)),
        Models(Pixels(), ByteText(TEXT_LENGTH), flow=lambda clip: clip.flow),
        folder,
        settings={},
        options=PrepareOptions(clips, batch_size, workers),
        report=lambda done, total, aside: after_batch.append((time.perf_counter(), done)),
    )
    (begin, before), (end, done) = after_batch[1], after_batch[-1]
    return (done - before) / (end - begin)


def loader_rate(folder: Path, seconds: float, batch_size: int, threads: int = 2) -> float:
    """Clips a second that the loader alone delivers from a prepared folder."""
    dataset = open_dataset(folder)
    loaded = batches(
        dataset,
        seed=0,
        batch_size=batch_size,
        text_length=max(dataset.manifest["longest_text"], TEXT_LENGTH),
        threads=threads,
    )
    next(loaded)  # opens the files and starts the threads
    rate = _rate(lambda: next(loaded), batch_size, seconds)
    loaded.close()
    return rate


def _rate(work: Callable[[], object], clips: int, seconds: float) -> float:
    begin = time.perf_counter()
    for done in itertools.count(1):
        work()
        passed = time.perf_counter() - begin
        if passed >= seconds:
            return done * clips / passed


def _row(name: str, rate: float) -> dict[str, str | float]:
    return {"name": name, "clips_per_s": round(rate, 1)}


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread on one core, where the system can (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
