"""What a workdir keeps of every start of a run: when, where, by which command, code and libraries."""

import datetime
import json
import os
import socket
import subprocess
from pathlib import Path

from videojam_jax.parallel import same

NAME = "starts.jsonl"


def keep_start(workdir: Path, step: int, processes: int, command: str) -> None:
    """Adds a line to `WORKDIR/starts.jsonl`: a run goes on from `step`. A warning where it cannot."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    row = {
        "time": now,
        "step": step,
        "command": command,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "processes": processes,
        "commit": commit(),
        "versions": same.versions(),
    }
    try:
        with (workdir / NAME).open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        print(f"warning: {workdir / NAME}: {error.strerror}", flush=True)


def commit() -> str:
    """Of the clone that this is run from, with "+" where files were changed; "" elsewhere."""
    here = Path(__file__)
    # An environment within somebody's own repository is not a clone of ours.
    if not _git(here.parent, "ls-files", here.name):
        return ""
    return _git(here.parent, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")


def _git(folder: Path, *words: str) -> str:
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
