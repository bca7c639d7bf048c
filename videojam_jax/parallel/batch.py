"""Batches from this process's memory to global arrays on the mesh."""

import jax
import numpy as np
from jax.sharding import Mesh

from videojam_jax.errors import UserError
from videojam_jax.parallel.rules import batch_parts, batch_sharding


def check_batch(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """UserError when a batch does not divide over the devices that split it, and into parts."""
    parts = batch_parts(mesh) * accumulate
    if batch_size % parts:
        over = f"mesh data x fsdp = {mesh.shape['data']} x {mesh.shape['fsdp']}"
        if accumulate > 1:
            over += f", config.train.accumulate = {accumulate}"
        less = batch_size // parts * parts
        raise UserError(
            f"config.train.batch_size = {batch_size} does not divide over {parts} parts ({over}); "
            f"{f'{less} and ' if less else ''}{less + parts} do; or give devices to another axis "
            "of the mesh (config.mesh.context, config.mesh.tensor)"
        )


def local_rows(mesh: Mesh, batch_size: int, process: int | None = None) -> np.ndarray:
    """The rows of a global batch that a process's devices hold, int64, ascending.

    They need not lie side by side: on a TPU the mesh follows the wires between the
    chips, and a host's chips are a square of it.

    Args:
      process: default: this one.
    """
    process = jax.process_index() if process is None else process
    places = batch_sharding(mesh).devices_indices_map((batch_size,))
    held = {
        row
        for device, (rows,) in places.items()
        if device.process_index == process
        for row in range(*rows.indices(batch_size))
    }
    return np.array(sorted(held), np.int64)


def to_global(mesh: Mesh, batch, batch_size: int):
    """A batch as global arrays of `batch_size` rows, from those this process holds (`local_rows`).

    A batch is any tree of arrays with as many rows.
    """
    sharding = batch_sharding(mesh)
    held = local_rows(mesh, batch_size)

    def place(rows: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = index[0].indices(batch_size)
            first = np.searchsorted(held, start)
            return rows[first : first + stop - start]

        return jax.make_array_from_callback((batch_size, *rows.shape[1:]), sharding, part)

    # This is the one transfer that a step is meant to make.
    with jax.transfer_guard_host_to_device("allow"):
        return jax.tree.map(place, batch)
