"""`videojam prepare`: a source's clips -> flow -> latents -> shards of records.

    source[i]  ->  clip, flow        in threads (grain)
    batches    ->  latent, motion    on the device, float32, stored as bfloat16
    records    ->  shards            each written whole or not at all

A shard is a fixed range of the source's clips, and nothing in it depends on what
was done before it. So a run that is killed and started again, also with another
number of processes, ends with the same bytes as one that was left alone.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from videojam_jax.data import manifest, records, shards
from videojam_jax.data.clip import BadClip, Clip
from videojam_jax.errors import UserError
from videojam_jax.motion import flow_rgb

Report = Callable[[int, int, int], None]


def prepare(
    source,
    *,
    flow: Callable[[Clip], Float[np.ndarray, "s h w 2"]],
    autoencoder,
    text,
    out: Path,
    settings: Mapping[str, Any],
    sigma: float = 0.15,
    clips_per_shard: int = 256,
    batch_size: int = 32,
    workers: int = 2,
    process_index: int = 0,
    process_count: int = 1,
    report: Report = lambda done, total, set_aside: None,
) -> dict[str, Any] | None:
    """Prepares this process's share of a source, as far as it is not done yet.

    Args:
      source: `len`, `source[i] -> Clip` (or raises BadClip), `set_aside`, `describe()`.
        All its clips have one shape.
      flow: gives the flow of a clip; called in threads. May raise BadClip.
      autoencoder: `encode` takes video and flow clips alike, RGB in [-1, 1].
      text: `encode` takes a list of captions.
      out: the folder to fill; made if missing.
      settings: what else shaped the clips (the config), as JSON would hold it; a later
        run with others is refused.
      sigma: the flow's scale, see `flow_rgb.flow_to_rgb`.
      clips_per_shard: clips of the source that go into one shard.
      batch_size: clips encoded at once; does not shape the data set.
      workers: threads that load clips and estimate flow.
      process_index, process_count: this process fills shards `index, index + count, ...`.
      report: called with (clips done, clips in all, clips set aside), counted over this
        process's shards, once at the start and then after each batch. Where nothing
        is left to do, the one call has done == clips in all.

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
        "clips_per_shard": clips_per_shard,
        "sigma": sigma,
        "format": manifest.FORMAT,
    }
    _make_folder(out)
    manifest.check_settings(out, settings)
    shards.remove_stale(out, process_index, process_count)

    paths = manifest.shard_paths(out, settings)
    indices = [range(clips)[i : i + clips_per_shard] for i in range(0, clips, clips_per_shard)]
    ranges = dict(zip(paths, indices, strict=True))
    mine = paths[process_index::process_count]
    notes = {path: shards.whole_shard(path) for path in mine}
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
        rows = min(batch_size, clips_per_shard)
        encode = _encoder(autoencoder, sigma, rows)
        wanted = [i for path in missing for i in ranges[path]]
        with contextlib.closing(_load(source, flow, wanted, workers)) as loaded:
            for path in missing:
                of_shard = itertools.islice(loaded, len(ranges[path]))
                note = _write_shard(path, of_shard, rows, encode, text, count)
                # Not earlier, so that a run that stops at its first clips (no exact
                # flow, say) leaves no settings that would refuse the corrected run.
                manifest.write_settings(out, settings, process_index)
                shards.write_note(path, note)
    return _finish(out, paths, settings, source, text, process_index, stale=bool(missing))


def _finish(out, paths, settings, source, text, process_index, stale) -> dict[str, Any] | None:
    """The manifest; None while shards are missing. Writes it where it is missing or stale."""
    notes = [shards.whole_shard(path) for path in paths]
    if None in notes:
        return None
    if not any(note["clips"] for note in notes):
        # So that the next run, with better clips or another flow, tries again.
        for path in paths:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        (out / manifest.SETTINGS).unlink(missing_ok=True)
        aside = [*source.set_aside, *(one for note in notes for one in note["set_aside"])]
        raise UserError(_nothing_usable(aside))
    manifest.write_settings(out, settings, process_index)
    there = manifest.read(out / manifest.MANIFEST)
    if there is not None and (out / manifest.NULL_TEXT).exists() and not stale:
        return there
    whole = manifest.build(out, settings, notes, source.set_aside)
    manifest.write_null_text(out, text, process_index)
    shards.write_common(out / manifest.MANIFEST, shards.to_json(whole), process_index)
    return whole


def _load(source, flow, wanted: Sequence[int], workers: int) -> Iterator:
    """`(clip, flow)` or the BadClip for each wanted index, in order, loaded by threads."""

    def load(index: int):
        try:
            clip = source[index]
            its_flow = flow(clip)
            if not np.isfinite(its_flow).all():
                raise BadClip(clip.source_id, "its flow is not finite")
        except BadClip as bad:
            return bad
        t, h, w, _ = clip.video.shape
        if its_flow.shape != (t - 1, h, w, 2):
            raise ValueError(
                f"{clip.source_id}: flow of shape {its_flow.shape} for video {clip.video.shape}"
            )
        return clip, its_flow

    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers)
    return iter(grain.MapDataset.source(wanted).map(load).to_iter_dataset(options))


def _write_shard(path: Path, loaded: Iterator, rows: int, encode, text, count) -> dict[str, Any]:
    """Writes what `loaded` gives as one shard, encoded `rows` clips at a time; its note."""
    note = {"clips": 0, "bytes": 0, "longest_text": 0, "shapes": None, "set_aside": []}

    def data() -> Iterator[bytes]:
        # Each caption is encoded once, but anew in each shard: an encoder's rounding may
        # depend on the rest of its batch, and so must not on what other shards held.
        texts: dict[str, np.ndarray] = {}
        while batch := list(itertools.islice(loaded, rows)):
            bad = [one for one in batch if isinstance(one, BadClip)]
            good = [one for one in batch if not isinstance(one, BadClip)]
            note["set_aside"] += [{"source": b.source_id, "reason": b.reason} for b in bad]
            if good:
                _encode_captions([clip.caption for clip, _ in good], text, texts)
                latents = encode(*zip(*good, strict=True))
                for (clip, _), video, motion in zip(good, *latents, strict=True):
                    note["clips"] += 1
                    note["longest_text"] = max(note["longest_text"], len(texts[clip.caption]))
                    note["shapes"] = {"video": clip.video.shape, "latent": video.shape}
                    yield records.to_bytes({
                        "video": video,
                        "motion": motion,
                        "text": texts[clip.caption],
                        "caption": clip.caption,
                        "source_id": clip.source_id,
                        "fps": float(clip.fps),
                    })
            count(len(batch), len(bad))

    shards.write_records(path, data())
    note["bytes"] = path.stat().st_size
    return note


def _encode_captions(captions: Sequence[str], text, texts: dict[str, np.ndarray]) -> None:
    """Adds the encodings of those captions that `texts` has not got yet."""
    new = list(dict.fromkeys(caption for caption in captions if caption not in texts))
    if new:
        texts.update(zip(new, map(records.stored_text, text.encode(new)), strict=True))


def _encoder(autoencoder, sigma: float, rows: int):
    """`(clips, flows) -> (latents, motion latents)`, at most `rows` of each, bfloat16 on the host.

    The rows are spread over this process's devices, and filled up so that every
    call has the one shape that was compiled.
    """
    devices = jax.local_devices()
    rows = -(-rows // len(devices)) * len(devices)
    sharding = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))

    @jax.jit
    def latents(video: UInt8[Array, "b t h w 3"], flow: Float[Array, "b s h w 2"]):
        pixels = video.astype(jnp.float32) / 127.5 - 1
        rgb = flow_rgb.flow_to_rgb(flow_rgb.repeat_last(flow), sigma)
        both = autoencoder.encode(pixels), autoencoder.encode(2 * rgb - 1)
        return tuple(latent.astype(jnp.bfloat16) for latent in both)

    def fill_up(arrays: Sequence[np.ndarray], dtype) -> np.ndarray:
        spare = rows - len(arrays)
        return np.stack([*arrays, *[arrays[-1]] * spare]).astype(dtype, copy=False)

    def encode(clips: Sequence[Clip], flows: Sequence[np.ndarray]):
        video = fill_up([clip.video for clip in clips], np.uint8)
        on_device = jax.device_put((video, fill_up(flows, np.float32)), sharding)
        with jax.default_matmul_precision("float32"):
            result = jax.device_get(latents(*on_device))
        return tuple(latent[: len(clips)] for latent in result)

    return encode


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error
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
