"""Parameters that are born sharded: their shapes first, then each part on its own device."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from videojam_jax.parallel.rules import tree_shardings
from videojam_jax.randomness import key_for


def abstract_params(init: Callable[[jax.Array], Any], mesh: Mesh) -> Any:
    """Shapes, dtypes and shardings of what `init` makes, before any array exists.

    Args:
      init: `init(key) -> params` (or more), with flax's boxes of logical axis names.
    """
    boxed = jax.eval_shape(init, jax.eval_shape(lambda: key_for("parameters", 0)))
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        nn.unbox(boxed),
        tree_shardings(mesh, boxed),
    )


def create_params(init: Callable[[jax.Array], Any], abstract: Any, seed: int) -> Any:
    """Fresh parameters, laid out as `abstract` says: no host ever holds the whole of them."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract)

    def make():
        return nn.unbox(init(key_for("parameters", seed)))

    return jax.jit(make, out_shardings=shardings)()
