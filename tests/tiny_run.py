"""A run that takes seconds: `python tests/tiny_run.py ...` is `videojam ...` made tiny."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from unittest import mock

import forked

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
    "--config.sample.inner_share=0.5",
    "--config.sample.emulate=8",
    "--config.sample.batch_size=2",
]
CLI = [sys.executable, "-m", "videojam_jax.cli"]
CONFIG = str(ROOT / "configs" / "quickstart.py")
# The same for the runs of an experiment.
TINY_EXPERIMENT = [
    *(word.replace("--config.", "--config.change.", 1) for word in TINY),
    "--config.change.train.steps=10",
    "--config.change.mesh.data=-1",  # all devices there are
    "--config.change.optimizer.learning_rate=1e-3",  # base and control share a compiled step
    "--config.clips=10",
    "--config.shown=2",
    "--config.seeds=(0,)",
    *(f"--config.runs.{kind}=../quickstart.py:{kind}" for kind in ("base", "control", "videojam")),
]


def experiment(name: str, size: str = "tiny") -> list[str]:
    return ["evaluate", "--config", str(ROOT / "configs" / "experiments" / f"{name}.py:{size}")]


def environment(devices: int = 1) -> dict[str, str]:
    """One device in the child, so that runs are alike whatever the tests' mesh is."""
    count = f"--xla_force_host_platform_device_count={devices}"  # the last one counts
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()}
    return {**os.environ, **flags, "PYTHONPATH": str(ROOT)}


def words(job: str, *arguments: str, variant: str = "base") -> list[str]:
    """What follows `videojam` on the command line."""
    given = ["--config", f"{CONFIG}:{variant}"] if job in ("prepare", "train") else []
    tiny = TINY if given else []
    return [job, *given, *tiny, *map(str, arguments)]


def command(job: str, *arguments: str, variant: str = "base") -> list[str]:
    return [*CLI, *words(job, *arguments, variant=variant)]


def command_after(program: str, command: list[str]) -> list[str]:
    """A command of `videojam`, in whose process a program of Python is run first."""
    main = "\nimport sys\nfrom videojam_jax.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    return [sys.executable, "-c", program + main, *command[len(CLI) :]]


def start(command: list[str], devices: int = 1, **variables: str) -> subprocess.Popen:
    """The process of a command, its stdout and stderr one pipe."""
    return forked.start(command, {**environment(devices), **variables})


def run(command: list[str], timeout: float = 240) -> tuple[int, str]:
    """The exit status of a command's process, and what it printed."""
    return ends([start(command)], timeout)[0]


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("", 0))
        return any_port.getsockname()[1]


def start_together(
    count: int, command: list[str], devices: int = 1, **variables: str
) -> list[subprocess.Popen]:
    """`count` processes of one run, as launch/local_processes.sh starts them."""
    place = {"VIDEOJAM_COORDINATOR": f"localhost:{free_port()}", "VIDEOJAM_PROCESSES": str(count)}
    return [
        start(command, devices, **{**place, "VIDEOJAM_PROCESS": str(number), **variables})
        for number in range(count)
    ]


def ends(processes: list[subprocess.Popen], timeout: float = 240) -> list[tuple[int, str]]:
    """The exit status of each, and what it said after what was read already."""
    said = {}

    def read(process):
        said[process] = process.stdout.read()

    readers = [threading.Thread(target=read, args=[process]) for process in processes]
    for reader in readers:
        reader.start()
    try:
        deadline = time.monotonic() + timeout
        statuses = [process.wait(max(0.0, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
        for reader in readers:
            reader.join()
    return [(status, said[process]) for status, process in zip(statuses, processes, strict=True)]


def leaves(workdir: pathlib.Path, step: int) -> dict:
    """Every array of a checkpoint by its path, read without the package."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    folder = (workdir / "checkpoints" / str(step)).absolute()
    found = {}
    reader = ocp.PyTreeCheckpointer()
    for item in ("params", "ema_params", "rest"):
        # As NumPy's: the devices that wrote it may be more than there are here.
        known = reader.metadata(folder / item).item_metadata.tree
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), known)
        tree = reader.restore(folder / item, args=ocp.args.PyTreeRestore(restore_args=kinds))
        for path, array in jax.tree_util.tree_flatten_with_path(tree)[0]:
            found[(item, *map(str, path))] = np.asarray(array)
    return found


def read_until(process: subprocess.Popen, pattern: str) -> str:
    """What a process said up to the first line that has the pattern."""
    seen = ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"the run ended before {pattern!r} was printed:\n{seen}")


def killed_after(step: int, command: list[str], workdir: pathlib.Path) -> None:
    """Starts a training, kills it without warning once its checkpoint of a step is whole.

    Its steps are quick: what else was saved in that moment is taken away.
    """
    process = start(command)
    read_until(process, rf"step {step}/")
    while not (workdir / "checkpoints" / str(step)).exists():
        assert process.stdout.readline(), "the run ended before its checkpoint was there"
    process.kill()
    ends([process])
    for later in (workdir / "checkpoints").iterdir():
        if later.name.isdigit() and int(later.name) > step:
            shutil.rmtree(later)


def here(*arguments: str) -> tuple[int, str]:
    """`videojam ARGUMENTS` in this process: its exit status and what it printed."""
    import jax

    from videojam_jax.cli.main import main

    out = io.StringIO()
    guard = jax.config.jax_transfer_guard
    told = contextlib.redirect_stdout(out), contextlib.redirect_stderr(out)
    # `plan` sets what its process is to see of devices.
    with told[0], told[1], mock.patch.dict(os.environ):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse
            status = exit_.code
        finally:  # a job forbids implicit transfers for its whole process
            jax.config.update("jax_transfer_guard", guard)
    return status, out.getvalue()


def here_alone(*arguments: str) -> tuple[int, str]:
    """`here` on a machine of one device: its programs are the quickest to compile."""
    import jax

    first = jax.devices()[:1]
    with mock.patch.multiple(
        jax, devices=lambda: first, local_devices=lambda: first, device_count=lambda: 1
    ):
        return here(*arguments)
