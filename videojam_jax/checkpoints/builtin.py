"""Runs of ours that come with the package: `builtin:NAME` in the place of a run's folder."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videojam_jax.checkpoints.exported import FILE, sha256
from videojam_jax.errors import UserError
from videojam_jax.keys import BUILTIN

# A folder for each, see its README.md.
ROOM = Path(__file__).resolve().parents[1] / "weights"


def names() -> list[str]:
    """The names there are."""
    return sorted(path.parent.name for path in ROOM.glob(f"*/{FILE}"))


def run_folder(path: str | Path) -> Path:
    """A run's folder, where `builtin:NAME` is one that comes with the package.

    Raises:
      UserError: none of this name does; it tells those that do, and the nearest.
    """
    if not is_builtin(path):
        return Path(path)
    name, known = str(path).removeprefix(BUILTIN), names()
    if name in known:
        return ROOM / name
    near = difflib.get_close_matches(name, known, n=1)
    raise UserError(
        f"{path}: no weights of this name come with the package; there are: "
        f"{', '.join(known) or 'none'}" + (f"; did you mean {BUILTIN}{near[0]}?" if near else "")
    )


def is_builtin(path: str | Path) -> bool:
    """Whether a path is not one, but `builtin:NAME`."""
    return str(path).startswith(BUILTIN)


def in_package(folder: Path) -> bool:
    """Whether a folder is one of the package's, however it was named: nothing is written there."""
    return folder.resolve().is_relative_to(ROOM)


def by_bits(settings: Any) -> Any:
    """A tree of settings that tells each `builtin:NAME` in it by its bits.

    The same weights have the same words wherever and under whatever name the package has them,
    and another version of them has others.
    """
    if isinstance(settings, Mapping):
        return {key: by_bits(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [by_bits(value) for value in settings]
    if isinstance(settings, str) and is_builtin(settings):
        return f"{BUILTIN}sha256:{sha256(run_folder(settings) / FILE)}"
    return settings
