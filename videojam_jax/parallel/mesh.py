"""One mesh for every machine; a single device is a mesh too."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from videojam_jax.errors import UserError
from videojam_jax.keys import config_key


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """The devices along each axis, `config.mesh`; one of them may be -1, "all that is left"."""

    data: int = config_key(
        -1, "devices that hold whole copies of the parameters", minimum=-1
    )
    fsdp: int = config_key(1, "devices that share one copy of the parameters", minimum=-1)
    context: int = config_key(1, "devices that share one clip's tokens", minimum=-1)
    tensor: int = config_key(1, "devices that share one layer's heads", minimum=-1)


AXES = tuple(field.name for field in dataclasses.fields(MeshOptions))


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


def make_mesh(sizes: Mapping[str, int], devices: Sequence | None = None) -> Mesh:
    """A mesh over all devices (or the given ones), every axis left to the compiler.

    The axis type is Auto on purpose: XLA's SPMD partitioner propagates shardings
    from the parameters and the batch; explicit axes would put a sharding into
    the type of every intermediate array of every model.

    Within a slice the devices are laid out along the wires of the machine. Several
    slices, which only the data centre's network connects, are told apart by the `data`
    axis alone: UserError when it cannot be divided by their number.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(sizes, len(devices))
    axis_types = (AxisType.Auto,) * len(AXES)
    slices = slice_count(devices)
    if slices == 1:
        return jax.make_mesh(shape, AXES, axis_types=axis_types, devices=devices)
    data, *inside = shape
    if data % slices:
        raise UserError(
            f"config.mesh.data = {data} is not a multiple of the {slices} slices; only copies of "
            f"the parameters (data) are spread over slices, so set config.mesh.data={slices} and "
            f"let the other axes make {len(devices) // slices}, the devices of one slice"
        )
    grid = mesh_utils.create_hybrid_device_mesh(
        (data // slices, *inside),
        (slices, 1, 1, 1),
        devices=devices,
        allow_split_physical_axes=True,  # as jax.make_mesh does
    )
    return Mesh(grid, AXES, axis_types=axis_types)


def slice_count(devices: Sequence) -> int:
    """How many TPU slices the devices belong to; 1 on every other machine."""
    return len({slice_of(device) for device in devices})


def slice_of(device) -> int:
    """Number of the TPU slice that a device belongs to; 0 where there are none."""
    return getattr(device, "slice_index", None) or 0


def check_model(mesh: Mesh, *, heads: int, tokens: int) -> None:
    """UserError when a trunk's heads or a clip's tokens do not divide over the mesh."""
    context, tensor = mesh.shape["context"], mesh.shape["tensor"]
    if heads % (context * tensor):
        raise UserError(
            f"config.model.trunk.heads = {heads} does not divide over mesh context x tensor = "
            f"{context} x {tensor}; their product may be {_divisors(heads)}"
        )
    if tokens % context:
        raise UserError(
            f"a clip's {tokens:,} tokens do not divide over config.mesh.context = {context}; "
            f"it may be {_divisors(tokens)}"
        )


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, 64) + 1) if number % n == 0)
