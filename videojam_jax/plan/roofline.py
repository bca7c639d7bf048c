"""How long a step takes at best, and what it waits for."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from videojam_jax.parallel.mesh import slice_of
from videojam_jax.plan.chips import Device
from videojam_jax.plan.collectives import Collective
from videojam_jax.plan.flops import Product, total

# Of the arithmetic peak, what large bfloat16 products reach in a good program.
EFFICIENCY = 0.6


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step on each of what a device has; they run side by side at best.

    Attributes:
      arithmetic: all products at `EFFICIENCY` of the peak.
      memory: reading and writing HBM.
      network: sending, for each set of mesh axes (all of them share the links).
    """

    arithmetic: float
    memory: float
    network: Mapping[str, float]

    @property
    def at_best(self) -> float:
        """Everything at the same time: the longest decides."""
        return max(self.arithmetic, self.memory, sum(self.network.values()))

    @property
    def at_worst(self) -> float:
        """Nothing sent while something is computed."""
        return max(self.arithmetic, self.memory) + sum(self.network.values())

    @property
    def bound(self) -> str:
        times = {
            "arithmetic": self.arithmetic,
            "memory": self.memory,
            "network": sum(self.network.values()),
        }
        return max(times, key=times.get)


ASSUMPTIONS = (
    f"products run at {EFFICIENCY:.0%} of the chip's bfloat16 peak",
    (
        "HBM: each product reads its operands and writes its result once, weights whole on every "
        "device (but for `tensor`), and an update reads and writes the state once"
    ),
    (
        "a ring along a mesh axis uses both directions of the links of each torus dimension that "
        "the axis lies along"
    ),
    (
        "at best all of it overlaps, at worst nothing is sent while something is computed; the "
        "input pipeline, the host and waiting for each other are left out"
    ),
)


def roofline(
    counted: Sequence[Product],
    collectives: Sequence[Collective],
    state_bytes: float,
    device: Device,
    mesh: Mesh,
) -> Roofline:
    """Of one program on a mesh.

    Args:
      counted: its products, over all devices.
      state_bytes: of what is updated, on one device; 0 for a program that only reads.
    """
    devices = mesh.size
    weights = sum(one.weight_bytes for one in counted) / mesh.shape["tensor"]
    activations = sum(one.activation_bytes for one in counted) / devices
    sent: dict[tuple[str, ...], float] = collections.defaultdict(float)
    for one in collectives:
        sent[one.axes] += one.sent
    return Roofline(
        arithmetic=total(list(counted)) / (devices * device.flops * EFFICIENCY),
        memory=(weights + activations + 2 * state_bytes) / device.sheet.memory_bandwidth,
        network={
            " + ".join(axes): bytes_ / bandwidth(mesh, axes, device)
            for axes, bytes_ in sent.items()
        },
    )


def bandwidth(mesh: Mesh, axes: Sequence[str], device: Device) -> float:
    """Bytes a second that a device can send along mesh axes, or to other "slices".

    Inside a slice each dimension of the torus along which the axes' devices lie has two links.
    """
    if "slices" in axes:
        return device.sheet.network
    numbers = [mesh.axis_names.index(axis) for axis in axes]
    line = np.moveaxis(mesh.devices, numbers, range(len(numbers)))
    line = line.reshape(math.prod(line.shape[: len(numbers)]), -1)[:, 0]
    of_one_slice = [one for one in line if slice_of(one) == slice_of(line[0])]
    places = np.array([one.coords for one in of_one_slice])
    dimensions = sum(len(set(column)) > 1 for column in places.T)
    links = min(2 * max(1, dimensions), device.sheet.ports)
    return links * device.sheet.link
