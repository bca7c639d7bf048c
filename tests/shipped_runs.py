"""Small finished runs of random weights, and the folders that `videojam convert` makes of them."""

import functools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tiny_run
import tiny_tae

from videojam_jax.checkpoints.write import save_params
from videojam_jax.config import autoencoding, loading, modelling
from videojam_jax.convert.job import convert
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.train import checkpoint
from videojam_jax.train.program import optimizer_of
from videojam_jax.train.state import TrainState, abstract_state

STEP = 7
LATENT = {"shift": [0.1 * n for n in range(4)], "scale": [1 / 3] * 4, "clips": 4}


@functools.cache
def config(variant: str, **keys: str):
    tiny = dict(word.removeprefix("--config.").split("=") for word in tiny_run.TINY)
    return loading.load(f"{tiny_run.CONFIG}:{variant}", tiny | keys)


@functools.cache  # a trace of the model
def abstract(config, devices: int = 1):
    mesh = make_mesh({"fsdp": devices}, jax.devices()[:devices])
    return abstract_state(modelling.init(config), optimizer_of(config), mesh)


def random(tree, seed: int = 0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), nn.unbox(tree))


def base(workdir: pathlib.Path, **keys: str):
    """A run of a base with a checkpoint of step 7; its averaged parameters."""
    made = config("base", **keys)
    average = random(abstract(made).params)
    params = jax.tree.map(jnp.asarray, random(average, seed=1))
    state = TrainState(jnp.int32(STEP), params, jax.tree.map(jnp.asarray, average), {})
    workdir.mkdir()
    with checkpoint.opened(workdir, keep=1) as manager:
        checkpoint.save(manager, state, modelling.architecture(made))
    (workdir / "config.json").write_text(loading.to_json(made))
    return average


def tae(workdir: pathlib.Path):
    """A run of a temporal autoencoder; its parameters."""
    made = loading.load(tiny_tae.CONFIG, tiny_tae.overrides())
    params = random(jax.eval_shape(autoencoding.init(made), jax.random.key(0)))
    save_params(workdir, params, autoencoding.architecture(made), LATENT)
    (workdir / "config.json").write_text(loading.to_json(made))
    return params


def exported(run: pathlib.Path, out: pathlib.Path, dtype: str | None = None) -> pathlib.Path:
    convert(run, out, dtype=dtype)
    return out
