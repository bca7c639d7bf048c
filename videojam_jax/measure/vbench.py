"""VBench (Huang et al. 2024): clips laid out for it, its results read, the paper's aggregates.

VBench itself is a program of its own. `write_videos` writes a folder that it takes as

    vbench evaluate --videos_path FOLDER --mode custom_input
        --prompt_file FOLDER/prompts.json --output_path RESULTS
        --dimension aesthetic_quality imaging_quality subject_consistency
        background_consistency motion_smoothness dynamic_degree

(one line), and `read_results(RESULTS)` reads what that leaves. Its dynamic degree takes every
`round(fps / 8)`-th frame, so it needs clips of more than 4 frames a second; its motion
smoothness needs 3 frames.
"""

import hashlib
import json
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from videojam_jax.data.video_file import write_mp4
from videojam_jax.errors import UserError, caused
from videojam_jax.files import cannot_write, write_whole

# The dimensions of the paper's aggregates, as VBench names them, in the paper's order.
DIMENSIONS = (
    "aesthetic_quality",
    "imaging_quality",
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
)
# Worst and best of a score by VBench's own table, where they are not 0 and 1.
RANGES = types.MappingProxyType(
    {
        "subject_consistency": (0.1462, 1.0),
        "background_consistency": (0.2615, 1.0),
        "motion_smoothness": (0.706, 0.9975),
    }
)
# Weight of the dynamic degree beside the smoothness, as in VBench's quality score.
DYNAMIC_WEIGHT = 0.5
# A clip's imaging quality is MUSIQ's, 0 to 100; the score of all clips is in [0, 1].
PER_CLIP_SCALE = types.MappingProxyType({"imaging_quality": 100.0})

RESULTS = "*_eval_results.json"
PROMPTS = "prompts.json"
# A file name's longest in bytes is 255 nearly everywhere; its passing name is longer.
LONGEST_NAME = 200

Number = float | Float[np.ndarray, "*clips"]


@dataclass(frozen=True)
class Scores:
    """One dimension of one set of clips.

    Attributes:
      score: VBench's, in [0, 1].
      clips: from a video's file name to its own score, in [0, 1]; dynamic or not is 1 or 0.
    """

    score: float
    clips: Mapping[str, float]


Results = Mapping[str, Scores]  # from a dimension to its scores


def normalised(dimension: str, score: Number) -> Number:
    """A score between the worst and the best that VBench's table has for its dimension."""
    low, high = RANGES.get(dimension, (0.0, 1.0))
    return (score - low) / (high - low)


def appearance(aesthetic: Number, imaging: Number, subject: Number, background: Number) -> Number:
    """The paper's column "App.": the mean of four normalised scores.

        (aesthetic + imaging + (subject - .1462) / .8538 + (background - .2615) / .7385) / 4

    All in [0, 1]; of single clips or of sets (it is linear: the mean over clips of theirs is
    that of the means).
    """
    subject = normalised("subject_consistency", subject)
    return (aesthetic + imaging + subject + normalised("background_consistency", background)) / 4


def motion(smoothness: Number, dynamic: Number) -> Number:
    """The paper's column "Mot.": smoothness, and the share of dynamic clips with half its weight.

        ((smoothness - .706) / .2915 + .5 dynamic) / 1.5

    In [0, 1] and linear as `appearance` is.
    """
    smoothness = normalised("motion_smoothness", smoothness)
    return (smoothness + DYNAMIC_WEIGHT * dynamic) / (1 + DYNAMIC_WEIGHT)


def aggregates(results: Results) -> dict[str, float]:
    """VBench's scores of the six dimensions, and "appearance" and "motion" of them.

    Raises:
      UserError: a dimension is missing.
    """
    _require(results, DIMENSIONS, "the results")
    scores = {dimension: results[dimension].score for dimension in DIMENSIONS}
    return scores | _both(scores)


def per_clip(results: Results) -> tuple[list[str], dict[str, Float[np.ndarray, "_clips"]]]:
    """The same for each clip, as intervals need it.

    Returns:
      File names of the clips, sorted, and a value for each of them under each of the six
      dimensions and under "appearance" and "motion".

    Raises:
      UserError: a dimension is missing, or was measured on other clips than the first was.
    """
    _require(results, DIMENSIONS, "the results")
    names = sorted(results[DIMENSIONS[0]].clips)
    for dimension in DIMENSIONS:
        if others := results[dimension].clips.keys() ^ set(names):
            raise UserError(
                f"{dimension} was measured on other clips than {DIMENSIONS[0]} was "
                f"({len(others)} differ, one is '{min(others)}'); run VBench on one folder for all"
            )
    values = {
        dimension: np.array([results[dimension].clips[name] for name in names])
        for dimension in DIMENSIONS
    }
    return names, values | _both(values)


def _both(values: Mapping[str, Number]) -> dict[str, Number]:
    six = [values[dimension] for dimension in DIMENSIONS]
    return {"appearance": appearance(*six[:4]), "motion": motion(*six[4:])}


def read_results(path: str | Path, dimensions: Sequence[str] = DIMENSIONS) -> dict[str, Scores]:
    """What `vbench evaluate` wrote: {dimension: [score, [{video_path, video_results}, ...]]}.

    Args:
      path: a file, or a folder whose `*_eval_results.json` are read together. VBench names
        them by the time: of a dimension that was measured twice, the later file counts.
      dimensions: those that are wanted; others are passed over.

    Raises:
      UserError: there is no such file, a dimension is in none of them or twice for other
        clips, or a file is not of this form.
    """
    path = Path(path)
    files = sorted(path.glob(RESULTS)) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: holds no {RESULTS}, which is what `vbench evaluate` writes")
    found: dict[str, Scores] = {}
    source: dict[str, Path] = {}
    for file in files:
        content = _read_json(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: {_expected()}")
        for dimension in set(dimensions) & content.keys():
            scores = _scores(file, dimension, content[dimension])
            if dimension in found and found[dimension].clips.keys() != scores.clips.keys():
                raise UserError(
                    f"{dimension} is in {source[dimension].name} and, of other clips, in "
                    f"{file.name}; keep one of them in {path}"
                )
            found[dimension], source[dimension] = scores, file
    _require(found, dimensions, str(path))
    return {dimension: found[dimension] for dimension in dimensions}


def _require(results: Results, dimensions: Sequence[str], where: str) -> None:
    if missing := [dimension for dimension in dimensions if dimension not in results]:
        raise UserError(f"{where}: no {' and no '.join(missing)}; run VBench with --dimension")


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise caused(f"cannot read {path}: {error.strerror}", error) from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON in UTF-8: {error}") from error


def _expected(dimension: str = "dimension") -> str:
    return f'wanted {{"{dimension}": [score, [{{"video_path": ..., "video_results": ...}}, ...]]}}'


def _scores(file: Path, dimension: str, entry) -> Scores:
    wrong = f"{file}, {dimension}: "
    match entry:
        case [score, [_, *_] as videos, *_] if _is_number(score):
            pass
        case _:
            raise UserError(wrong + _expected(dimension))
    clips = {}
    for video in videos:
        match video:
            case {"video_path": str(name), "video_results": value} if _is_number(value):
                name = re.split(r"[/\\]", name)[-1]
            case _:
                raise UserError(
                    f"{wrong}a clip is {json.dumps(video)[:80]}; {_expected(dimension)}"
                )
        if name in clips:
            raise UserError(f"{wrong}the clip '{name}' is in it twice")
        clips[name] = value / PER_CLIP_SCALE.get(dimension, 1.0)
    return Scores(float(score), clips)


def _is_number(value) -> bool:
    """Numbers and truth values (of the dynamic degree), but none that JSON has no word for."""
    return isinstance(value, int | float) and math.isfinite(value)


def file_names(prompts: Sequence[str], index: int = 0) -> list[str]:
    """`PROMPT-INDEX.mp4` for each prompt, as VBench takes them.

    A prompt that is there again has the next index. One that cannot be a file name (it has a
    slash or a control character, or is too long) has its words and a digest of it instead.

    >>> file_names(["a red ball", "a red ball", "AC/DC on stage"])
    ['a red ball-0.mp4', 'a red ball-1.mp4', 'AC DC on stage_1579fe64-0.mp4']
    """
    seen: dict[str, int] = {}
    names = []
    for prompt in prompts:
        number = index + seen.get(prompt, 0)
        seen[prompt] = seen.get(prompt, 0) + 1
        names.append(f"{_stem(prompt)}-{number}.mp4")
    return names


def _stem(prompt: str) -> str:
    fits = len(f"{prompt}-000.mp4".encode()) <= LONGEST_NAME
    if fits and prompt.isprintable() and "/" not in prompt:
        return prompt
    words = " ".join(re.findall(r"[A-Za-z0-9]+", prompt))[:80].rstrip()
    # No dash before it: VBench takes a dash and digits at the end for the index.
    return f"{words}_{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"


def write_videos(
    folder: str | Path,
    prompts: Sequence[str],
    videos: Iterable[UInt8[np.ndarray, "_t _h _w 3"]],
    fps: float,
    *,
    index: int = 0,
    scale: int = 1,
) -> list[Path]:
    """Writes clips as VBench takes them, and `prompts.json` that says what each shows.

    A file that is there already is left as it is, so that a stopped run can go on. The
    prompts come first: VBench takes ones whose clip is missing, but no clip without.

    Args:
      folder: made if need be; one for each model.
      videos: a clip for each prompt, in their order; none is held longer than it takes.
      index: number of the clip among those of the same prompt.
      scale: enlarges every pixel to `scale` x `scale`.

    Returns:
      The files, in the order of the prompts.

    Raises:
      UserError: something cannot be written, or `prompts.json` is there and is not one.
      ValueError: there are more or fewer videos than prompts.
    """
    folder = Path(folder)
    names = file_names(prompts, index)
    with cannot_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    listed = _read_json(folder / PROMPTS) if (folder / PROMPTS).exists() else {}
    if not isinstance(listed, dict):
        raise UserError(f'{folder / PROMPTS}: wanted {{"file": "prompt", ...}}')
    listed |= dict(zip(names, prompts, strict=True))
    write_whole(folder / PROMPTS, json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
    for name, video in zip(names, videos, strict=True):
        if not (folder / name).exists():
            write_mp4(folder / name, video, fps, scale=scale)
    return [folder / name for name in names]
