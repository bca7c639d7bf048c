"""What a workdir keeps of every start of a run: when, where, by which command, code and libraries."""

import datetime
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from pathlib import Path

NAME = "starts.jsonl"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


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
        "versions": versions(),
    }
    try:
        with (workdir / NAME).open("a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        print(f"warning: {workdir / NAME}: {error.strerror}", flush=True)


def versions() -> dict[str, str]:
    """Of Python, of this package and of the libraries that a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("videojam_jax", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a clone
            continue
    return found


def commit() -> str:
    """Of the clone that the package is run from, with "+" where files were changed; "" elsewhere."""
    folder = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()
