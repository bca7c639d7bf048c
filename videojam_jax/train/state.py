"""The whole position of a run: `(step, params, ema_params, opt_state)`."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from videojam_jax.parallel.parameters import abstract_params, create_params


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint holds: arrays, or their shapes in an abstract state.

    `step` counts finished updates, an int32 scalar.
    """

    step: Any
    params: Any
    ema_params: Any
    opt_state: Any


def abstract_state(
    init: Callable[[jax.Array], Any], optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The state's shapes, dtypes and shardings, before any array exists.

    Args:
      init: `init(key) -> params`, with flax's boxes of logical axis names.
    """
    return abstract_params(lambda key: _fresh(init(key), optimizer), mesh)


def create_state(
    init: Callable[[jax.Array], Any],
    optimizer: optax.GradientTransformation,
    abstract: TrainState,
    seed: int,
) -> TrainState:
    """A fresh state, born sharded: no host ever holds the whole of it."""
    return create_params(lambda key: _fresh(init(key), optimizer), abstract, seed)


def state_from_params(
    params: Any, optimizer: optax.GradientTransformation, abstract: TrainState
) -> TrainState:
    """A state at step 0 that starts from the given parameters (fine-tuning)."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract)
    return jax.jit(lambda p: _fresh(p, optimizer), out_shardings=shardings)(params)


def _fresh(params, optimizer) -> TrainState:
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy: the step donates the state, and two names for one buffer
        # cannot both be given away.
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )
