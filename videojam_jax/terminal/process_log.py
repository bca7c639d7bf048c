"""What one of several processes prints: to a log of its own, and of process 0 to the terminal."""

import contextlib
import datetime
import os
import socket
import sys
from pathlib import Path
from typing import TextIO

from videojam_jax.parallel.launch import Launch


def log_process(workdir: Path, launch: Launch) -> TextIO | None:
    """From here on, what this process prints goes to `WORKDIR/logs/process_NNNNN.log`.

    Process 0 prints to the terminal as well. What the libraries of any other process say
    goes to its log too. Nothing changes for a run of one process.

    Returns:
      The terminal's error stream, for the last words of a process other than 0; else None.
    """
    if launch.processes == 1:
        return None
    folder = workdir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"process_{launch.process:05}.log").open("a", buffering=1, encoding="utf-8")
    where = f", meeting at {launch.coordinator}" if launch.coordinator else ""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    file.write(
        f"--- {now} process {launch.process} of {launch.processes} on {socket.gethostname()}, "
        f"pid {os.getpid()} (found by: {launch.how}{where})\n"
    )
    if launch.process == 0:
        sys.stdout, sys.stderr = _Both(sys.stdout, file), _Both(sys.stderr, file)
        return None
    terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file.fileno(), stream.fileno())
        stream.reconfigure(line_buffering=True)
    sys.stdout, sys.stderr = _Both(None, sys.stdout), _Both(None, sys.stderr)
    return terminal


class _Both:
    """A stream that writes to a file and, where there is one, to a terminal."""

    def __init__(self, terminal: TextIO | None, file: TextIO):
        self._terminal, self._file = terminal, file

    def write(self, text: str) -> int:
        # First: what was seen is in the log, whatever comes next. A run does not end for it.
        with contextlib.suppress(OSError):
            self._file.write(text)
        return self._terminal.write(text) if self._terminal else len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()
        if self._terminal:
            self._terminal.flush()

    def isatty(self) -> bool:
        return False  # a bar that moves is nothing for a file

    def __getattr__(self, name: str):
        return getattr(self._terminal or self._file, name)
