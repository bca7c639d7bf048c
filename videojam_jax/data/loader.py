"""Prepared clips -> batches, positioned by the step number alone (see `order`)."""

import bisect
import contextlib
import dataclasses
import functools
import itertools
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from videojam_jax.data import manifest, order, records, shards
from videojam_jax.data.skipped import Skipped
from videojam_jax.errors import MayPass, UserError, first_line, may_pass, of_system


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared folder: random access to its records.

    Attributes:
      folder: where it is.
      manifest: as `prepare` wrote it.
      null_text: the encoding of the empty caption, see `records`.
      data: the records' bytes by index.
      skipped: the records that could not be read and were passed over so far.
    """

    folder: Path
    manifest: dict[str, Any]
    null_text: records.StoredText
    data: "Shards"
    skipped: Skipped

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """`(t, h, w, c)` of a video latent and of a motion latent."""
        return tuple(self.manifest["shapes"]["latent"])

    def __len__(self) -> int:
        return self.manifest["clips"]

    def __getitem__(self, index: int) -> records.Record:
        """The record; where it cannot be read and may be passed over, the next one that can.

        Thus the same one in every process and in a run that goes on.

        Raises:
          UserError: no more records may be passed over, or a shard went away.
          MayPass: the disk or the network did not give it.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        for number in itertools.chain(range(index, len(self)), range(index)):
            if number in self.skipped:
                continue
            try:
                return self._read(number)
            except _Damaged as damaged:
                if not self.skipped.add(number, str(damaged)):
                    raise UserError(
                        f"{damaged}: {manifest.ANEW}; or raise config.train.skip_records "
                        f"({self.skipped.most}) to train without it"
                    ) from damaged
        raise UserError(f"{self.folder}: none of its records can be read: {manifest.ANEW}")

    def _read(self, index: int) -> records.Record:
        try:
            return self._checked(records.from_bytes(self.data[index]))
        except MemoryError:
            raise
        except Exception as error:  # ArrayRecord has a RuntimeError for everything, say
            file, number = self.data.place(index)
            path, why = self.folder / self.manifest["shards"][file]["file"], first_line(error)
            if may_pass(error):
                raise MayPass(f"{path} cannot be read at its record {number} ({why})") from error
            if of_system(error):
                raise UserError(f"{path} cannot be opened ({why})") from error
            raise _Damaged(f"{path} cannot be read at its record {number} ({why})") from error

    def _checked(self, record: Any) -> records.Record:
        """What was read; ValueError where it does not fit into this data set."""
        records.check(record)
        for name in ("video", "motion"):
            if record[name].shape != self.latent_shape:
                raise ValueError(
                    f"its {name} latent is {record[name].shape}, in {manifest.MANIFEST} "
                    f"{self.latent_shape}"
                )
        if records.kind(record["text"]) != records.kind(self.null_text):
            raise ValueError(f"its text is of another kind than {manifest.NULL_TEXT}")
        longest = self.manifest["longest_text"]
        if records.longer(longest, record["text"]) != longest:
            raise ValueError(f"its text is longer than any in {manifest.MANIFEST}")
        return record


class _Damaged(Exception):
    """One record is, which may be passed over; names its shard."""


class Shards:
    """The bytes of the records of many files by index, of which so many are open at a time.

    A file is opened when one of its records is first read. Where a system lets a process open
    fewer files than there are, the one that was not read for longest is closed for the next.

    Args:
      files: path, number of records and bytes of each.
      most_open: of these files.
    """

    def __init__(self, files: Sequence[tuple[Path, int, int]], most_open: int):
        self.most_open = most_open
        self._files = files
        self._ends = list(itertools.accumulate(count for _, count, _ in files))
        # In threads, which may read on in one that was put out: it is closed when let go.
        self._opened = functools.lru_cache(maxsize=most_open)(self._open)

    def place(self, index: int) -> tuple[int, int]:
        """The file that holds a record, and the record's number in it."""
        file = bisect.bisect(self._ends, index)
        return file, index - (self._ends[file] - self._files[file][1])

    def __getitem__(self, index: int) -> bytes:
        file, number = self.place(index)
        return self._opened(file)[number]

    def _open(self, file: int) -> grain.sources.ArrayRecordDataSource:
        path, count, size = self._files[file]
        if (there := path.stat().st_size) != size:
            raise ValueError(f"it has {there} bytes, in {manifest.MANIFEST} {size}")
        # With the number of records given, it is opened when it is first read.
        return grain.sources.ArrayRecordDataSource([f"{path}[0:{count}]"])


# Files that a process has open beside its shards: logs, sockets, checkpoints being written.
_OTHER_FILES = 256


def may_open(files: int) -> int:
    """How many of so many files to keep open; raises the process's limit as far as it may.

    The limit that systems begin with (1,024, or 256) is below what they allow who asks.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return files
    return max(1, min(files, soft - _OTHER_FILES))


def open_dataset(
    folder: Path | str, skip_records: int = 0, tell: Callable[[str], None] = lambda line: None
) -> Dataset:
    """Opens a prepared folder after checking that all of it is there.

    However many shards it has, it reads three files and lists the folder once: the manifest says
    what is in each shard, and a shard's size is compared when it is first read.

    Args:
      skip_records: how many records that cannot be read may be passed over.
      tell: called with a line for each of them, once.

    Raises:
      UserError: no folder, nothing prepared in it, or shards missing.
    """
    folder = Path(folder)
    advice = "run 'videojam prepare'"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of prepared clips; {advice} first")
    settings = manifest.read_settings(folder)
    if settings is None:
        raise UserError(f"{folder} holds no prepared clips; {advice} first")
    whole = manifest.read_manifest(folder)
    if whole is not None and whole["format"] != manifest.FORMAT:
        raise UserError(
            f"{folder} was prepared in format {whole['format']} (by its {manifest.MANIFEST}), this "
            f"version reads {manifest.FORMAT}; {advice} into another folder"
        )
    if whole is not None and whole["settings"] != settings:
        raise UserError(
            f"{folder / manifest.SETTINGS} and {manifest.MANIFEST} beside it do not agree, so one "
            f"of them was damaged; of the first: {manifest.ANEW}"
        )
    paths = manifest.shard_paths(folder, settings)
    # Without a manifest the shards' notes tell how far `prepare` came.
    missing = shards.absent(paths) if whole else [*manifest.unfinished(folder).values()]
    if missing:
        named = ", ".join(path.name for path in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"{folder} is incomplete: {len(missing)} of {len(paths)} shards are missing or "
            f"not whole ({named}); {advice} again to finish it"
        )
    null_text = manifest.read_null_text(folder)
    if whole is None or null_text is None:
        raise UserError(
            f"{folder} has no {manifest.MANIFEST} or no {manifest.NULL_TEXT}; {advice} again to "
            "finish it"
        )
    listed = whole["shards"]
    files = [(folder / shard["file"], shard["clips"], shard["bytes"]) for shard in listed]
    data = Shards(files, may_open(len(files)))
    return Dataset(folder, whole, null_text, data, Skipped(skip_records, tell))


def batches(
    dataset: Dataset,
    *,
    seed: int,
    batch_size: int,
    text_length: int | Sequence[int],
    start_step: int = 0,
    rows: Sequence[int] | np.ndarray | None = None,
    threads: int = 2,
    prefetch: int = 4,
    motion: bool = True,
) -> Iterator[dict[str, Any]]:
    """An endless iterator over batches, beginning with that of `start_step`.

    Args:
      dataset: from `open_dataset`; may hold fewer clips than a batch.
      text_length: texts are padded to it; of each encoder, where there are several.
      seed, batch_size, rows, start_step, threads, prefetch: see `order`.
      motion: whether to give the motion latents.

    Yields:
      `video` and `motion` bfloat16 `[rows, t, h, w, c]`, `text` a `Text` with tokens int32
      `[rows, n]` or bfloat16 `[rows, n, e]`.

    Raises:
      UserError: a text in the data set is longer than `text_length`.
    """
    _check_lengths(dataset, text_length)
    places = order.places(len(dataset), seed, batch_size, rows)

    def batch(step: int) -> dict[str, Any]:
        return collate([dataset[clip] for _, clip in places(step)], text_length, motion)

    return order.endless(batch, start_step, threads, prefetch)


def _check_lengths(dataset: Dataset, text_length: int | Sequence[int]) -> None:
    longest = records.longer(dataset.manifest["longest_text"], dataset.null_text)
    there = [longest] if isinstance(longest, int) else longest
    given = [text_length] if isinstance(text_length, int) else list(text_length)
    if len(there) != len(given):
        raise UserError(
            f"{dataset.folder} holds texts of {len(there)} encoders, but {len(given)} are to be "
            "read: prepare the clips with this config"
        )
    for there_is, there_may in zip(there, given, strict=True):
        if there_is > there_may:
            raise UserError(
                f"{dataset.folder} holds a text of {there_is} tokens, but the texts of a batch are "
                f"to have {there_may}: raise the text's max_length to {there_is}"
            )


def collate(
    chosen: Sequence[records.Record], text_length: int | Sequence[int], motion: bool = True
) -> dict[str, Any]:
    """Stacks records to one batch; captions and names stay behind."""
    latents = ("video", "motion") if motion else ("video",)
    stacked = {name: _stack([record[name] for record in chosen]) for name in latents}
    texts = [record["text"] for record in chosen]
    return stacked | {"text": records.pad_text(texts, text_length)}


def _stack(latents: Sequence[np.ndarray]) -> np.ndarray:
    # As integers: NumPy copies its own types faster than bfloat16, which is foreign to it.
    return np.stack([latent.view(np.uint16) for latent in latents]).view(latents[0].dtype)
