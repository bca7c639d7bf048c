"""Batches from this process's memory to global arrays on the mesh."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from videojam_jax.errors import UserError
from videojam_jax.parallel.rules import batch_parts, batch_sharding


def local_rows(mesh: Mesh, batch_size: int) -> tuple[int, int]:
    """The rows `[start, stop)` of a global batch that this process's devices hold.

    UserError when the batch does not divide over the devices that split it.
    """
    sharding = batch_sharding(mesh)
    parts = batch_parts(mesh)
    if batch_size % parts:
        raise UserError(
            f"config.train.batch_size = {batch_size} does not divide over {parts} devices "
            f"(mesh data x fsdp = {mesh.shape['data']} x {mesh.shape['fsdp']}); "
            f"the next that does is {-(-batch_size // parts) * parts}"
        )
    indices = sharding.addressable_devices_indices_map((batch_size,)).values()
    ranges = [index[0].indices(batch_size) for index in indices]
    return min(start for start, _, _ in ranges), max(stop for _, stop, _ in ranges)


def to_global(
    mesh: Mesh, batch: Mapping[str, np.ndarray], batch_size: int
) -> dict[str, jax.Array]:
    """Global arrays of `batch_size` rows from the rows this process holds."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows, (batch_size, *rows.shape[1:]))
        for name, rows in batch.items()
    }
