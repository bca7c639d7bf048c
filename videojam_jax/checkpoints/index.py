"""The index of weights that are split over several files, as Hugging Face keeps it."""

import json
from pathlib import Path, PureWindowsPath

from videojam_jax.errors import UserError, first_line


def read_index(path: Path) -> dict[str, Path]:
    """The file of each tensor, by an index `*.index.json`; all of them are there.

    An index comes with weights from anywhere. Its files are in its own folder or below: any other
    name would have a file opened that whoever asked for these weights did not name. (The files
    themselves may be links, as in a cache of downloads.)

    Raises:
      UserError: it is no index, names a file outside of its folder, or one that is missing.
    """
    try:
        places = dict(json.loads(path.read_bytes())["weight_map"])
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not an index of files of weights, whose \"weight_map\" tells each tensor's "
            f"file ({type(error).__name__}: {first_line(error)})"
        ) from error
    for name in names:
        if not isinstance(name, str) or not _is_below(name):
            raise UserError(
                f"{path}: its part {name!r} is no file in {path.parent} or below, where the parts "
                "of split weights are; download them again from a place that you trust"
            )
        if not (path.parent / name).is_file():
            raise UserError(f"{path}: its part {name} is missing")
    return {tensor: path.parent / name for tensor, name in places.items()}


def _is_below(name: str) -> bool:
    # As Windows reads it, which knows every way there is to write a path.
    there = PureWindowsPath(name)
    return bool(there.parts) and not there.anchor and ".." not in there.parts
