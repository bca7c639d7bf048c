"""Tells arrays apart by their bits, alike however they are divided over devices."""

import collections
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def fingerprint(tree: Any) -> str:
    """A word of 64 bits for a tree of arrays: their order, dtypes, shapes and all their bits.

    The same on any mesh. To be called alike by every process that holds a share of them.
    """
    leaves = jax.tree.leaves(tree)
    # Arrays of all kinds share a program, which serves for further layers of these kinds too.
    rounds, seen = collections.defaultdict(list), collections.Counter()
    for number, x in enumerate(leaves):
        kind = x.shape, x.dtype, x.sharding
        rounds[seen[kind]].append(number)
        seen[kind] += 1
    sums = {}
    for numbers in rounds.values():
        sums |= zip(numbers, _bit_sums([leaves[number] for number in numbers]), strict=True)
    found = jax.device_get(sums)
    words = [f"{x.dtype}{x.shape}{int(found[number])}" for number, x in enumerate(leaves)]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


@jax.jit
def _bit_sums(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    return [_bit_sum(x) for x in arrays]


def _bit_sum(x: jax.Array) -> jax.Array:
    bits = x.view(f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    # Counted along each axis where it lies: flattened, a divided array might be gathered.
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    return _mixed(bits + _mixed(place)).sum(dtype=jnp.uint32)


def _mixed(bits: jax.Array) -> jax.Array:
    """Another number for each of 32 bits (Wellons's "lowbias32").

    What is multiplied by its place alone and added up can be the same for two rows that
    changed places: weights that were bfloat16 end in zeros, as do the distances of rows.
    """
    bits = (bits ^ bits >> 16) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ bits >> 15) * jnp.uint32(0x846CA68B)
    return bits ^ bits >> 16
