"""The encoders of the T5 family: T5, T5 v1.1, mT5, ByT5, UL2 and umT5.

One architecture (Raffel et al. 2020, "Exploring the limits of transfer learning"; v1.1's
gated feed-forward is Shazeer 2020) with few differences, which are the attributes of
`T5Encoder`. What it computes is what `transformers.T5EncoderModel` and `UMT5EncoderModel`
compute without dropout.

                    feed-forward  relative bias   head_width x heads
    T5              relu          first block     = width
    T5 v1.1, mT5    gated-gelu    first block     = width (but for some small ones)
    ByT5            gated-gelu    first block     less than width
    UL2             gated-silu    first block     = width, heads of 256
    umT5            gated-gelu    every block     = width

bfloat16 or float32, never float16: activations of the large ones exceed its range.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from videojam_jax.errors import UserError
from videojam_jax.models.layers import dense, logical, rms_norm
from videojam_jax.models.partition import constrain

# The gated ones are W_down (f(W_gate x) * W_up x), the other is W_down f(W_up x).
ACTIVATIONS = {
    "relu": nn.relu,
    "gated-gelu": functools.partial(nn.gelu, approximate=True),
    "gated-silu": nn.silu,
}
TEXT = ("batch", None, "features")  # logical axes of its activations
HEADS = ("batch", None, "attention_heads", None)


def relative_buckets(
    distances: Int[np.ndarray, " n"], buckets: int, max_distance: int
) -> Int[np.ndarray, " n"]:
    """The bucket of each distance `key position - query position`, in [0, buckets).

    Keys after the query have the upper half of the buckets. In each half, half of the
    buckets are for one distance each; the others grow geometrically and meet their end at
    `max_distance`, beyond which all distances share the last (Raffel et al. 2.1, with the
    details of `T5Attention._relative_position_bucket`).

    >>> relative_buckets(np.array([-200, -9, -8, -7, 0, 1, 8, 200]), 32, 128)
    array([15,  8,  8,  7,  0, 17, 24, 31])
    """
    half = buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # Where the logarithm should be a whole number, rounding must not decide.
    steps = np.log(np.maximum(size, exact) / exact) / np.log(max_distance / exact)
    far = exact + np.floor(steps * (half - exact) + 1e-6).astype(distances.dtype)
    bucket = np.where(size < exact, size, np.minimum(far, half - 1))
    return np.where(distances > 0, bucket + half, bucket)


def relative_bias(
    table: Float[Array, "buckets k"], line: Int[Array, " m"], n: int
) -> Float[Array, "1 k n n"]:
    """What is added to the scores: `[head, query, key]`, in float32.

    `line` holds the buckets of the distances 1 - n ... n - 1.
    """
    position = jnp.arange(n)
    rows = table.astype(jnp.float32)[line]
    return jnp.moveaxis(rows[position[None] - position[:, None] + n - 1], -1, 0)[None]


class Block(nn.Module):
    """Self-attention and feed-forward, each normalised before and added to the residual."""

    width: int
    ffn: int
    heads: int
    head_width: int
    buckets: int
    eps: float
    activation: str
    own_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        line: Int[Array, " m"],
        bias: Float[Array, "1 k n n"] | None,
    ) -> tuple[Float[Array, "b n d"], None]:
        if self.own_bias:
            bias = relative_bias(_bias_table(self, self.buckets, self.heads), line, x.shape[1])
        y = rms_norm(x, "norm_attention", self.eps)
        inner = self.heads * self.head_width
        q, k, v = (
            constrain(
                dense(inner, ("width", "heads"), self.dtype, name)(y).reshape(
                    *x.shape[:2], self.heads, self.head_width
                ),
                *HEADS,
            )
            for name in "qkv"
        )
        y = jax.nn.dot_product_attention(
            q, k, v, bias=bias, mask=mask[:, None, None, :], scale=1.0, implementation="xla"
        )
        y = constrain(y, *HEADS).reshape(*x.shape[:2], inner)
        # The residual stays float32: over the blocks it grows to thousands, where bfloat16
        # would round away most of what one block adds.
        x = x + constrain(dense(self.width, ("heads", "width"), self.dtype, "out")(y), *TEXT)

        y = rms_norm(x, "norm_mlp", self.eps)
        hidden = dense(self.ffn, ("width", "mlp"), self.dtype, "up")(y)
        activation = ACTIVATIONS[self.activation]
        if self.activation.startswith("gated-"):
            hidden *= activation(dense(self.ffn, ("width", "mlp"), self.dtype, "gate")(y))
        else:
            hidden = activation(hidden)
        hidden = constrain(hidden, "batch", None, "mlp_features")
        y = dense(self.width, ("mlp", "width"), self.dtype, "down")(hidden)
        return x + constrain(y, *TEXT), None


class T5Encoder(nn.Module):
    """Tokens to the hidden states after the last norm, in `dtype`.

    Attributes:
      vocabulary: rows of the embedding.
      width, ffn, heads, head_width, blocks: d_model, d_ff, num_heads, d_kv and num_layers.
      buckets, max_distance: of the relative positions.
      eps: of the norms, which divide by the root mean square and centre nothing.
      activation: name in `ACTIVATIONS`.
      bias_in_every_block: umT5's; else the first block's bias serves all.
      dtype: of the matrix products; residual, norms and softmax are in float32.
    """

    vocabulary: int
    width: int
    ffn: int
    heads: int
    head_width: int
    blocks: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6
    activation: str = "gated-gelu"
    bias_in_every_block: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b n"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b n d"]:
        """Embeddings of `tokens`; `mask` is False where they pad, and what is there is noise.

        Raises:
          UserError: an activation that no T5 has.
        """
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"T5's activation '{self.activation}' is none of {', '.join(ACTIVATIONS)}"
            )
        n = tokens.shape[1]
        table = self.param(
            "vocabulary",
            logical(nn.initializers.normal(1.0), "vocabulary", "width"),
            (self.vocabulary, self.width),
        )
        x = constrain(table[tokens].astype(jnp.float32), *TEXT)
        distances = np.arange(1 - n, n)
        line = jnp.asarray(relative_buckets(distances, self.buckets, self.max_distance))
        bias = None
        if not self.bias_in_every_block:
            bias = relative_bias(_bias_table(self, self.buckets, self.heads), line, n)
        x, _ = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast,) * 3,
            length=self.blocks,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(
            self.width,
            self.ffn,
            self.heads,
            self.head_width,
            self.buckets,
            self.eps,
            self.activation,
            self.bias_in_every_block,
            self.dtype,
            name="blocks",
        )(x, mask, line, bias)
        return rms_norm(x, "norm", self.eps).astype(self.dtype)


def _bias_table(module: nn.Module, buckets: int, heads: int):
    # Small, and every device needs the rows of its own heads only.
    init = logical(nn.initializers.normal(1.0), None, "heads")
    return module.param("relative_bias", init, (buckets, heads))
