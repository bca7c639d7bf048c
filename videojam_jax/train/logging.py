"""What a person sees of a run: a line an interval, metrics.jsonl, TensorBoard, a log a process."""

import contextlib
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from videojam_jax.files import write_whole
from videojam_jax.parallel.launch import Launch


class RunLog:
    """Scalars and clips of one run, on disk. Only process 0 makes one.

    Opened at `step`, it forgets whatever a killed run wrote after that step, so
    `metrics.jsonl` has each step once however often the run was resumed.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        _keep_until(self._path, step)
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        """A clip for TensorBoard's image page, which plays GIFs."""
        image = Summary.Image(
            height=shape[0], width=shape[1], colorspace=3, encoded_image_string=gif
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._board.file_writer.add_summary(summary, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


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
    folder.mkdir(exist_ok=True)
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
    return terminal


class _Both:
    """A stream that writes to a terminal and to a file."""

    def __init__(self, terminal: TextIO, file: TextIO):
        self._terminal, self._file = terminal, file

    def write(self, text: str) -> int:
        self._file.write(text)  # first: what was seen is in the log, whatever comes next
        return self._terminal.write(text)

    def flush(self) -> None:
        self._file.flush()
        self._terminal.flush()

    def isatty(self) -> bool:
        return False  # a bar that moves is nothing for a file

    def __getattr__(self, name: str):
        return getattr(self._terminal, name)


@contextlib.contextmanager
def progress(total: int, done: int, unit: str) -> Iterator:
    """`with progress(...) as tell: tell(done, line)`; `line` is printed when not None.

    A bar with the time left on a terminal; elsewhere the lines alone.
    """
    if not sys.stdout.isatty():
        yield lambda done, line=None: print(line, flush=True) if line else None
        return
    columns = (
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(), transient=True) as bar:
        task = bar.add_task(unit, total=total, completed=done)

        def tell(done, line=None):
            bar.update(task, completed=done)
            if line:
                bar.console.print(line, highlight=False, soft_wrap=True)

        yield tell


def describe(step: int, steps: int, values: dict[str, float], seconds_left: float) -> str:
    """The line of one logging interval."""
    parts = [f"step {step}/{steps}", f"loss {values['loss']:.4f}"]
    if "motion_loss" in values:
        parts.append(
            f"(appearance {values['appearance_loss']:.4f}, motion {values['motion_loss']:.4f})"
        )
    if "psnr" in values:
        flow = f", flow clips {values['psnr_flow']:.2f}" if "psnr_flow" in values else ""
        parts.append(f"(PSNR {values['psnr']:.2f}{flow} dB)")
    parts.append(f"grad {values['grad_norm']:.3f}")
    parts.append(f"{values['steps_per_second']:.2f} steps/s")
    for unit in ("tokens", "frames"):
        if f"{unit}_per_second_per_device" in values:
            parts.append(f"{values[f'{unit}_per_second_per_device']:,.0f} {unit}/s/device")
    if "mfu" in values:
        parts.append(f"MFU {values['mfu']:.1%}")
    minutes, seconds = divmod(int(seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    parts.append(f"ETA {hours}:{minutes:02}:{seconds:02}")
    return "  ".join(parts)


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        # A killed writer may leave its last line torn, and a disk may damage any.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
    write_whole(path, b"".join(kept))


def finite(values: dict[str, float]) -> bool:
    return all(np.isfinite(value) for value in values.values())
