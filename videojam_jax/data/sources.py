"""Where clips come from: a folder of videos, the built-in simulation, a TFDS data set
(`tfds_source`).

A source has `len(source)`, `source[i] -> Clip` (random access, thread safe, may raise
BadClip), `source.set_aside` (what listing found unusable: {"source", "reason"}) and
`source.describe()` (for the manifest). It gives the same clips in the same order on
every run, and it can be pickled.
"""

import bisect
import dataclasses
import functools
import itertools
import os
from pathlib import Path

import numpy as np

from videojam_jax.data import fit
from videojam_jax.data.captions import read_captions
from videojam_jax.data.clip import BadClip, Clip, ClipSpec, checked, clips_in, stride, too_short
from videojam_jax.data.onward import Onward
from videojam_jax.data.probes import probe_all
from videojam_jax.data.simulate import Options, Scenery, SimulatedOptions, simulate
from videojam_jax.data.video_file import read_video
from videojam_jax.data.video_timing import VideoError, VideoInfo
from videojam_jax.errors import MayPass, UserError, may_pass
from videojam_jax.keys import REQUIRED, config_key, entries

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")

@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """`config.source` of the name folder."""

    path: str = config_key(REQUIRED, "a folder of videos with captions")


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

    def __init__(self, path: str | os.PathLike, spec: ClipSpec, **shared):
        """List the folder, read its captions and probe every file, in threads.

        Args:
          shared: how several processes share what was probed, as `probe_all` takes it.

        Raises:
          UserError: there is no such folder, or nothing in it can be used.
          MayPass: the disk or the network does not give a file for now.
        """
        self._root, self._spec = Path(path), spec
        self._onward = Onward(stride(spec) / spec.fps)
        fit.crop_position(spec, "")
        if not self._root.is_dir():
            what = "is not a folder" if self._root.exists() else "there is no such folder"
            raise UserError(f"{path}: {what}; a folder of video files is wanted")
        videos, texts, self.set_aside = _walk(self._root)
        if not videos:
            raise UserError(_empty_message(self._root, self.set_aside))
        captions = read_captions(self._root, videos, texts)
        self.set_aside += captions.problems
        probed = probe_all(self._root, videos, **shared)
        self._files = []
        unusable = []
        for name, info in zip(videos, probed, strict=True):
            reason = info
            if isinstance(info, VideoInfo):
                frames = info.samples(spec.fps)
                short = too_short(frames, spec) if frames < spec.frames else None
                reason = short or captions.unusable.get(name)
            if reason is not None:
                unusable.append({"source": name, "reason": reason})
                continue
            clips = clips_in(frames, spec)
            self._files.append(_File(name, captions.by_file.get(name, ""), info, clips))
        self.set_aside = sorted(self.set_aside + unusable, key=lambda one: one["source"])
        if not self._files:
            first = "; ".join(f"{one['source']}: {one['reason']}" for one in unusable[:3])
            raise UserError(
                f"{path}: none of its {len(videos)} video files can be used ({first}"
                f"{'; ...' if len(unusable) > 3 else ''})"
            )
        self._ends = list(itertools.accumulate(file.clips for file in self._files))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Clip:
        """Clip number `index`.

        Raises:
          BadClip: its part of the file cannot be decoded.
        """
        index = checked(index, len(self))
        number = bisect.bisect_right(self._ends, index)
        file = self._files[number]
        part = index - (self._ends[number - 1] if number else 0)
        spec, source_id = self._spec, f"{file.name}#{part}"
        position = fit.crop_position(spec, source_id)
        times = (part * stride(spec) + np.arange(spec.frames)) / spec.fps
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
                opened=self._onward.opened_at,
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
        index = checked(index, self._count)
        clip = simulate(index, self._options, self._seed)
        source_id = f"simulated:{self._seed}:{index}"
        return Clip(clip.video, clip.caption, source_id, clip.fps, clip.flow)

    def describe(self) -> dict:
        options = dataclasses.asdict(self._options)
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
        return {"name": "simulated", "clips": self._count, "seed": self._seed, "options": options}


def _walk(root: Path) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """The videos, the text files, and what cannot be listed; names sorted, with slashes."""
    videos, texts, aside = [], [], []

    def unreadable(error: OSError) -> None:
        if may_pass(error):
            raise MayPass(f"{error.filename} cannot be read: {error.strerror}") from error
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
