"""Sampled clips as files that a person opens: mp4, gif, a contact sheet, and an index."""

import contextlib
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

import numpy as np
from einops import rearrange, repeat
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from videojam_jax.data.video_file import write_gif, write_mp4
from videojam_jax.errors import UserError

INDEX = "samples.json"
PROMPTS_A_SHEET = 32


def write_samples(
    out: str | os.PathLike,
    videos: UInt8[np.ndarray, "n t h w 3"],
    flow_rgbs: UInt8[np.ndarray, "n t h w 3"] | None,
    prompts: Sequence[str],
    *,
    fps: float,
    enlarge: int = 1,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes clips into the folder `out`, which then holds these and nothing else.

    For each prompt `NNN_PROMPT.mp4` and `.gif`, and `NNN_PROMPT_flow.mp4` and `.gif`
    where there is motion; `contact_sheet.png` (numbered, with many prompts); and
    `samples.json` with `about`, and for each sample its prompt and files.

    All is written beside `out` under a passing name, which takes the place of `out`
    when it is whole. Whatever fails, `out` stays as it was.

    Args:
      videos: the clips.
      flow_rgbs: their motion as colours; None for a base model.
      prompts: one for each clip.
      fps: frames a second.
      enlarge: pixels shown for each one of a clip, for small clips.
      about: what else `samples.json` tells: step, seed, guidance.

    Returns:
      Every file written: the index, the sheet, then the clips in order.

    Raises:
      UserError: `out` holds files that are not samples, or cannot be written.
    """
    if not len(prompts) == len(videos) or flow_rgbs is not None and len(flow_rgbs) != len(videos):
        counts = len(videos), None if flow_rgbs is None else len(flow_rgbs), len(prompts)
        raise ValueError("%s videos, %s flows and %s prompts are not one for each" % counts)
    names = _names(prompts)
    with _replacing(Path(out)) as folder:
        samples = []
        for i, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
            files = [
                write_mp4(folder / f"{name}.mp4", videos[i], fps, scale=enlarge),
                write_gif(folder / f"{name}.gif", videos[i], fps, scale=enlarge),
            ]
            if flow_rgbs is not None:
                files += [
                    write_mp4(folder / f"{name}_flow.mp4", flow_rgbs[i], fps, scale=enlarge),
                    write_gif(folder / f"{name}_flow.gif", flow_rgbs[i], fps, scale=enlarge),
                ]
            samples.append({"prompt": prompt, "files": [file.name for file in files]})

        sheets = []
        for start in range(0, len(videos), PROMPTS_A_SHEET):
            rows, labels = [], []
            for i in range(start, min(start + PROMPTS_A_SHEET, len(videos))):
                rows.append(videos[i])
                labels.append(prompts[i] or "(no text)")
                if flow_rgbs is not None:
                    rows.append(flow_rgbs[i])
                    labels.append("")
            number = "" if len(videos) <= PROMPTS_A_SHEET else f"_{start:03}"
            sheets.append(f"contact_sheet{number}.png")
            Image.fromarray(contact_sheet(rows, labels)).save(folder / sheets[-1])

        index = {**(about or {}), "fps": fps, "contact_sheets": sheets, "samples": samples}
        text = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
        (folder / INDEX).write_text(text, encoding="utf-8")
    written = [INDEX, *sheets, *(file for sample in samples for file in sample["files"])]
    return [Path(out) / name for name in written]


def contact_sheet(
    rows: Sequence[UInt8[np.ndarray, "_t _h _w 3"]],
    labels: Sequence[str],
    *,
    frames: int = 8,
    frame_width: int = 128,
) -> UInt8[np.ndarray, "height width 3"]:
    """Clips as rows of frames, time from left to right, each below its label.

    Args:
      rows: clips, which may differ in size and length.
      labels: one for each row; a row with an empty label follows the one above
        closely, as its motion follows a clip.
      frames: at most this many a row, spread evenly from the first to the last.
      frame_width: about how wide a frame is shown. Frames are enlarged or shrunk by a
        whole number, so that the pixels of small clips stay sharp.

    Returns:
      A picture on white ground.

    >>> clip = np.zeros((16, 32, 32, 3), np.uint8)
    >>> contact_sheet([clip, clip], ["a ball falls", ""]).shape
    (308, 1076, 3)
    """
    gap, margin, font = 4, 12, ImageFont.load_default(size=16)
    line = sum(font.getmetrics())
    strips = [_strip(video, frames, frame_width, gap) for video in rows]
    width = max(strip.shape[1] for strip in strips)
    texts = [_wrap(label, font, width) for label in labels]

    places, top = [], margin
    for strip, text, label in zip(strips, texts, labels, strict=True):
        if label and places:
            top += margin
        places.append((top, top + line * len(text) + (gap if text else 0)))
        top = places[-1][1] + strip.shape[0] + gap

    picture = Image.new("RGB", (width + 2 * margin, top - gap + margin), "white")
    draw = ImageDraw.Draw(picture)
    for strip, text, (text_top, strip_top) in zip(strips, texts, places, strict=True):
        for i, words in enumerate(text):
            draw.text((margin, text_top + i * line), words, "black", font)
        picture.paste(Image.fromarray(strip), (margin, strip_top))
    return np.array(picture)


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


def _strip(video: np.ndarray, frames: int, frame_width: int, gap: int) -> np.ndarray:
    """Frames side by side, with white between them: `[h, w, 3]`."""
    chosen = np.linspace(0, len(video) - 1, min(frames, len(video))).round().astype(int)
    images = video[chosen]
    width = images.shape[2]
    if width <= frame_width:
        times = frame_width // width
        images = repeat(images, "t h w c -> t (h a) (w b) c", a=times, b=times)
    else:
        by = round(width / frame_width)
        height, width = images.shape[1] // by * by, width // by * by
        blocks = rearrange(images[:, :height, :width], "t (h a) (w b) c -> t h w c a b", a=by, b=by)
        images = blocks.mean((-1, -2)).round().astype(np.uint8)
    images = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return rearrange(images, "t h w c -> h (t w) c")[:, :-gap]


def _wrap(label: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The label in at most three lines that fit the width; a longer one ends in "..."."""
    if not label:
        return []
    letter = font.getlength(label) / len(label)
    # Lines of as many letters differ in width: a tenth is left free.
    letters = max(8, int(0.9 * width / letter))
    return textwrap.wrap(label, letters, max_lines=3, placeholder=" ...")


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A new folder to write into; takes the place of `out` if nothing is raised, else goes."""
    final = out.absolute()
    if final.is_symlink():
        final = final.resolve()
    _check_replaceable(final, out)
    passing = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    previous = passing.with_suffix(".old")
    try:
        passing.mkdir(parents=True)
        yield passing
        if final.exists():
            final.rename(previous)
        passing.rename(final)
    except OSError as error:
        raise UserError(f"cannot write samples to {out}: {error.strerror or error}") from error
    finally:
        if previous.exists() and not final.exists():
            previous.rename(final)
        shutil.rmtree(passing, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def _check_replaceable(final: Path, out: Path) -> None:
    """Nothing of the user's is ever replaced: only earlier samples, or an empty folder."""
    if not final.exists():
        return
    advice = "name a folder for the samples alone"
    if not final.is_dir():
        raise UserError(f"{out} is a file, not a folder; {advice}")
    if final == Path.cwd() or final in Path.cwd().parents:
        raise UserError(f"{out} is the folder you are in; {advice}")
    foreign = sorted({path.name for path in final.iterdir()} - _indexed(final / INDEX))
    if foreign:
        raise UserError(f"{out} holds something that is not a sample ({foreign[0]}); {advice}")


def _indexed(index: Path) -> set[str]:
    """The files that an earlier call wrote, by its index; none if there is no such index."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        files = [name for sample in content["samples"] for name in sample["files"]]
        return {INDEX, *content["contact_sheets"], *files}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
