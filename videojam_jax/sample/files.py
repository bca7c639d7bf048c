"""Sampled clips as files that a person opens: mp4, gif, a contact sheet, and an index.

All is gathered beside `out`, in a folder `.OUT.XXXXXXXXXXXX.part` that is named after
everything that shapes the clips, and takes the place of `out` when it is whole. A run
that is killed and started again finds there what it had finished.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from videojam_jax.data.video_file import write_gif, write_mp4
from videojam_jax.errors import UserError, caused
from videojam_jax.files import write_whole
from videojam_jax.parallel import distributed
from videojam_jax.sample.sheet import contact_sheet, strip

INDEX = "samples.json"
PROMPTS_A_SHEET = 32


@contextlib.contextmanager
def sample_folder(
    out: str | os.PathLike,
    prompts: Sequence[str],
    *,
    motion: bool,
    fps: float,
    enlarge: int = 1,
    about: Mapping[str, Any] | None = None,
    origin: str = "",
) -> Iterator["SampleFolder"]:
    """`with sample_folder(...) as folder:` add the clips; then `out` holds these and nothing else.

    For each prompt `NNN_PROMPT.mp4` and `.gif`, and `NNN_PROMPT_flow.mp4` and `.gif`
    where there is motion; `contact_sheet.png` (numbered, with many prompts); and
    `samples.json` with `about`, and for each sample its prompt and files.

    To be entered and left by every process of a run, on a file system that all of them
    see; each adds the clips that are its own. Whatever fails, `out` stays as it was, and
    what was added is found by the next run with the same arguments.

    Args:
      motion: whether every clip comes with its motion.
      fps: frames a second.
      enlarge: pixels shown for each one of a clip, for small clips.
      about: what else `samples.json` tells: step, seed, guidance.
      origin: what else shapes the clips: told apart by it, but not told.

    Raises:
      UserError: `out` holds files that are not samples, or cannot be written.
    """
    final = Path(out).absolute()
    if final.is_symlink():
        final = final.resolve()
    _check_replaceable(final, out)
    about = dict(about or {})
    shaping = json.dumps([list(prompts), motion, fps, enlarge, about, origin])
    mark = hashlib.sha256(shaping.encode()).hexdigest()[:12]
    passing = final.with_name(f".{final.name}.{mark}.part")
    names = [(name, f"{name}_flow") if motion else (name,) for name in _names(prompts)]
    folder = SampleFolder(Path(out), passing, tuple(prompts), tuple(names), fps, enlarge)
    told = None
    try:
        if distributed.leader():
            with _cannot_write(out):
                passing.mkdir(parents=True, exist_ok=True)
                told = json.dumps(folder.whole())
        # One process looks, so that all sample the same clips.
        finished = frozenset(json.loads(distributed.broadcast_text(told)))
        yield dataclasses.replace(folder, finished=finished)
        distributed.barrier("samples are written")
        if distributed.leader():
            with _cannot_write(out):
                folder.write_index(about)
                _put_in_place(passing, final)
        distributed.barrier("samples are in place")
    finally:
        with contextlib.suppress(OSError):
            passing.rmdir()  # if nothing was finished


@dataclasses.dataclass(frozen=True)
class SampleFolder:
    """Samples that are being gathered.

    Attributes:
      out: the folder they will be in.
      passing: the folder they are in until all are there.
      prompts: one for each sample.
      names: for each sample the name of its clip and, where there is motion, of its motion.
      fps, enlarge: as in `sample_folder`.
      finished: numbers of the samples that were there already, the same in every process.
    """

    out: Path
    passing: Path
    prompts: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    fps: float
    enlarge: int
    finished: frozenset[int] = frozenset()

    def is_mine(self, number: int) -> bool:
        """Whether this process is to add that sample: they are divided by their number."""
        return number not in self.finished and number % jax.process_count() == jax.process_index()

    def add(
        self,
        number: int,
        video: UInt8[np.ndarray, "t h w 3"],
        flow_rgb: UInt8[np.ndarray, "t h w 3"] | None = None,
    ) -> None:
        """Writes one sample: its clip and, where there is motion, that as colours."""
        clips = [video] if flow_rgb is None else [video, flow_rgb]
        for name, clip in zip(self.names[number], clips, strict=True):
            write_mp4(self.passing / f"{name}.mp4", clip, self.fps, scale=self.enlarge)
            write_gif(self.passing / f"{name}.gif", clip, self.fps, scale=self.enlarge)
            png = io.BytesIO()
            Image.fromarray(strip(clip)).save(png, "PNG")
            write_whole(self.passing / _strip_name(name), png.getvalue())

    def clip_files(self, number: int) -> list[str]:
        return [f"{name}.{kind}" for name in self.names[number] for kind in ("mp4", "gif")]

    def sheets(self) -> dict[str, range]:
        """The contact sheets, and the samples on each."""
        numbers = range(len(self.prompts))
        if len(numbers) <= PROMPTS_A_SHEET:
            return {"contact_sheet.png": numbers}
        starts = numbers[::PROMPTS_A_SHEET]
        return {f"contact_sheet_{i:03}.png": numbers[i : i + PROMPTS_A_SHEET] for i in starts}

    def files(self) -> list[Path]:
        """Every file of the whole folder: the index, the sheets, then the clips in order."""
        clips = [name for number in range(len(self.prompts)) for name in self.clip_files(number)]
        return [self.out / name for name in (INDEX, *self.sheets(), *clips)]

    def whole(self) -> list[int]:
        """The samples of which all files are there."""
        there = set(os.listdir(self.passing))
        return [
            number
            for number, names in enumerate(self.names)
            if there.issuperset([*self.clip_files(number), *map(_strip_name, names)])
        ]

    def write_index(self, about: Mapping[str, Any]) -> None:
        """Adds the contact sheets and the index, and removes all that is not listed."""
        missing = sorted(set(range(len(self.prompts))) - set(self.whole()))
        if missing:
            raise UserError(
                f"cannot write samples to {self.out}: {len(missing)} clips are missing, the first "
                f"is {self.names[missing[0]][0]}; does another run work there? Run it again"
            )
        for sheet, numbers in self.sheets().items():
            rows, labels = [], []
            for number in numbers:
                label = self.prompts[number] or "(no text)"
                for name in self.names[number]:
                    rows.append(np.array(Image.open(self.passing / _strip_name(name))))
                    labels.append(label)
                    label = ""  # the motion follows its clip
            Image.fromarray(contact_sheet(rows, labels)).save(self.passing / sheet)
        samples = [
            {"prompt": prompt, "files": self.clip_files(number)}
            for number, prompt in enumerate(self.prompts)
        ]
        sheets = list(self.sheets())
        index = {**about, "fps": self.fps, "contact_sheets": sheets, "samples": samples}
        write_whole(self.passing / INDEX, json.dumps(index, indent=1, ensure_ascii=False) + "\n")
        for name in {*os.listdir(self.passing)} - {path.name for path in self.files()}:
            (self.passing / name).unlink()


def _strip_name(name: str) -> str:
    """Of a clip's row in the contact sheet, which is kept until that is drawn."""
    return f".{name}.png"


def _names(prompts: Sequence[str]) -> list[str]:
    """`NNN_words_of_the_prompt`, unique by their number; letters of any script stay."""
    digits = max(3, len(str(len(prompts) - 1)))
    names = []
    for i, prompt in enumerate(prompts):
        letters = unicodedata.normalize("NFKC", prompt).lower()
        words = re.sub(r"[\W_]+", " ", letters).strip() or "no text"
        slug = textwrap.wrap(words, 40)[0].replace(" ", "_")
        names.append(f"{i:0{digits}}_{slug}")
    return names


def _put_in_place(passing: Path, final: Path) -> None:
    """Renames the whole folder, then removes earlier samples and what killed runs left of them."""
    previous = final.with_name(f".{final.name}.{secrets.token_hex(6)}.old")
    try:
        if final.exists():
            final.rename(previous)
        passing.rename(final)
    finally:
        if previous.exists() and not final.exists():
            previous.rename(final)
    left = re.compile(re.escape(f".{final.name}.") + r"[0-9a-f]{12}\.(part|old)")
    for path in final.parent.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _cannot_write(out: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise caused(f"cannot write samples to {out}: {error.strerror or error}", error) from error


def _check_replaceable(final: Path, out: str | os.PathLike) -> None:
    """Nothing of the user's is ever replaced: only earlier samples, or an empty folder."""
    if not final.exists():
        return
    advice = "name a folder for the samples alone"
    if not final.is_dir():
        raise UserError(f"{out} is a file, not a folder; {advice}")
    if final == Path.cwd() or final in Path.cwd().parents:
        raise UserError(f"{out} is the folder you are in; {advice}")
    indexed = _indexed(final / INDEX)
    if indexed is None:
        raise UserError(
            f"{Path(out) / INDEX} is not what 'videojam sample' wrote, or was damaged; {advice}, "
            "or delete this one"
        )
    foreign = sorted({path.name for path in final.iterdir()} - indexed)
    if foreign:
        raise UserError(f"{out} holds something that is not a sample ({foreign[0]}); {advice}")


def _indexed(index: Path) -> set[str] | None:
    """The files that an earlier call wrote, by its index: none without one, None if damaged."""
    try:
        content = json.loads(index.read_bytes())
        files = [name for sample in content["samples"] for name in sample["files"]]
        return {INDEX, *content["contact_sheets"], *files}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError):
        return None
