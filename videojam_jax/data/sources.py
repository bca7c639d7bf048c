"""Where clips come from: a folder of videos, a TFDS data set, the built-in simulation.

A source has `len(source)`, `source[i] -> Clip` (random access, thread safe, may raise
BadClip), `source.set_aside` (what listing found unusable: {"source", "reason"}) and
`source.describe()` (for the manifest). It gives the same clips in the same order on
every run, and it can be pickled.
"""

import bisect
import concurrent.futures
import dataclasses
import functools
import itertools
import os
import re
from pathlib import Path

import numpy as np

from videojam_jax.data import fit
from videojam_jax.data.captions import read_captions
from videojam_jax.data.clip import BadClip, Clip, ClipSpec
from videojam_jax.data.simulate import Options, Scenery, SimulatedOptions, simulate
from videojam_jax.data.video_file import read_video
from videojam_jax.data.video_timing import VideoError, VideoInfo, probe
from videojam_jax.errors import UserError
from videojam_jax.keys import REQUIRED, config_key, entries

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")

# The features a TFDS data set may hold its caption in; the first that is there is taken.
CAPTION_KEYS = ("caption", "text", "captions", "description")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """`config.source` of the name folder."""

    path: str = config_key(REQUIRED, "a folder of videos with captions")


@dataclasses.dataclass(frozen=True)
class TfdsOptions:
    """`config.source` of the name tfds."""

    dataset: str = config_key(REQUIRED, "NAME/CONFIG:SPLIT of a prepared TFDS data set")
    data_dir: str = config_key("", "where TFDS keeps it; empty: TFDS's default")


@dataclasses.dataclass(frozen=True)
class _File:
    name: str
    caption: str
    info: VideoInfo
    clips: int


class Folder:
    """The clips of all mp4, mov, mkv, webm, avi and gif files below a folder.

    Names that begin with a dot are passed over, links are followed. Of a file's video
    streams the one with the most frames is taken. It is cut into clips of `spec.frames`
    frames at `spec.fps`, `spec.stride` frames apart, from its first frame on; clip k of a
    file is "sub/name.mp4#k". A file without a caption has the empty one. Captions: see
    `captions`.
    """

    def __init__(self, path: str | os.PathLike, spec: ClipSpec):
        """List the folder, read its captions and probe every file once, in threads.

        Raises:
          UserError: there is no such folder, or nothing in it can be used.
        """
        self._root, self._spec = Path(path), spec
        fit.crop_position(spec, "")
        if not self._root.is_dir():
            what = "is not a folder" if self._root.exists() else "there is no such folder"
            raise UserError(f"{path}: {what}; a folder of video files is wanted")
        videos, texts, self.set_aside = _walk(self._root)
        if not videos:
            raise UserError(_empty_message(self._root, self.set_aside))
        captions = read_captions(self._root, videos, texts)
        self.set_aside += captions.problems
        with concurrent.futures.ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1))) as pool:
            probed = list(pool.map(self._probe, videos))
        self._files = []
        unusable = []
        for name, info in zip(videos, probed, strict=True):
            reason = info if isinstance(info, str) else captions.unusable.get(name)
            if reason is not None:
                unusable.append({"source": name, "reason": reason})
                continue
            clips = _clips_in(info.samples(spec.fps), spec)
            self._files.append(_File(name, captions.by_file.get(name, ""), info, clips))
        self.set_aside = sorted(self.set_aside + unusable, key=lambda one: one["source"])
        if not self._files:
            first = "; ".join(f"{one['source']}: {one['reason']}" for one in unusable[:3])
            raise UserError(
                f"{path}: none of its {len(videos)} video files can be used ({first}"
                f"{'; ...' if len(unusable) > 3 else ''})"
            )
        self._ends = list(itertools.accumulate(file.clips for file in self._files))

    def _probe(self, name: str) -> VideoInfo | str:
        """The file's timing, or why it cannot be used."""
        try:
            info = probe(self._root / name)
        except VideoError as error:
            return str(error)
        frames = info.samples(self._spec.fps)
        if frames < self._spec.frames:
            return _too_short(frames, self._spec)
        return info

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Clip:
        """Clip number `index`.

        Raises:
          BadClip: its part of the file cannot be decoded.
        """
        index = _checked(index, len(self))
        number = bisect.bisect_right(self._ends, index)
        file = self._files[number]
        part = index - (self._ends[number - 1] if number else 0)
        spec, source_id = self._spec, f"{file.name}#{part}"
        position = fit.crop_position(spec, source_id)
        times = (part * _stride(spec) + np.arange(spec.frames)) / spec.fps
        cover = functools.partial(
            fit.cover, height=spec.height, width=spec.width, position=position
        )
        try:
            video = read_video(
                self._root / file.name,
                times,
                info=file.info,
                fit=cover,
                at_least=(spec.height, spec.width),
            )
        except VideoError as error:
            raise BadClip(source_id, str(error)) from error
        return Clip(video, file.caption, source_id, spec.fps)

    def describe(self) -> dict:
        """Counts; `files` are those in use, `without_caption` those of them without one."""
        return {
            "name": f"folder:{self._root}",
            "files": len(self._files),
            "clips": len(self),
            "without_caption": sum(not file.caption for file in self._files),
            "set_aside": len(self.set_aside),
        }


class Simulated:
    """Clips of the built-in simulation, with exact flow; see `simulate`."""

    def __init__(self, wanted: SimulatedOptions, spec: ClipSpec):
        """Clips are drawn at the wanted size, so `spec.stride` and `spec.crop` do nothing.

        Raises:
          UserError: a size that `simulate.Options` refuses.
        """
        self._count, self._seed = wanted.clips, wanted.seed
        scenery = {name: getattr(wanted, name) for name in entries(Scenery)}
        self._options = Options(
            **scenery, frames=spec.frames, height=spec.height, width=spec.width, fps=spec.fps
        )
        self.set_aside: list[dict[str, str]] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Clip:
        index = _checked(index, self._count)
        clip = simulate(index, self._options, self._seed)
        source_id = f"simulated:{self._seed}:{index}"
        return Clip(clip.video, clip.caption, source_id, clip.fps, clip.flow)

    def describe(self) -> dict:
        options = dataclasses.asdict(self._options)
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
        return {"name": "simulated", "clips": self._count, "seed": self._seed, "options": options}


class Tfds:
    """A TFDS data set that has a `video` feature, read without TensorFlow.

    The name is as TFDS writes it, with the split behind a colon:
    "videojam_physics/tiny:train" (train when left out), "name/config:1.0.0:train[:80%]".
    The data set must lie prepared as ArrayRecord files. Features used:

    - `video`: uint8 `[t, h, w, c]`, c = 1, 3 or 4 (over black). Where every example has
      the same number of frames they are cut into clips as `spec` says; where the
      number varies, each example gives the clip at its beginning.
    - `caption`, `text`, `captions` or `description`: text, or several (the first counts).
    - `fps`: frames a second; without it the video is taken to have `spec.fps`. The first
      example's rate decides how many clips an example is cut into.
    - `flow`: float32 `[t - 1, h, w, 2]`, kept only where neither size nor rate change.

    Clip k of example i is "tfds:NAME:i#k".
    """

    def __init__(self, name: str, spec: ClipSpec, data_dir: str | os.PathLike | None = None):
        """Open the data set; `data_dir` defaults to TFDS's own.

        Raises:
          UserError: the name or split is unknown, the data set is not prepared or
            not readable here, it has no video, or its clips are too short.
        """
        builder_name, split = _split_name(name)
        fit.crop_position(spec, "")
        self._name, self._spec = name, spec
        self._data, features = _open_tfds(builder_name, split, data_dir)
        self.set_aside: list[dict[str, str]] = []
        if "video" not in features or len(features["video"].shape) != 4:
            names = ", ".join(sorted(features))
            raise UserError(f"tfds:{name} has no feature `video` of frames; it has {names}")
        if not len(self._data):
            raise UserError(f"tfds:{name} holds no examples")
        self._caption_key = next((key for key in CAPTION_KEYS if key in features), None)
        self._clips = 1
        length = features["video"].shape[0]
        if length is not None:
            frames = len(self._times(length, self._rate(self._data[0])))
            self._clips = _clips_in(frames, spec)
            if not self._clips:
                raise UserError(f"tfds:{name}: {_too_short(frames, spec)}")

    def __len__(self) -> int:
        return len(self._data) * self._clips

    def __getitem__(self, index: int) -> Clip:
        """Clip number `index`.

        Raises:
          BadClip: the example's video is too short or its caption no UTF-8.
        """
        example_number, part = divmod(_checked(index, len(self)), self._clips)
        spec, source_id = self._spec, f"tfds:{self._name}:{example_number}#{part}"
        example = self._data[example_number]
        video, rate = example["video"], self._rate(example)
        times = self._times(len(video), rate)
        first = part * _stride(spec)
        if len(times) < first + spec.frames:
            raise BadClip(source_id, _too_short(len(times), spec))
        taken = times[first : first + spec.frames]
        position = fit.crop_position(spec, source_id)
        frames = [fit.cover(_rgb(video[i]), spec.height, spec.width, position) for i in taken]
        try:
            caption = self._caption(example)
        except UnicodeDecodeError as error:
            raise BadClip(source_id, "its caption is not UTF-8") from error
        flow = example.get("flow")
        if flow is not None:
            same = video.shape[1:3] == (spec.height, spec.width) and rate == spec.fps
            flow = flow[first : first + spec.frames - 1] if same else None
        return Clip(np.stack(frames), caption, source_id, spec.fps, flow)

    def describe(self) -> dict:
        return {
            "name": f"tfds:{self._name}",
            "examples": len(self._data),
            "clips": len(self),
            "caption_key": self._caption_key,
        }

    def _rate(self, example) -> float:
        rate = float(example.get("fps", self._spec.fps))
        # A rate stored as float32 is meant to be the same.
        return self._spec.fps if np.isclose(rate, self._spec.fps, rtol=1e-5) else rate

    def _times(self, length: int, rate: float) -> np.ndarray:
        """The frame shown at each time i / spec.fps, for `length` frames at `rate`."""
        count = int(np.ceil(length * self._spec.fps / rate - 1e-6))
        return np.floor(np.arange(count) * rate / self._spec.fps + 1e-6).astype(int)

    def _caption(self, example) -> str:
        caption = example[self._caption_key] if self._caption_key else ""
        if isinstance(caption, (list, tuple, np.ndarray)):
            caption = caption[0] if len(caption) else ""
        text = caption.decode("utf-8") if isinstance(caption, bytes) else str(caption)
        return " ".join(text.split())


def _split_name(name: str) -> tuple[str, str]:
    """ "a/b:1.0.0:train" -> ("a/b:1.0.0", "train")."""
    match = re.fullmatch(r"(?P<builder>[^:]+(?::\d+\.\d+\.\d+)?)(?::(?P<split>[^:].*))?", name)
    if match is None:
        raise UserError(f'"{name}" is no TFDS name; write "name/config:split"')
    return match["builder"], match["split"] or "train"


def _open_tfds(name: str, split: str, data_dir: str | os.PathLike | None):
    """The examples of a prepared split, by number, and the data set's features."""
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    try:
        # Here, since it takes a second that only this source is worth.
        import tensorflow_datasets as tfds

        from videojam_jax.data import tfds_physics  # noqa: F401 registers its builder
    except ImportError as error:
        raise UserError(f"tfds:{name} needs a package that is missing: {error}") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        features = builder.info.features
        if features is None or not builder.is_prepared():
            raise UserError(_prepare_message(name, data_dir))
        return builder.as_data_source(split=split), features
    except ImportError as error:
        # Some features, tfds.features.Video among them, are TensorFlow's own.
        raise UserError(
            f"tfds:{name} cannot be read here: {error}; a data set whose features need "
            "TensorFlow needs `pip install tensorflow`"
        ) from error
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{name} is not stored as ArrayRecord, which random access needs; "
            f"prepare it again. {_prepare_message(name, data_dir)}"
        ) from error
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, OSError) as error:
        raise UserError(f"tfds:{name}: {str(error).splitlines()[0]}") from error


def _prepare_message(name: str, data_dir: str | None) -> str:
    where = f", data_dir={str(data_dir)!r}" if data_dir else ""
    return (
        f"tfds:{name} is not prepared{f' in {data_dir}' if data_dir else ''}; to prepare it: "
        'python -c "import tensorflow_datasets as tfds, videojam_jax.data.tfds_physics; '
        f"tfds.builder('{name}'{where}, file_format='array_record').download_and_prepare()\""
    )


def _rgb(frame: np.ndarray) -> np.ndarray:
    if frame.shape[-1] == 1:
        return np.repeat(frame, 3, axis=-1)
    if frame.shape[-1] == 4:
        alpha = frame[..., 3:].astype(np.uint16)
        return ((frame[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return frame


def _checked(index: int, length: int) -> int:
    if not 0 <= index < length:
        raise IndexError(f"clip {index} of {length}")
    return int(index)


def _stride(spec: ClipSpec) -> int:
    return spec.stride or spec.frames


def _clips_in(frames: int, spec: ClipSpec) -> int:
    """How many clips `frames` frames are cut into."""
    return max(0, (frames - spec.frames) // _stride(spec) + 1)


def _too_short(frames: int, spec: ClipSpec) -> str:
    return (
        f"too short: {frames} frames at {spec.fps:g} frames a second "
        f"({frames / spec.fps:.2f} s), a clip has {spec.frames} ({spec.frames / spec.fps:.2f} s)"
    )


def _walk(root: Path) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """The videos, the text files, and what cannot be listed; names sorted, with slashes."""
    videos, texts, aside = [], [], []

    def unreadable(error: OSError) -> None:
        name = Path(error.filename).relative_to(root).as_posix()
        aside.append({"source": _printable(name), "reason": f"cannot be read: {error.strerror}"})

    seen = set()
    for folder, below, files in os.walk(root, onerror=unreadable, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link back up, or to a sibling
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        for file in files:
            name = (Path(folder).relative_to(root) / file).as_posix()
            suffix = os.path.splitext(file)[1].lower()
            if file.startswith(".") or suffix not in (*SUFFIXES, ".txt"):
                continue
            if _printable(name) != name:
                aside.append({"source": _printable(name), "reason": "its name is not UTF-8"})
            else:
                (texts if suffix == ".txt" else videos).append(name)
    return sorted(videos), sorted(texts), aside


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _empty_message(root: Path, aside: list[dict[str, str]]) -> str:
    first = f" ({aside[0]['source']}: {aside[0]['reason']})" if aside else ""
    kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
    return f"{root}: the folder holds no video files ({kinds}), at any depth{first}"
