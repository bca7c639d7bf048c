"""What `probe` says of every video of a folder: each asked once by all processes, and kept.

    KEPT/00003.json     of videos 192 to 255, by name: size, time of change, and what `probe`
                        said: the fields of a `VideoInfo`, or why the file cannot be used

A process begins with the parts of its own share and writes each when it is done. Then it goes
through those of the others, takes what they wrote and probes what they did not, from the end
backwards, since they come from the front. So nobody waits, whoever of them runs or ends.
"""

import concurrent.futures
import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import av

from videojam_jax.data.video_timing import VideoError, VideoInfo, probe
from videojam_jax.errors import MayPass, caused, may_pass, of_system
from videojam_jax.files import write_whole

_TOGETHER = 64  # videos in one part
_VERSION = f"1, av {av.__version__}"  # another may read what this one does not

Probed = VideoInfo | str  # or why the file cannot be used


def probe_all(
    root: Path,
    names: Sequence[str],
    kept: Path | None = None,
    process: int = 0,
    processes: int = 1,
) -> list[Probed]:
    """What `probe` says of each video, in threads.

    Args:
      names: of the videos below `root`, in the same order in every process.
      kept: a folder of what was said before and by the other processes, taken of files whose
        size and time of change are the same; None: all are asked anew.
      process, processes: this one's number among those that share `kept`.

    Raises:
      MayPass: the disk or the network does not give a file for now.
      UserError, MayPass: nothing can be written to `kept`.
    """
    parts = [names[i : i + _TOGETHER] for i in range(0, len(names), _TOGETHER)]
    shares = [range((process + n) % processes, len(parts), processes) for n in range(processes)]
    found: dict[str, Probed] = {}
    with concurrent.futures.ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1))) as pool:
        for part in [*shares[0], *(part for share in shares[1:] for part in reversed(share))]:
            file = None if kept is None else kept / f"{part:05d}.json"
            found |= _of_part(root, parts[part], file, pool.map)
    return [found[name] for name in names]


def _of_part(root: Path, names: Sequence[str], file: Path | None, run: Callable) -> dict:
    before = {} if file is None else _read(file)
    # Before they are probed: what changes meanwhile is asked again the next time.
    states = dict.fromkeys(names)
    if file is not None:
        states |= zip(names, run(lambda name: _state(root / name), names), strict=True)
    found = {name: _known(before.get(name), states[name]) for name in names}
    left = [name for name in names if found[name] is None]
    answers = dict(zip(left, run(lambda name: _probe(root / name), left), strict=True))
    sure = {name for name, (_, is_sure) in answers.items() if is_sure and states[name]}
    found |= {name: said for name, (said, _) in answers.items()}
    if sure:
        keep = [name for name in names if name not in answers or name in sure]
        _write(file, {name: [*states[name], _as_json(found[name])] for name in keep})
    return found


def _probe(path: Path) -> tuple[Probed, bool]:
    """What there is to say, and whether the same will be said until the file changes."""
    try:
        return probe(path), True
    except VideoError as error:
        return str(error), not of_system(error)


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None where there is no such file, or none that may be read."""
    try:
        status = path.stat()
    except OSError as error:
        if may_pass(error):
            raise MayPass(f"{path} cannot be read: {error.strerror}") from error
        return None
    return status.st_size, status.st_mtime_ns


def _known(entry: list | None, state: tuple[int, int] | None) -> Probed | None:
    if entry is None or tuple(entry[:2]) != state:
        return None
    return VideoInfo(**entry[2]) if isinstance(entry[2], dict) else entry[2]


def _as_json(probed: Probed) -> dict | str:
    return probed if isinstance(probed, str) else dataclasses.asdict(probed)


def _read(file: Path) -> dict[str, list]:
    """What is kept in it; nothing of a file that is missing, damaged or another version's."""
    try:
        checksum, version, kept = json.loads(file.read_bytes())
        is_whole = checksum == _checksum(kept)
    except OSError as error:
        if may_pass(error):
            raise MayPass(f"{file} cannot be read: {error.strerror}") from error
        return {}
    except (ValueError, TypeError, RecursionError):
        return {}
    return kept if is_whole and version == _VERSION else {}


def _write(file: Path, kept: dict[str, list]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise caused(f"cannot make the folder {file.parent}: {error.strerror}", error) from error
    write_whole(file, json.dumps([_checksum(kept), _VERSION, kept]))


def _checksum(kept: dict) -> int:
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())
