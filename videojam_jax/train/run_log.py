"""What a run in training tells: a line an interval, metrics.jsonl, TensorBoard."""

import contextlib
import json
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from videojam_jax.files import keep_synced, write_whole

# What is told of a line's steps only where there is something to tell: a gradient of so many
# means, and a share of the time.
SPIKE = 3.0
WAITS = 0.02


class RunLog:
    """Scalars and clips of one run, on disk. Only process 0 makes one.

    Opened at `step`, it forgets whatever a killed run wrote after that step, so
    `metrics.jsonl` has each step once however often the run was resumed.
    """

    def __init__(self, workdir: Path, step: int):
        self._path = workdir / "metrics.jsonl"
        _keep_until(self._path, step)
        self._file = self._path.open("a")
        keep_synced(self._file)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        # A run does not end for a line that it could not write.
        try:
            now = round(time.time(), 3)
            self._file.write(json.dumps({"step": step, "time": now, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            print(f"warning: {self._path}: step {step} is not in it ({error.strerror})", flush=True)
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


def describe(step: int, steps: int, values: dict[str, float], seconds_left: float) -> str:
    """The line of one logging interval, with the time of day."""
    parts = [time.strftime("%H:%M:%S"), f"step {step}/{steps}", f"loss {values['loss']:.4f}"]
    if "motion_loss" in values:
        parts.append(
            f"(appearance {values['appearance_loss']:.4f}, motion {values['motion_loss']:.4f})"
        )
    if "psnr" in values:
        flow = f", flow clips {values['psnr_flow']:.2f}" if "psnr_flow" in values else ""
        parts.append(f"(PSNR {values['psnr']:.2f}{flow} dB)")
    longest = values.get("grad_norm_max", 0.0)
    spike = f" (at most {longest:.3g})" if longest > SPIKE * values["grad_norm"] else ""
    parts.append(f"grad {values['grad_norm']:.3f}{spike}")
    if values.get("skipped"):
        parts.append(f"{values['skipped']:.0f} steps left out")
    if "learning_rate" in values:
        parts.append(f"rate {values['learning_rate']:.2e}")
    parts.append(f"{values['steps_per_second']:.2f} steps/s")
    for unit in ("tokens", "frames"):
        if f"{unit}_per_second_per_device" in values:
            parts.append(f"{values[f'{unit}_per_second_per_device']:,.0f} {unit}/s/device")
    if "mfu" in values:
        parts.append(f"MFU {values['mfu']:.1%}")
    if values.get("data_wait", 0.0) > WAITS:
        slowest = f", most in process {values['slowest_process']:.0f}" if "slowest_lag" in values else ""
        parts.append(f"waits for data {values['data_wait']:.0%}{slowest}")
    if "device_memory_gb" in values:
        parts.append(f"memory {values['device_memory_gb']:.1f} GB")
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
