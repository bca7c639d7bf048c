"""The one entry for every attention in the package."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

IMPLEMENTATIONS = ("xla", "cudnn")


def attention(
    q: Float[Array, "b n k h"],
    k: Float[Array, "b m k h"],
    v: Float[Array, "b m k h"],
    *,
    key_mask: Bool[Array, "b m"] | None = None,
    implementation: str = "xla",
) -> Float[Array, "b n k h"]:
    """Scaled dot-product attention, `softmax(q k^T / sqrt(h)) v`, every token to every token.

    Args:
      q, k, v: queries, keys and values of `k` heads of width `h`.
      key_mask: False for padded keys. They stand at the end and at least one
        key of every row is real, which is what the fused kernels ask for.
      implementation: "xla" runs everywhere; "cudnn" is the flash kernel of
        NVIDIA GPUs (bfloat16 or float16).
    """
    lengths = None
    mask = None
    if key_mask is not None and implementation == "cudnn":
        lengths = key_mask.sum(-1, dtype=jnp.int32)
    elif key_mask is not None:
        mask = key_mask[:, None, None, :]
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        mask=mask,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
