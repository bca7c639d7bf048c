"""The collectives of a compiled program: how much they send, how far, and what for."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from videojam_jax.plan.hlo import Move, Shape, moves

# Bytes that a device sends, for the bytes of the whole array and the g devices of a group,
# by ring algorithms. The whole array: what an all-gather gives, what a reduction is given.
SENT = {
    "all-gather": lambda g: (g - 1) / g,
    "reduce-scatter": lambda g: (g - 1) / g,
    "all-reduce": lambda g: 2 * (g - 1) / g,
    "all-to-all": lambda g: (g - 1) / g,
    "collective-permute": lambda g: 1.0,
}

@dataclasses.dataclass(frozen=True)
class Collective:
    """One array that is moved between devices.

    Attributes:
      kind, done_as, shape, times, op_name: as a `Move` has them.
      group: devices that take part together; 2 where one passes something on to another.
      axes: mesh axes that they lie along; "slices" where they are one device of each slice.
      carries: "weights", "gradients", "activations", "scalars" or "constants".
    """

    kind: str
    done_as: str
    shape: Shape
    group: int
    axes: tuple[str, ...]
    times: int
    carries: str
    op_name: str

    @property
    def sent(self) -> float:
        """Bytes that one device sends in one run of the program."""
        return self.shape.bytes * SENT[self.done_as](self.group) * self.times


def collectives(
    text: str, mesh: Mapping[str, int], parameters: Mapping[str, tuple[int, ...]] | None = None
) -> list[Collective]:
    """All collectives in the text of a compiled program.

    Args:
      text: `jax.stages.Compiled.as_text()`.
      mesh: sizes of the mesh's axes in their order; the program's devices are numbered in
        the mesh's order.
      parameters: shapes of the model's weights by their paths (`trunk/blocks/ffn/up/kernel`):
        gradients are known by them where they are not summed over the batch's axes.
    """
    has_backward = "transpose(jvp(" in text
    found = []
    for move in moves(text, math.prod(mesh.values())):
        axes = ("slices",) if move.between_slices else _axes(move.groups, mesh)
        # What depends on the parameters alone is weights; activations also depend on the batch.
        if not move.names:
            carries = "constants"
        elif all(name.split(".")[-1] == "params" for name in move.names):
            carries = "weights"
        elif move.shape.elements == 1:
            carries = "scalars"
        elif has_backward and _is_gradient(move, axes, mesh, parameters or {}):
            carries = "gradients"
        else:
            carries = "activations"
        found.append(
            Collective(
                move.kind, move.done_as, move.shape, move.groups.shape[1], axes, move.times,
                carries, move.op_name,
            )
        )  # fmt: skip
    return [one for one in found if one.axes]


def _is_gradient(
    move: Move,
    axes: Sequence[str],
    mesh: Mapping[str, int],
    parameters: Mapping[str, tuple[int, ...]],
) -> bool:
    """Whether what is no weight is a gradient, by how it is summed or where it is made.

    What is not summed over the batch's axes is one where it has the size of a weight of the
    module that it is made in, or of a shard (of any module, where the compiler gave it no name).
    Of weights that are scanned over, one layer's (the first axis is the layers').
    """
    op_name = move.op_name
    # Forward, and in what is computed again for the backward pass, there are no gradients.
    if "jvp(" in op_name and "transpose(" not in op_name or "rematted_computation" in op_name:
        return False
    # What is summed over the batch's axes belongs to no clip any more.
    if move.kind in ("reduce-scatter", "all-reduce") and {"slices", "data", "fsdp"} & set(axes):
        return True
    wholes = {move.shape.elements}
    for size in mesh.values():
        wholes |= {part * size for part in wholes}
    made_in = re.sub("[(:]", "/", op_name)  # of several: `blocks/(ffn/up/dot_general:ffn/gate/...)`
    for path, sizes in parameters.items():
        module = path.rpartition("/")[0].removeprefix("trunk/").removeprefix("blocks/")
        if module and (not op_name or f"/{module}/" in made_in):
            if wholes & {math.prod(sizes), math.prod(sizes[1:])}:
                return True
    return False


def _axes(groups: np.ndarray, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which the devices of a group differ."""
    places = np.unravel_index(groups, tuple(mesh.values()))
    return tuple(
        name for name, place in zip(mesh, places, strict=True) if (place != place[:, :1]).any()
    )
