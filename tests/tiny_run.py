"""A run that takes seconds: `python tests/tiny_run.py ...` is `videojam ...` made tiny."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = [
    "--config.source.clips=24",
    "--config.clip.height=16",
    "--config.clip.width=16",
    "--config.clip.frames=4",
    "--config.prepare.clips_per_shard=16",
    "--config.model.patch=(1,2,2)",
    "--config.model.trunk.blocks=1",
    "--config.model.trunk.width=16",
    "--config.model.trunk.ffn=32",
    "--config.model.trunk.heads=2",
    "--config.text.width=8",
    "--config.text.blocks=0",
    "--config.text.heads=2",
    "--config.train.batch_size=8",
    "--config.train.log_every=5",
    "--config.train.keep=10",
    "--config.optimizer.decay_steps=0",  # the rate must not know the number of steps
    "--config.mesh.data=1",
    "--config.sample.steps=4",
    "--config.sample.inner_steps=2",
    "--config.sample.emulate=8",
    "--config.sample.batch_size=2",
]
CONFIG = str(ROOT / "configs" / "quickstart.py")


def environment() -> dict[str, str]:
    """One device in the child, so that runs are alike whatever the tests' mesh is."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    return {**os.environ, **flags, "PYTHONPATH": str(ROOT)}


def command(job: str, *arguments: str, variant: str = "base") -> list[str]:
    given = ["--config", f"{CONFIG}:{variant}"] if job in ("prepare", "train") else []
    tiny = TINY if given else []
    return [sys.executable, "-m", "videojam_jax.cli", job, *given, *tiny, *map(str, arguments)]


def run(job: str, *arguments: str, variant: str = "base") -> subprocess.CompletedProcess:
    """The job in a process of its own."""
    return subprocess.run(
        command(job, *arguments, variant=variant),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def here(*arguments: str) -> tuple[int, str]:
    """`videojam ARGUMENTS` in this process: its exit status and what it printed."""
    import jax

    from videojam_jax.cli import main

    out = io.StringIO()
    guard = jax.config.jax_transfer_guard
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse
            status = exit_.code
        finally:  # a job forbids implicit transfers for its whole process
            jax.config.update("jax_transfer_guard", guard)
    return status, out.getvalue()
