"""What a checkpoint is, in words."""

from collections.abc import Mapping
from typing import Any

from videojam_jax.convert.weights import CONVERTED


def said(architecture: Mapping[str, Any]) -> str:
    """The kind of model that an architecture is of."""
    about = architecture.get(CONVERTED)
    if about:
        return f"{about['kind']}: {described(about['options'])}"
    if "tae" in architecture:
        return "a temporal autoencoder"
    return "VideoJAM" if architecture.get("model", {}).get("motion") else "a base model"


def described(options: Mapping[str, Any]) -> str:
    """What fixes a module, but for long lists."""
    short = {key: value for key, value in options.items() if not isinstance(value, (list, tuple))}
    return ", ".join(f"{key} {value}" for key, value in short.items() if value is not None)
