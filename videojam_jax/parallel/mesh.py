"""One mesh for every machine; a single device is a mesh too."""

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh

from videojam_jax.errors import UserError

AXES = ("data", "fsdp", "context", "tensor")


def mesh_shape(sizes: Mapping[str, int], device_count: int) -> tuple[int, ...]:
    """The size of each of `AXES`; one of them may be -1, "all that is left".

    >>> mesh_shape({"data": -1, "fsdp": 4, "context": 1, "tensor": 1}, 8)
    (2, 4, 1, 1)
    """
    shape = [sizes.get(axis, 1) for axis in AXES]
    written = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, shape, strict=True))
    if shape.count(-1) > 1:
        raise UserError(f"mesh ({written}): at most one axis may be -1")
    rest = math.prod(size for size in shape if size != -1)
    if -1 in shape:
        if device_count % rest:
            raise UserError(
                f"mesh ({written}): the given axes make {rest}, which does not divide "
                f"{device_count} devices"
            )
        shape[shape.index(-1)] = device_count // rest
    elif rest != device_count:
        raise UserError(
            f"mesh ({written}) makes {rest} devices, but there are {device_count}: "
            "set one axis to -1 to take all that is left"
        )
    return tuple(shape)


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices (or the given ones), every axis left to the compiler.

    The axis type is Auto on purpose: XLA's SPMD partitioner propagates shardings
    from the parameters and the batch; explicit axes would put a sharding into
    the type of every intermediate array of every model.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh(
        mesh_shape(sizes, len(devices)),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
        devices=devices,
    )
