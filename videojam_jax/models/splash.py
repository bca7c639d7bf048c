"""Splash attention, JAX's Pallas flash kernel for TPUs: nothing of size tokens x tokens is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from videojam_jax.models.partition import mesh_in_force, spec

# What the backward pass needs of the kernel, for remat policies that keep it.
BLOCKS = (512, 512)  # of queries and keys, unless told
CHECKPOINT_NAME = "attention"
LANES = 128  # the kernel's blocks are multiples of it


def splash_attention(
    q: Float[Array, "b n k h"],
    k: Float[Array, "b m k h"],
    v: Float[Array, "b m k h"],
    key_mask: Bool[Array, "b m"] | None,
    *,
    axes: tuple[str | None, str | None, str | None],
    blocks: tuple[int, int] = BLOCKS,
    interpret: bool = False,
) -> Float[Array, "b n k h"]:
    """As `attention.attention`, which see.

    A kernel is not divided by XLA's partitioner, so on a mesh it runs inside
    `jax.shard_map`, each device on its own clips, queries and heads.

    Args:
      axes: logical names of the queries' axes b, n and k. Keys have all their tokens.
      blocks: queries and keys that the kernel holds at once, multiples of 128; cut
        down to the sequences where these are shorter.
      interpret: run the kernel's program step by step, on any platform (tests).
    """
    kernel = functools.partial(_one_device, blocks=blocks, interpret=interpret)
    mesh = mesh_in_force()
    if mesh is None:
        return kernel(q, k, v, key_mask)
    batch, tokens, heads = axes
    of_q = spec(mesh, (batch, tokens, heads, None), q.shape)
    of_k = PartitionSpec(of_q[0], None, of_q[2], None)
    if key_mask is None:
        run = lambda q, k, v: kernel(q, k, v, None)  # noqa: E731
        operands, specs = (q, k, v), (of_q, of_k, of_k)
    else:
        run, operands = kernel, (q, k, v, key_mask)
        specs = (of_q, of_k, of_k, PartitionSpec(of_q[0], None))
    # Pallas does not tell shard_map over which axes a result varies, so it cannot be checked.
    return jax.shard_map(run, in_specs=specs, out_specs=of_q, check_vma=False)(*operands)


def _one_device(q, k, v, key_mask, blocks: tuple[int, int], interpret: bool):
    n, m, heads, width = q.shape[1], k.shape[1], q.shape[2], q.shape[3]
    block_q, block_k = (min(block, _up(size, LANES)) for block, size in zip(blocks, (n, m)))
    n_whole, m_whole = _up(n, block_q), _up(m, block_k)
    sizes = splash.BlockSizes(
        block_q=block_q, block_kv=block_k, block_kv_compute=block_k,
        block_q_dkv=block_q, block_kv_dkv=block_k, block_kv_dkv_compute=block_k,
        block_q_dq=block_q, block_kv_dq=block_k,
    )
    mask = splash.MultiHeadMask([splash.FullMask((n_whole, m_whole))] * heads)
    kernel = splash.make_splash_mha(
        mask,
        head_shards=1,
        q_seq_shards=1,
        block_sizes=sizes,
        residual_checkpoint_name=CHECKPOINT_NAME,
        interpret=interpret,
    )

    def lay(x, whole):  # [b n k h] -> [b k n h], filled up to whole blocks
        x = jnp.pad(x, ((0, 0), (0, whole - x.shape[1]), (0, 0), (0, 0)))
        return jnp.moveaxis(x, 1, 2)

    q = lay(q * np.asarray(width**-0.5, q.dtype), n_whole)
    k, v = lay(k, m_whole), lay(v, m_whole)
    if key_mask is None and m == m_whole:
        y = jax.vmap(kernel)(q, k, v)
    else:
        # A query attends to the keys of its own segment: 1 is real, 0 padding.
        real = jnp.ones(k.shape[:1] + (m,), bool) if key_mask is None else key_mask
        keys = jnp.pad(real, ((0, 0), (0, m_whole - m))).astype(jnp.int32)
        queries = jnp.ones((q.shape[0], n_whole), jnp.int32)
        y = jax.vmap(kernel)(q, k, v, splash.SegmentIds(q=queries, kv=keys))
    return jnp.moveaxis(y, 2, 1)[:, :n].astype(q.dtype)


def _up(size: int, to: int) -> int:
    return -(-size // to) * to
