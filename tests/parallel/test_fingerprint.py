"""What `tests/config/test_frozen.py` asks of weights' fingerprints is asked of this function there."""

import jax.numpy as jnp

from videojam_jax.parallel.fingerprint import fingerprint


def test_fingerprints_stay_what_prepared_folders_hold():
    first = jnp.arange(12, dtype=jnp.float32).reshape(2, 2, 3)
    layers = [first, jnp.arange(3, dtype=jnp.bfloat16), 2 * first]
    assert fingerprint(layers) == "5f0b160b63e91f1e"
