"""What of a config all processes of a run have alike."""

from typing import Any

from ml_collections import FrozenConfigDict

from videojam_jax import keys
from videojam_jax.config.loading import is_autoencoder
from videojam_jax.config.schema import AutoencoderConfig, Config
from videojam_jax.differences import flat


def shared(config: FrozenConfigDict) -> dict[str, Any]:
    """Every key of a run's config but those of a machine (`keys.HOST`), dotted, as JSON has it."""
    section = AutoencoderConfig if is_autoencoder(config) else Config
    own = flat(keys.tagged(section, config, keys.HOST))
    # What a section is called comes with its keys, but is no machine's own.
    own = {name for name in own if not name.endswith(".name")}
    return {
        f"config.{name}": value
        for name, value in flat(keys.jsonable(config.to_dict())).items()
        if name not in own
    }
