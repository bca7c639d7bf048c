"""What one chip can do, by its makers' public data sheets.

Google's figures are those of the "System architecture" tables of
https://cloud.google.com/tpu/docs. v4's memory, v5e's, v5p's and v6e's memory and interconnect
and TPU7x's peak and memory were compared with them in November 2026; the others were not:
check them before you rely on a time for those chips. There the bandwidth of the interconnect
(ICI) is the sum over a chip's ports and both directions, that of the data-centre network (DCN)
a chip's share of its host's cards. Arithmetic peaks are in `train.throughput.PEAK_FLOPS`.

JAX has peak and memory of a chip too (`jax.experimental.pallas.tpu.get_tpu_info_for_chip`),
rounded, and no network. They agree but for v5p's memory bandwidth, which is 2,460 GB/s there
in jax 0.10 to 0.12. Google's table has 2,765 GB/s (lately as 2,575 GiB/s, the same).
"""

import dataclasses
from collections.abc import Sequence

import jax

from videojam_jax.train.throughput import devices_per_chip, peak_flops

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Of one chip.

    Attributes:
      memory: bytes of HBM.
      memory_bandwidth: bytes a second.
      ports: links to other chips; a ring along one dimension of the torus uses two.
      link: bytes a second over one link in one direction.
      network: bytes a second to other slices (DCN).
    """

    memory: float
    memory_bandwidth: float
    ports: int
    link: float
    network: float


SHEETS = {
    "TPU v4": Sheet(32 * GIB, 1200e9, 6, 600e9 / 6 / 2, 25e9 / 4),
    "TPU v5 lite": Sheet(16 * GIB, 819e9, 4, 400e9 / 4 / 2, 25e9 / 8),
    "TPU v5": Sheet(95 * GIB, 2765e9, 6, 1200e9 / 6 / 2, 50e9 / 8),
    "TPU v6 lite": Sheet(32 * GIB, 1638e9, 4, 800e9 / 4 / 2, 100e9 / 8),
    "TPU7x": Sheet(192 * GIB, 7380e9, 6, 1200e9 / 6 / 2, 100e9 / 8),
}


@dataclasses.dataclass(frozen=True)
class Device:
    """What one of JAX's devices can do: a chip, or one of the two cores of some chips."""

    kind: str
    per_chip: int
    flops: float
    sheet: Sheet


def device_of(devices: Sequence[jax.Device]) -> Device | None:
    """Of a topology's devices (all are alike); None for one whose sheet is not known (a CPU)."""
    first = devices[0]
    peak, sheet = peak_flops(devices), SHEETS.get(first.device_kind)
    if peak is None or sheet is None:
        return None
    per_chip = devices_per_chip(devices)
    # A chip's cores share its memory and its links evenly.
    share = dataclasses.replace(
        sheet,
        memory=sheet.memory / per_chip,
        memory_bandwidth=sheet.memory_bandwidth / per_chip,
        link=sheet.link / per_chip,
        network=sheet.network / per_chip,
    )
    return Device(first.device_kind, per_chip, peak, share)
