"""A small model like the large ones, for tests of `plan`: precomputed latents and text."""

import math

import jax

from videojam_jax.config import loading, modelling
from videojam_jax.plan import parameters
from videojam_jax.plan.collectives import collectives
from videojam_jax.plan.plan import arguments, training_state
from videojam_jax.train.program import jitted_step

TREE = {
    "clip": {"frames": 16, "height": 128, "width": 128, "fps": 8.0},
    "autoencoder": {"name": "precomputed", "compression": (8, 8, 8), "channels": 16},
    "text": {"name": "precomputed", "max_length": 24, "width": 160},
    "model": {
        "motion": True,
        "trunk": {"blocks": 3, "width": 256, "ffn": 768, "heads": 8},
        "dtype": "bfloat16",
        "remat": "full",
    },
    "optimizer": {"learning_rate": 1e-4},
    "train": {"dataset": "data", "steps": 10, "batch_size": 16},
    "sample": {"steps": 4, "emulate": 8, "inner_share": 0.5},
    "mesh": {"data": 1},
}
TOKENS = 2 * 8 * 8  # of a clip


def config(**changes):
    """The config; `mesh__fsdp=8` changes `mesh.fsdp`, and `text={...}` the whole section."""
    tree = {name: dict(section) for name, section in TREE.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree[section] = {**tree[section], name: value} if name else value
    return loading.resolve(tree)


def step_collectives(**mesh):
    """Those of the real training step, compiled for 8 simulated devices."""
    small = config(**{f"mesh__{axis}": size for axis, size in mesh.items()})
    on = modelling.mesh(small, jax.devices()[:8])
    given = arguments(small, on)
    text = jitted_step(small, on).lower(*given).compile().as_text()
    return collectives(text, on.shape, parameters.shapes(given[0].params))


def block_matrices() -> dict[str, tuple[int, ...]]:
    """Shapes of the blocks' matrices, of one layer each, by their paths."""
    small = config()
    state = training_state(small, modelling.mesh(small, jax.devices()[:1]))
    return {
        path: shape[1:]
        for path, shape in parameters.shapes(state.params).items()
        if path.startswith("trunk/blocks/") and math.prod(shape[1:]) > 10_000
    }
