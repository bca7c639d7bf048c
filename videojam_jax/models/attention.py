"""The one entry for every attention in the package."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from videojam_jax.models.partition import constrain
from videojam_jax.models.splash import BLOCKS, splash_attention

# How the work is divided over a mesh: logical names of the axes [batch, tokens, heads].
# Where keys are tokens of the clip, every head needs all of them, so heads are divided
# (tokens <-> heads is an all-to-all); where keys are the text, which every device
# has, queries stay where they are.
OVER_HEADS = ("batch", "attention_tokens", "attention_heads")
OVER_TOKENS = ("batch", "tokens", "heads")


def attention(
    q: Float[Array, "b n k h"],
    k: Float[Array, "b m k h"],
    v: Float[Array, "b m k h"],
    *,
    key_mask: Bool[Array, "b m"] | None = None,
    implementation: str = "xla",
    axes: tuple[str | None, str | None, str | None] = OVER_HEADS,
    blocks: tuple[int, int] = BLOCKS,
    interpret: bool = False,
) -> Float[Array, "b n k h"]:
    """Scaled dot-product attention, `softmax(q k^T / sqrt(h)) v`, every token to every token.

    Args:
      q, k, v: queries, keys and values of `k` heads of width `h`.
      key_mask: False for padded keys. They stand at the end and at least one
        key of every row is real, which is what the fused kernels ask for.
      implementation: "xla" runs everywhere; "cudnn" is the flash kernel of
        NVIDIA GPUs (bfloat16 or float16), "splash" that of TPUs.
      axes: `OVER_HEADS` or `OVER_TOKENS`.
      blocks: of queries and keys, for splash.
      interpret: splash on another platform (tests).
    """
    q = constrain(q, *axes, None)
    k, v = (constrain(x, axes[0], None, axes[2], None) for x in (k, v))
    if implementation == "splash":
        y = splash_attention(q, k, v, key_mask, axes=axes, blocks=blocks, interpret=interpret)
        return constrain(y, *axes, None)
    lengths = None
    mask = None
    if key_mask is not None and implementation == "cudnn":
        lengths = key_mask.sum(-1, dtype=jnp.int32)
    elif key_mask is not None:
        mask = key_mask[:, None, None, :]
    y = jax.nn.dot_product_attention(
        q,
        k,
        v,
        mask=mask,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return constrain(y, *axes, None)


def for_platform(platform: str, dtype: str) -> str:
    """The fastest implementation there is: "tpu" -> splash, "gpu" in half precision -> cudnn."""
    if platform == "tpu":
        return "splash"
    if platform in ("gpu", "cuda") and dtype in ("bfloat16", "float16"):
        return "cudnn"
    return "xla"
