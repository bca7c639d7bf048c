"""The jitted training step of a config: what `train` runs, `bench` times and `plan` compiles."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling, training
from videojam_jax.config.loading import is_autoencoder
from videojam_jax.config.training import OptimizerOptions
from videojam_jax.errors import UserError
from videojam_jax.keys import make
from videojam_jax.parallel.batch import check_batch
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated
from videojam_jax.text import Text
from videojam_jax.train.optimizer import make_optimizer
from videojam_jax.train.step import make_step


def optimizer_of(config: FrozenConfigDict) -> optax.GradientTransformation:
    """The config's optimizer; UserError for Muon where there are no matrices for it."""
    if is_autoencoder(config) and config.optimizer.rule == "muon":
        raise UserError(
            "config.optimizer.rule = 'muon': its matrices are those of a trunk's blocks, which an "
            "autoencoder has none of; use adamw"
        )
    return make_optimizer(optimizer_options(config))


def optimizer_options(config: FrozenConfigDict) -> OptimizerOptions:
    return make(
        OptimizerOptions,
        config.optimizer,
        total_steps=config.train.steps,
        joint=not is_autoencoder(config) and config.model.motion,
        skip_bad_steps=config.train.skip_bad_steps > 0,
    )


def training_mesh(config: FrozenConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The config's mesh; UserError when the model or the batch does not divide over it."""
    if is_autoencoder(config):
        for axis, size in config.mesh.items():
            if axis != "data" and size != 1:
                raise UserError(
                    f"config.mesh.{axis} = {size}: an autoencoder's parameters are not divided, each "
                    "device has a whole copy; set it to 1, and config.mesh.data to -1"
                )
        mesh = make_mesh(config.mesh.to_dict(), devices)
        check_batch(mesh, config.train.batch_size)
        return mesh
    mesh = modelling.mesh(config, devices)
    check_batch(mesh, config.train.batch_size, config.train.accumulate)
    return mesh


def jitted_step(config: FrozenConfigDict, mesh: Mesh) -> Callable:
    """`step(state, batch, null) -> (state, metrics)`, jitted for a mesh.

    The state it is given is given away. `batch` is as `abstract_batch` says, `null` as
    `abstract_null`.
    """
    module = modelling.model(config, platform=mesh.devices.flat[0].platform)
    step = make_step(
        lambda params, *args: module.apply({"params": params}, *args),
        optimizer_of(config),
        training.loss_options(config),
        seed=config.seed,
        ema_decay=config.optimizer.ema_decay,
        accumulate=config.train.accumulate,
    )
    return jax.jit(partitioned(mesh, step), donate_argnums=0)


def abstract_batch(config: FrozenConfigDict, mesh: Mesh) -> dict[str, Any]:
    """Shapes, dtypes and shardings of the loader's global batch, before any array exists."""
    size, sharding = config.train.batch_size, batch_sharding(mesh)
    latent = jax.ShapeDtypeStruct(
        (size, *modelling.latent_shape(config)), jnp.bfloat16, sharding=sharding
    )
    batch = {"video": latent, "text": _text(config, (size,), sharding)}
    return batch | ({"motion": latent} if config.model.motion else {})


def abstract_null(config: FrozenConfigDict, mesh: Mesh) -> Text:
    """The encoding of the empty caption, on every device."""
    return _text(config, (), replicated(mesh))


def parameter_count(params) -> int:
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def _text(config: FrozenConfigDict, rows: tuple[int, ...], sharding: NamedSharding) -> Text:
    """Of a batch of encoded captions, `rows` being `(b,)`; of one of them where it is `()`."""
    shape = *rows, sum(modelling.text_lengths(config))
    tokens = shape, np.int32
    if config.text.name != "bytes":
        tokens = (*shape, max(modelling.text_widths(config))), jnp.bfloat16
    return Text(
        jax.ShapeDtypeStruct(*tokens, sharding=sharding),
        jax.ShapeDtypeStruct(shape, np.bool_, sharding=sharding),
    )
