"""Two folders of clips, paired by prompt.

A folder is read in one of two layouts:

- of `videojam sample`: `samples.json` names each prompt and its files;
- of VBench (as `measure/vbench.py` writes it): `PROMPT-0.mp4`, `PROMPT-1.mp4`, ..., and
  `prompts.json` `{file: prompt}` where a prompt is not what its file is called.

Clips of one prompt are told apart by a number: in VBench's layout the one in the name,
in the other the how-manieth clip of that prompt it is, from 0. Only the clips themselves
are taken, never those that show their motion.
"""

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

from videojam_jax.data.video_timing import VideoError, open_video, probe
from videojam_jax.errors import UserError, caused
from videojam_jax.measure.vbench import PROMPTS
from videojam_jax.sample.files import INDEX

Key = tuple[str, int]  # a prompt and a number


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """One clip on disk.

    Attributes:
      mp4: its file.
      gif: the same as a gif, where there is one, for browsers that cannot play the mp4.
      digest: SHA-256 of the mp4, in hexadecimal.
      look: length, size and frame rate, in words.
    """

    mp4: Path
    gif: Path | None
    digest: str
    look: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """The clips that A and B made of one prompt."""

    prompt: str
    number: int
    a: ClipFile
    b: ClipFile


@dataclasses.dataclass(frozen=True)
class Pairs:
    """All pairs, sorted by prompt and number, and what is to be told of them.

    Attributes:
      pairs: what two folders have in common.
      notes: lines that count what was left out and warn of what may tell A from B.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def pair_folders(a: Path, b: Path) -> Pairs:
    """The clips of two folders that share a prompt and a number.

    Raises:
      UserError: a folder or its index cannot be read, holds a clip twice or one that is
        no video, or the folders have nothing in common.
    """
    (of_a, odd_a), (of_b, odd_b) = _find(a), _find(b)
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        raise UserError(
            f"{a} and {b} have no prompt in common ({len(of_a)} and {len(of_b)} clips); "
            "sample both from the same prompts"
        )
    notes = []
    for folder, keys, odd in ((a, of_a, odd_a), (b, of_b, odd_b)):
        if len(keys) > len(common):
            only = sorted(keys.keys() - set(common))
            notes.append(f"left out, as only {folder} has them: {len(only)} ({_first(only[0])})")
        if odd:
            notes.append(
                f"left out of {folder}, as neither named PROMPT-NUMBER.mp4 nor in {PROMPTS}: "
                f"{len(odd)} ({odd[0]}, say)"
            )
    pairs = tuple(Pair(*key, _clip(of_a[key]), _clip(of_b[key])) for key in common)
    same = [pair for pair in pairs if pair.a.digest == pair.b.digest]
    if same:
        key = (same[0].prompt, same[0].number)
        notes.append(f"pairs of twice the same clip: {len(same)} ({_first(key)})")
    unlike = [pair for pair in pairs if pair.a.look != pair.b.look]
    if unlike:
        notes.append(
            "pairs that differ in length, size or rate, so that raters may learn which is which: "
            f"{len(unlike)} ({unlike[0].a.look}; {unlike[0].b.look}, say)"
        )
    return Pairs(pairs, tuple(notes))


def fingerprint(pairs: tuple[Pair, ...]) -> str:
    """Names a set of pairs by all that matters for votes on it: prompts, and both clips' bytes."""
    content = [[pair.prompt, pair.number, pair.a.digest, pair.b.digest] for pair in pairs]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _find(folder: Path) -> tuple[dict[Key, Path], list[str]]:
    """The mp4 of each prompt and number, and the names of mp4 files that fit nothing."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of clips")
    try:
        indexed = (folder / INDEX).exists()
        found, odd = _sampled(folder) if indexed else _vbench(folder)
    except OSError as error:
        raise caused(f"{error.filename or folder}: {error.strerror or error}", error) from None
    if not found:
        raise UserError(
            f"{folder}: holds no clips; it needs {INDEX} (as `videojam sample` writes) or files "
            "named PROMPT-0.mp4"
        )
    return found, odd


def _sampled(folder: Path) -> tuple[dict[Key, Path], list[str]]:
    content = _json(folder / INDEX)
    found: dict[Key, Path] = {}
    seen: Counter[str] = Counter()
    try:
        for sample in content["samples"]:
            prompt = _clean(sample["prompt"])
            # A clip comes before its motion. (Its name may well end as a motion's does:
            # "water_flow".)
            name = next(name for name in sample["files"] if name.endswith(".mp4"))
            found[prompt, seen[prompt]] = _listed(folder, name)
            seen[prompt] += 1
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f'{folder / INDEX}: is not what `videojam sample` writes; "samples" must list a '
            '"prompt" and its "files", an mp4 among them'
        ) from error
    return found, []


def _vbench(folder: Path) -> tuple[dict[Key, Path], list[str]]:
    prompts = _json(folder / PROMPTS) if (folder / PROMPTS).exists() else {}
    if not isinstance(prompts, dict) or not all(isinstance(p, str) for p in prompts.values()):
        raise UserError(f"{folder / PROMPTS}: must be an object {{file: prompt}}")
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".mp4")
    there = set(names)
    found: dict[Key, Path] = {}
    odd = []
    for name in names:
        if name in prompts:
            numbered = re.fullmatch(r".*-(\d+)\.mp4", name)
            key = (_clean(prompts[name]), int(numbered[1]) if numbered else 0)
        else:
            named = re.fullmatch(r"(.+)-(\d+)\.mp4", name)
            if named is None or name.startswith("."):
                if not _is_motion(name, there):
                    odd.append(name)
                continue
            if _is_motion(name, there):
                continue
            key = (_clean(named[1]), int(named[2]))
        if key in found:
            raise UserError(
                f"{folder}: {found[key].name} and {name} are the same clip of one prompt; "
                "their numbers (-0, -1, ...) must differ"
            )
        found[key] = folder / name
    return found, odd


def _is_motion(name: str, there: set[str]) -> bool:
    """Whether a file shows the motion of another: `X_flow-0.mp4` or `X-0_flow.mp4`."""
    clip = re.sub(r"_flow(-\d+)?\.mp4$", r"\1.mp4", name)
    return clip != name and clip in there


def _listed(folder: Path, name: str) -> Path:
    """A file that the index names, which must lie in the folder itself."""
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise UserError(f"{folder / INDEX}: names {name!r}, and there is no such file beside it")
    return path


def _json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error})") from None


def _clean(prompt: str) -> str:
    """A prompt as it is compared: some file systems take letters and their accents apart."""
    return " ".join(unicodedata.normalize("NFC", prompt).split())


def _clip(path: Path) -> ClipFile:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = probe(path)
        with open_video(path, info.stream) as (_, stream):
            size = f"{stream.height} x {stream.width}"
    except (VideoError, OSError) as error:
        raise UserError(f"{path}: cannot be shown ({error})") from None
    gif = path.with_suffix(".gif")
    look = f"{info.frames} frames of {size} at {info.fps:.4g} fps"
    return ClipFile(path, gif if gif.is_file() else None, digest, look)


def _first(key: Key) -> str:
    return f"“{key[0]}”, number {key[1]}, say"


def folder_names(a: Path, b: Path) -> tuple[str, str]:
    """The last parts of both paths in which they differ."""
    parts = [path.absolute().parts for path in (a, b)]
    for first, second in zip(*map(reversed, parts), strict=False):
        if first != second:
            return first, second
    return "A", "B"
