"""What one of several processes prints: to its own streams, and with the time to a log of its own."""

import contextlib
import datetime
import os
import platform
import socket
import sys
from pathlib import Path
from typing import TextIO

from videojam_jax.files import keep_synced
from videojam_jax.parallel.launch import Launch
from videojam_jax.parallel.packages import installed

VERSIONS = ("videojam_jax", "jax", "jaxlib", "libtpu", "orbax-checkpoint")


def log_process(workdir: Path, launch: Launch, job: str, command: str) -> None:
    """From here on, what this process prints goes to `WORKDIR/logs/JOB_NNNNN.log` as well.

    Each line there has the time of day, on this machine's clock; one that begins with `---` says
    who starts. What a library in C++ says is in the process's own streams alone. Nothing changes
    for a run of one process.
    """
    if launch.processes == 1:
        return
    folder = workdir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{job}_{launch.process:05}.log").open("a", buffering=1, encoding="utf-8")
    keep_synced(file)
    where = f", meeting at {launch.coordinator}" if launch.coordinator else ""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError):  # as of any line
        file.write(
            f"--- {now} process {launch.process} of {launch.processes} on {socket.gethostname()}, "
            f"pid {os.getpid()} (found by: {launch.how}{where}): {command} ({_versions()})\n"
        )
    sys.stdout, sys.stderr = _Both(sys.stdout, file), _Both(sys.stderr, file)


def _versions() -> str:
    said = {"Python": platform.python_version(), **installed(VERSIONS)}
    return ", ".join(f"{name} {version}" for name, version in said.items())


class _Both:
    """A stream that writes to a terminal and, a whole line at a time, to a file."""

    def __init__(self, terminal: TextIO, file: TextIO):
        self._terminal, self._file, self._begun = terminal, file, ""

    def write(self, text: str) -> int:
        # First: what was seen is in the log, whatever comes next. A run does not end for it.
        *lines, self._begun = (self._begun + text).split("\n")
        self._log(lines)
        return self._terminal.write(text)

    def flush(self) -> None:
        if self._begun:
            self._log([self._begun])
            self._begun = ""
        self._terminal.flush()

    def _log(self, lines: list[str]) -> None:
        now = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
        with contextlib.suppress(OSError):
            self._file.writelines(f"{now} {line}\n" for line in lines)

    def isatty(self) -> bool:
        return False  # a bar that moves is nothing for a file

    def __getattr__(self, name: str):
        return getattr(self._terminal, name)
