"""Where the paths of a run's config lead."""

import os
from pathlib import Path


def beside(path: str, workdir: Path) -> Path:
    """A path in a config, where a relative one starts at the run's workdir."""
    return Path(os.path.normpath(workdir / path))
