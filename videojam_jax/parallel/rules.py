"""Which logical axis lies on which mesh axis: one table.

Models name the axes of their parameters; nothing else in the package names a
mesh axis. A parameter axis that the mesh axis does not divide stays whole.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# A sequence is divided along its tokens everywhere but inside attention, where every
# head needs all tokens: there the heads are divided instead (an all-to-all each way).
RULES: dict[str, str | tuple[str, ...] | None] = {
    # activations: [batch, tokens, features], and inside attention [batch, tokens, heads, ...]
    "batch": ("data", "fsdp"),
    "tokens": "context",
    "features": None,
    "mlp_features": "tensor",
    "attention_tokens": None,
    "attention_heads": ("context", "tensor"),
    # parameters: also over the devices that share one clip, which all need them whole anyway
    "width": ("fsdp", "context"),
    "width_out": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "vocabulary": None,
    "norm": None,
    "layers": None,
}


def parameter_sharding(
    mesh: Mesh, names: tuple[str | None, ...], shape: tuple[int, ...]
) -> NamedSharding:
    """The sharding of one parameter from the logical names of its axes."""
    spec = []
    for name, size in zip(names, shape, strict=True):
        axes = RULES[name] if name is not None else None
        divides = axes is not None and size % _parts(mesh, axes) == 0
        spec.append(axes if divides else None)
    return NamedSharding(mesh, PartitionSpec(*spec))


def tree_shardings(mesh: Mesh, abstract_tree):
    """A sharding for every leaf of a tree whose parameters carry logical names.

    `abstract_tree` comes from `jax.eval_shape` and may hold flax's boxes (leaves
    without one, a step counter say, are replicated). The result has the
    structure of the unboxed tree.
    """

    def leaf(x):
        if isinstance(x, nn.LogicallyPartitioned):
            if isinstance(x.value, optax.MaskedNode):
                return x.value  # not this part of the optimizer's: nothing to place
            return parameter_sharding(mesh, x.names, x.value.shape)
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree.map(
        leaf, abstract_tree, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
    )


def partitioned(mesh: Mesh, function: Callable) -> Callable:
    """`function`, to be jitted, with the table in force while it is traced.

    Inside, `models.partition` maps logical axes to those of `mesh`; outside of it (a model
    applied alone) such constraints are left out.
    """

    @functools.wraps(function)
    def traced(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh), nn.logical_axis_rules(
            tuple(RULES.items())
        ):
            return function(*args)

    return traced


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Examples are divided over the data-like axes; every other axis is whole."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))


def batch_parts(mesh: Mesh) -> int:
    """Into how many parts a batch is divided."""
    return _parts(mesh, RULES["batch"])


def _parts(mesh: Mesh, axes: str | tuple[str, ...]) -> int:
    return math.prod(mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
