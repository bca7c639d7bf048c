"""One run at a time in a folder.

Who works in a folder keeps `running.json` there: its host, its process, since when, and a
count that grows every BEAT_SECONDS. What a killed run left of it holds nobody up for long:

    it was of this machine     the kernel knows whether that process lives: known at once
    of another machine,        the file is watched. It counts as left behind when it has not
    another container, or      changed for SILENT_SECONDS; as kept by a living run when it still
    it cannot be told          changes after GRACE_SECONDS, in which a run that is being stopped
                               may end

The file system's own locks are not asked: a mounted bucket has none between machines, and a
network file system may keep those of a host that is gone. Changes are counted on the clock of
who watches, so the clocks of two machines need not agree.

Should two runs take a folder in the same moment, or should one wake that was suspended for so
long that another took its place, then one of them sees the other's name in the file within
BEAT_SECONDS and ends at once, before it writes anything else.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from videojam_jax.errors import STOPPED, WRONG, UserError
from videojam_jax.files import write_whole

NAME = "running.json"
BEAT_SECONDS = 10.0
# The first look at whether another took the folder in the same moment.
SETTLE_SECONDS = 1.0
# Network file systems and mounted buckets may show what was there up to a minute ago.
SILENT_SECONDS = 90.0
# Kubernetes and the notice of a spot VM leave a run 30 seconds to save and end.
GRACE_SECONDS = 45.0
POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who works in a folder, as its `running.json` says.

    Attributes:
      host, pid: where.
      since: when it took the folder, on its own clock.
      machine: tells apart machines, their restarts and containers; "" where it is not known.
      started: when the process began, in the kernel's ticks; 0 where it is not known.
      turn: one more than that of the run whose place it took.
      token: drawn at random, to tell it from every other.
      beat: counts the signs of life.
    """

    host: str
    pid: int
    since: str
    machine: str
    started: int
    turn: int
    token: str
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def gives_way_to(self, other: "Holder") -> bool:
        """Of two that both took a folder, one does so; each of them finds the same one."""
        return (self.turn, self.token) < (other.turn, other.token)


@contextlib.contextmanager
def alone(
    folders: Sequence[Path], tell: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Within, no other run works in these folders; they are made if missing.

    Args:
      folders: all of them are taken, or none.
      tell: is given a line before the wait for a run of another machine.

    Raises:
      UserError: another run works in one of them.
    """
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    turns = _wait_until_free([folder / NAME for folder in folders], tell)
    taken = _Taken(turns)
    try:
        taken.begin()
        yield
    finally:
        taken.end()


def _wait_until_free(paths: Sequence[Path], tell: Callable[[str], None]) -> dict[Path, int]:
    """For each file, which turn it is to take it."""
    began, told = time.monotonic(), False
    seen: dict[Path, tuple[bytes, float]] = {}
    while True:
        now, turns, watched = time.monotonic(), {}, []
        for path in paths:
            content, holder = _read(path)
            turns[path] = holder.turn + 1 if holder else 1
            living = _lives(holder) if holder else None
            if living:
                raise UserError(_refusal(path, holder))
            if content is None or living is False:
                continue
            before, since = seen.get(path, (None, now))
            if content != before:
                if before is not None and now - began >= GRACE_SECONDS:
                    raise UserError(_refusal(path, holder))
                seen[path] = content, now
            if now - since < SILENT_SECONDS or content != before:
                watched.append((path, holder))
        if not watched:
            return turns
        if not told:
            told, (path, holder) = True, watched[0]
            tell(
                f"{path.parent}: {holder or 'an unknown run'} has worked here; whether it still "
                f"does will be known in at most {GRACE_SECONDS + SILENT_SECONDS:.0f} seconds"
            )
        time.sleep(POLL_SECONDS)


def _refusal(path: Path, holder: Holder | None) -> str:
    return (
        f"{path.parent}: another run is at work here: {holder or f'{path} still changes'}; wait "
        "until it has ended or stop it, or choose another --workdir"
    )


class _Taken:
    """Folders that are this run's, with the thread that keeps saying so."""

    def __init__(self, turns: dict[Path, int]):
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        pid = os.getpid()
        self._mine = {
            path: Holder(
                socket.gethostname(), pid, now, _machine(), _started(pid) or 0, turn,
                secrets.token_hex(8),
            )
            for path, turn in turns.items()
        }  # fmt: skip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="signs of life", daemon=True)

    def begin(self) -> None:
        for path, holder in self._mine.items():
            _write(path, holder)
        self._thread.start()

    def end(self) -> None:
        """Gives the folders back, as far as they are this run's."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(BEAT_SECONDS)  # a file system may hang
        for path, mine in self._mine.items():
            with contextlib.suppress(OSError):
                _, there = _read(path)
                if there and there.token == mine.token:
                    path.unlink()

    def _keep(self) -> None:
        wait = SETTLE_SECONDS
        while not self._ended.wait(wait):
            wait = BEAT_SECONDS
            for path in self._mine:
                # A disk that is full, or away for a moment: the next sign may come through.
                with contextlib.suppress(OSError, UserError):
                    self._beat(path)

    def _beat(self, path: Path) -> None:
        mine = self._mine[path]
        content, there = _read(path)
        if self._ended.is_set():
            return
        if content is None:
            # Another may have come and gone since, and what it wrote must stay.
            _end_at_once(f"{path} is gone, which this run kept there; run the same command to go "
                         "on", STOPPED)  # fmt: skip
        if there and there.token != mine.token and mine.gives_way_to(there):
            _end_at_once(
                f"{path.parent}: another run has taken the place of this one: {there}", WRONG
            )
        self._mine[path] = dataclasses.replace(mine, beat=mine.beat + 1)
        _write(path, self._mine[path])


def _end_at_once(message: str, status: int) -> None:
    """Ends the process from its thread: whatever else it writes would be in another's way."""
    with contextlib.suppress(OSError):
        print(f"videojam: error: {message}", file=sys.stderr, flush=True)
    os._exit(status)


def _write(path: Path, holder: Holder) -> None:
    write_whole(path, json.dumps(dataclasses.asdict(holder), indent=1) + "\n")


def _read(path: Path) -> tuple[bytes | None, Holder | None]:
    """The file's bytes and what they say: None, None where there is none.

    The second is None where they say nothing that can be understood.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, None
    try:
        holder = Holder(**json.loads(content))
        kinds = {field.name: field.type for field in dataclasses.fields(Holder)}
        understood = all(type(getattr(holder, name)) is kind for name, kind in kinds.items())
    except (ValueError, TypeError):
        understood = False
    return content, holder if understood else None


def _lives(holder: Holder) -> bool | None:
    """Whether its process lives; None where this machine cannot tell."""
    if not holder.machine or not holder.started or holder.machine != _machine():
        return None
    started = _started(holder.pid)
    if started is not None:
        return started == holder.started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return None  # it is another user's, of which the kernel tells no more


def _machine() -> str:
    """Tells this machine since its start, and this container on it, from others; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # no Linux


def _started(pid: int) -> int | None:
    """When a process of this machine began; 0 if it has ended, None where nothing is to be seen.

    A number of a process is given again; the moment it began is not.
    """
    try:
        # The name before, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
