"""Files that stand whole under their name, or not at all.

What is written goes to a passing name in the same folder, is flushed to the disk and then
renamed. Whoever is killed in between leaves a hidden file `.NAME.XXXXXXXX.part`, which
nothing reads.
"""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from videojam_jax.errors import UserError, caused


def write_whole(path: str | os.PathLike, content: bytes | str, *, tag: str = "") -> Path:
    """Writes a file in one piece, text as UTF-8; one that was there stays until then.

    Several processes may write the same content at the same time. `tag` as in `passing_name`.

    Raises:
      UserError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    with passing_name(path, tag=tag) as passing, cannot_write(path), open(passing, "xb") as file:
        file.write(data)
    return path


@contextlib.contextmanager
def passing_name(path: Path, *, tag: str = "") -> Iterator[Path]:
    """A name beside `path` to write to; becomes `path` if nothing is raised, else goes.

    Args:
      tag: stands in the passing name, `.NAME.TAG.XXXXXXXX.part`, to tell whose it is.

    Raises:
      UserError: the disk does not take the file. What is raised within passes through.
    """
    # The random part keeps two writers, started by mistake, from mixing their bytes.
    name = [f".{path.name}", *([tag] if tag else []), secrets.token_hex(4), "part"]
    passing = path.with_name(".".join(name))
    try:
        yield passing
        with cannot_write(path):
            with passing.open("rb") as file:
                os.fsync(file.fileno())  # some file systems find out only now that they are full
            passing.replace(path)
    except BaseException:
        # The first trouble is the one to report.
        with contextlib.suppress(OSError):
            passing.unlink(missing_ok=True)
        raise


def keep_synced(file: IO, seconds: float = 30.0) -> None:
    """Until `file` is closed, what was flushed of it goes on to the disk every so often.

    A mounted bucket shows nothing of a file that is open, and a machine that is taken away takes
    along what it had not written.
    """

    def sync():
        before = -1
        while not file.closed:
            # A disk that is full, or away for a moment: the next time may come through. The file
            # may be closed meanwhile.
            with contextlib.suppress(OSError, ValueError):
                size = os.fstat(file.fileno()).st_size
                if size != before:
                    os.fsync(file.fileno())
                    before = size
            time.sleep(seconds)

    threading.Thread(target=sync, name=f"sync {file.name}", daemon=True).start()


@contextlib.contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """OSError within as UserError or MayPass that names the file which was to be written."""
    try:
        yield
    except FileNotFoundError as error:
        reason = "its temporary file went away while it was written; does another run work here?"
        if not path.parent.is_dir():
            reason = f"there is no folder {path.parent}"
        raise UserError(f"cannot write {path}: {reason}") from error
    except OSError as error:
        raise caused(f"cannot write {path}: {error.strerror or error}", error) from error
