"""`videojam JOB ...`: reads the command line, runs the job and ends by its exit status."""

import argparse
import contextlib
import errno
import faulthandler
import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator

from videojam_jax.cli import (
    bench,
    convert,
    evaluate,
    keys,
    plan,
    prepare,
    report,
    sample,
    train,
    vote,
)
from videojam_jax.cli.start import is_joined
from videojam_jax.errors import STOPPED, WRONG, MayPass, PeerLost, UserError, first_line, may_pass

# A job is a module: its docstring says what it is for, `words(parser)` adds the words it takes,
# and `run(arguments)` returns its exit status, None for 0.
JOBS = (prepare, train, sample, report, evaluate, vote, bench, plan, convert, keys)


def main(argv: list[str] | None = None) -> int:
    """Run one job; returns the exit status."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    # orbax tells of every save, and of every failure that we tell of, through absl's logger.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    _tell_stacks()
    try:
        with _stoppable():
            status = arguments.run(arguments) or 0
    except UserError as error:
        return _fail(arguments, str(error))
    except (PeerLost, MayPass) as error:
        return _fail(arguments, f"{error}; run the same command to go on", STOPPED)
    except OSError as error:
        if may_pass(error):
            return _fail(arguments, f"{_os_error(error)}; run the same command to go on", STOPPED)
        return _fail(arguments, _os_error(error))
    except KeyboardInterrupt:
        message = "stopped by a signal; what was finished is kept, run the same command to go on"
        return _fail(arguments, message, STOPPED)
    except Exception as error:
        if not is_joined(arguments):
            raise
        traceback.print_exc()
        return _fail(arguments, f"{type(error).__name__}: {error}", 1)
    if is_joined(arguments):
        _leave(arguments)
    return status


def _tell_stacks() -> None:
    """On a crash of a library, and on SIGUSR1, where every thread stands goes to stderr."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # a stream that is no file
        faulthandler.enable(sys.__stderr__)
        faulthandler.register(signal.SIGUSR1, sys.__stderr__)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise KeyboardInterrupt; `train` has its own way.

    So does a SIGINT that was ignored by whoever started this in the background.
    """
    stop = signal.default_int_handler
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parse(argv: list[str]) -> argparse.Namespace:
    """The job and its words, and the whole as `command`.

    `overrides` are those that start with `--config.`, key and value.
    """
    parser = argparse.ArgumentParser(
        prog="videojam",
        description="Train, sample and judge video models that learn appearance and motion.",
        allow_abbrev=False,
    )
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    for job in JOBS:
        name, about = job.__name__.rpartition(".")[2], job.__doc__
        words = jobs.add_parser(name, help=about, description=about, allow_abbrev=False)
        words.set_defaults(run=job.run, launch=None)
        job.words(words)
    arguments, rest = parser.parse_known_args(argv)
    arguments.command = shlex.join(["videojam", *argv])
    arguments.overrides = {}
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            jobs.choices[arguments.job].error(f"unknown argument {word}")
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                parser.error(f"{word} needs a value: {word}=VALUE")
            value = rest.pop(0)
        arguments.overrides[key] = value
    return arguments


def _leave(arguments) -> None:
    """The good end of one of several processes: together with the others."""
    from videojam_jax.parallel import distributed

    try:
        distributed.leave()
    except RuntimeError as error:
        what = f"another process was lost at the very end ({first_line(error)})"
        _fail(arguments, f"{what}; run the same command to see that all is done", STOPPED)


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; free some space and run the same command to go on"
    return f"{where}{error.strerror or error}"


def _fail(arguments, message: str, status: int = WRONG) -> int:
    """Says what went wrong; one of several processes ends here, without waiting for them."""
    # The log may be on the disk that is full.
    with contextlib.suppress(OSError):
        print(f"videojam: error: {message}", file=sys.stderr)
    if is_joined(arguments):
        from videojam_jax.parallel import distributed

        distributed.abandon(arguments.launch, status)
    return status
