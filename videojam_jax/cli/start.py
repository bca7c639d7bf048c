"""How a job starts: its place among other processes, its log, its folder, JAX."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from videojam_jax.errors import UserError, caused

Facts = Callable[[], Mapping[str, Any]]


def start(arguments, workdir: Path, facts: Facts, *, guard: bool = False) -> None:
    """Finds this process's place among others, opens its log, and joins them.

    Args:
      facts: gives what all of them have to have alike beside code and packages, by name; one
        process alone does not ask for it.

    Raises:
      UserError: in all of them, where they would not run the same.
    """
    launch = _place(arguments, workdir)
    _join(launch, facts, guard)


def start_apart(arguments, workdir: Path):
    """As `start`, for a job whose processes do not meet: the Launch."""
    from videojam_jax.parallel import distributed

    launch = _place(arguments, workdir)
    start_jax()
    distributed.take_device(launch)
    return launch


@contextlib.contextmanager
def start_alone(
    arguments, workdir: Path, facts: Facts, folders: Sequence[Path]
) -> Iterator[None]:
    """As `start`, for a job that no other run may meet in these folders while it lasts."""
    from videojam_jax import lock
    from videojam_jax.parallel import distributed

    launch, refusal = _place(arguments, workdir), ""
    with contextlib.ExitStack() as stack:
        # Before the processes meet: it may take a while to see that a killed run is dead.
        if launch.process == 0:
            try:
                stack.enter_context(lock.alone(folders, say))
            except UserError as error:
                if launch.processes == 1:
                    raise
                refusal = str(error)
        _join(launch, facts, guard=True)
        # All end by the same line, and none waits for a process that does not come.
        if launch.processes > 1 and (refusal := distributed.broadcast_text(refusal)):
            raise UserError(refusal)
        yield


def _place(arguments, workdir: Path):
    """This process's place among others, whose log it opens; the Launch."""
    from videojam_jax.parallel.launch import detect, tpu_vm_environ
    from videojam_jax.terminal.process_log import log_process

    arguments.launch = detect(
        {**tpu_vm_environ(), **os.environ},
        coordinator=arguments.coordinator,
        processes=arguments.processes,
        process=arguments.process,
    )
    log_process(workdir, arguments.launch, arguments.job, arguments.command)
    return arguments.launch


def _join(launch, facts: Facts, guard: bool) -> None:
    """Starts JAX and joins the other processes, as far as all run the same."""
    from videojam_jax.parallel import distributed, same

    start_jax(guard)
    distributed.start(launch)
    if launch.processes > 1:
        same.check({**same.code(), **facts()})


def is_joined(arguments) -> bool:
    """Whether this process is one of several that started together."""
    if arguments.launch is None:
        return False
    from videojam_jax.parallel import distributed

    return distributed.joined()


def start_jax(guard: bool = False) -> None:
    """Settings of the process, before any array: compiled programs are kept between runs.

    With `guard`, an accidental copy between host and device is an error, not a
    slowness found weeks later.
    """
    import jax

    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / "videojam_jax" / "xla"))
    if guard:
        jax.config.update("jax_transfer_guard", "disallow")


def workdir_at(path: str | Path) -> Path:
    """The folder, made if it is not there; UserError when nothing can be written to it."""
    from videojam_jax.checkpoints.builtin import is_builtin

    if is_builtin(path):
        raise UserError(f"{path}: nothing is written into the package; name another folder")
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise caused(f"{path}: cannot write there ({error.strerror})", error) from None
    return path


def say(line: str) -> None:
    print(line, flush=True)
