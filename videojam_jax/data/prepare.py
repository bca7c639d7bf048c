"""`videojam prepare`: a source's clips -> flow -> latents -> shards of records.

    source[i]  ->  clip (, flow)         in threads (grain): decoding, resizing, flow on the CPU
    batches    ->  (flow,) latents       on the devices, stored as bfloat16
    records    ->  shards                each written whole or not at all

The three go on side by side: while the devices work on a batch, the threads load the next
and the one before is written.

A shard is a fixed range of the source's clips, and nothing in it depends on what
was done before it. So a run that is killed and started again, also with another
number of processes, ends with the same bytes as one that was left alone.
"""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from videojam_jax.data import manifest, records, shards
from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.data.encode import Encoded, Encoder, Rates
from videojam_jax.errors import UserError, caused
from videojam_jax.keys import HOST, config_key
from videojam_jax.motion.latent import MotionCode

Report = Callable[[int, int, int], None]


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """How clips are prepared, `config.prepare`. Shards shape the folder, the rest only the time."""

    clips_per_shard: int = config_key(512, "clips in one shard file", minimum=1)
    batch_size: int = config_key(32, "clips encoded at once", minimum=1)
    workers: int = config_key(
        2, "threads that decode clips and estimate their flow", minimum=1, tags=(HOST,)
    )


@dataclasses.dataclass(frozen=True)
class Models:
    """What makes a record of a clip.

    Attributes:
      autoencoder: `encode` takes video and flow clips alike, RGB in [-1, 1].
      text: `encode` takes a list of captions.
      flow: gives the flow of a clip, float32 `[t - 1, h, w, 2]`; called in threads. May
        raise BadClip. None where `device_flow` is given.
      device_flow: gives the flow of a batch of clips on the devices, see `data.encode`.
      code: from flow to motion latents.
    """

    autoencoder: Any
    text: Any
    flow: Callable[[Clip], np.ndarray] | None
    device_flow: Callable | None = None
    code: MotionCode = MotionCode()


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of the work that is this process's: shards `process, process + processes, ...`."""

    process: int = 0
    processes: int = 1


def prepare(
    source,
    models: Models,
    out: Path,
    settings: Mapping[str, Any],
    options: PrepareOptions = PrepareOptions(),
    share: Share = Share(),
    report: Report = lambda done, total, set_aside: None,
    tell_rates: Callable[[Rates], None] = lambda rates: None,
) -> dict[str, Any] | None:
    """Prepares this process's share of a source, as far as it is not done yet.

    Args:
      source: `len`, `source[i] -> Clip` (or raises BadClip), `set_aside`, `describe()`.
        All its clips have one shape.
      out: the folder to fill; made if missing.
      settings: what else shaped the clips (the config), as JSON would hold it; a later
        run with others is refused.
      report: called with (clips done, clips in all, clips set aside), counted over this
        process's shards, once at the start and then after each batch. Where nothing
        is left to do, the one call has done == clips in all.
      tell_rates: called after each batch with what was measured so far.

    Returns:
      The manifest, or None where other processes still have shards to fill; the process
      that finds all shards whole writes it.

    Raises:
      UserError: no usable clip, a folder of other settings, a disk that takes no more.
    """
    out = Path(out)
    clips = len(source)
    if not clips:
        raise UserError(_nothing_usable(source.set_aside))
    settings = {
        **settings,
        "source": source.describe(),
        "clips": clips,
        "clips_per_shard": options.clips_per_shard,
        "sigma": models.code.sigma,
        "format": manifest.FORMAT,
    }
    _make_folder(out)
    manifest.check_settings(out, settings)
    shards.remove_stale(out, share.process, share.processes)

    paths = manifest.shard_paths(out, settings)
    size = options.clips_per_shard
    indices = [range(clips)[i : i + size] for i in range(0, clips, size)]
    ranges = dict(zip(paths, indices, strict=True))
    mine = paths[share.process :: share.processes]
    notes = dict(zip(mine, shards.whole_shards(mine), strict=True))
    missing = [path for path in mine if notes[path] is None]

    total = sum(len(ranges[path]) for path in mine)
    done = total - sum(len(ranges[path]) for path in missing)
    aside = sum(len(note["set_aside"]) for note in notes.values() if note)
    report(done, total, aside)

    def count(more_done: int, more_aside: int) -> None:
        nonlocal done, aside
        done, aside = done + more_done, aside + more_aside
        report(done, total, aside)

    if missing:
        rows = min(options.batch_size, size)
        wanted = [i for path in missing for i in ranges[path]]
        lengths = [len(ranges[path]) for path in missing]
        with (
            contextlib.closing(_load(source, models.flow, wanted, options.workers, rows)) as loaded,
            Encoder(
                models.autoencoder, models.text, models.device_flow, models.code, rows
            ) as encoder,
            contextlib.closing(encoder.encode(_batches(loaded, lengths, rows))) as encoded,
        ):
            for path, length in zip(missing, lengths, strict=True):
                batches = itertools.islice(encoded, -(-length // rows))
                note = _write_shard(path, batches, count, lambda: tell_rates(encoder.rates()))
                # Not earlier, so that a run that stops at its first clips (no exact
                # flow, say) leaves no settings that would refuse the corrected run.
                manifest.write_settings(out, settings, share.process)
                shards.write_note(path, note)
    return _finish(out, paths, settings, source, models.text, share.process, stale=bool(missing))


def _finish(out, paths, settings, source, text, process, stale) -> dict[str, Any] | None:
    """The manifest; None while shards are missing. Writes it where it is missing or stale."""
    # Others are at work, as the list of the folder tells: no note needs to be read.
    if shards.absent(paths, notes=True) or None in (notes := shards.whole_shards(paths)):
        return None
    if not any(note["clips"] for note in notes):
        # So that the next run, with better clips or another flow, tries again.
        for path in paths:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        (out / manifest.SETTINGS).unlink(missing_ok=True)
        aside = [*source.set_aside, *(one for note in notes for one in note["set_aside"])]
        raise UserError(_nothing_usable(aside))
    manifest.write_settings(out, settings, process)
    there = manifest.read_manifest(out)
    if there is not None and (out / manifest.NULL_TEXT).exists() and not stale:
        return there
    whole = manifest.build(out, settings, notes, source.set_aside)
    manifest.write_null_text(out, text, process)
    shards.write_common(out / manifest.MANIFEST, shards.to_json(whole), process)
    return whole


def _load(source, flow, wanted: Sequence[int], workers: int, ahead: int) -> Iterator:
    """`(clip, flow)` or the BadClip for each wanted index, in order, loaded by threads.

    The flow is None where the devices will estimate it. `ahead` clips are kept ready.
    """

    def load(index: int):
        try:
            clip = source[index]
            its_flow = None if flow is None else flow(clip)
            if its_flow is not None and not np.isfinite(its_flow).all():
                raise BadClip(clip.source_id, "its flow is not finite")
        except BadClip as bad:
            return bad
        t, h, w, _ = clip.video.shape
        if its_flow is not None and its_flow.shape != (t - 1, h, w, 2):
            raise ValueError(
                f"{clip.source_id}: flow of shape {its_flow.shape} for video {clip.video.shape}"
            )
        return clip, its_flow

    buffered = max(2 * workers, ahead)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=buffered)
    return iter(grain.MapDataset.source(wanted).map(load).to_iter_dataset(options))


def _batches(loaded: Iterator, lengths: Sequence[int], rows: int) -> Iterator[tuple[int, list]]:
    """`(shard, what was loaded)`, at most `rows` at a time, none over the border of two shards."""
    for shard, length in enumerate(lengths):
        for first in range(0, length, rows):
            yield shard, list(itertools.islice(loaded, min(rows, length - first)))


def _write_shard(
    path: Path,
    batches: Iterator[Encoded],
    count: Callable[[int, int], None],
    tell_rates: Callable[[], None],
) -> dict[str, Any]:
    """Writes encoded batches as one shard; its note."""
    note = {"clips": 0, "bytes": 0, "longest_text": 0, "shapes": None, "set_aside": []}

    def data() -> Iterator[bytes]:
        for batch in batches:
            note["set_aside"] += [{"source": b.source_id, "reason": b.reason} for b in batch.bad]
            for clip, video, motion, text in batch.good:
                note["clips"] += 1
                note["longest_text"] = records.longer(note["longest_text"], text)
                note["shapes"] = {"video": clip.video.shape, "latent": video.shape}
                yield records.to_bytes({
                    "video": video,
                    "motion": motion,
                    "text": text,
                    "caption": clip.caption,
                    "source_id": clip.source_id,
                    "fps": float(clip.fps),
                })
            count(len(batch.good) + len(batch.bad), len(batch.bad))
            tell_rates()

    shards.write_records(path, data())
    note["bytes"] = path.stat().st_size
    return note


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise caused(f"cannot make the folder {out}: {error.strerror}", error) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"cannot write into the folder {out}: permission denied")


def _nothing_usable(set_aside: Sequence[Mapping[str, str]]) -> str:
    if not set_aside:
        return "the source has no clips"
    first = set_aside[0]
    return (
        f"the source has no usable clip: all {len(set_aside)} were set aside, the first, "
        f"{first['source']}, because: {first['reason']}"
    )
