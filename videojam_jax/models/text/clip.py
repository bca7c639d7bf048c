"""The text tower of CLIP (Radford et al. 2021), also of MetaCLIP and OpenCLIP.

A causal pre-norm transformer over lower-cased byte pairs. What it computes is
`transformers.CLIPTextModel`'s `last_hidden_state`: every position after the final norm, not
the one pooled vector. A tower trained on longer prompts has more positions and nothing else.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from videojam_jax.errors import UserError
from videojam_jax.models.layers import dense, logical
from videojam_jax.models.partition import constrain


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x sigmoid(1.702 x)`, the approximation that OpenAI's towers were trained with."""
    return x * nn.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": functools.partial(nn.gelu, approximate=False)}
TEXT = ("batch", None, "features")  # logical axes of its activations
HEADS = ("batch", None, "attention_heads", None)


class Block(nn.Module):
    """Causal self-attention and feed-forward, each normalised before."""

    width: int
    ffn: int
    heads: int
    eps: float
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> tuple[Float[Array, "b n d"], None]:
        linear = functools.partial(dense, dtype=self.dtype, use_bias=True)
        y = layer_norm(self.eps, "norm_attention")(x)
        q, k, v = (
            constrain(
                linear(self.width, ("width", "heads"), name=name)(y).reshape(
                    *x.shape[:2], self.heads, -1
                ),
                *HEADS,
            )
            for name in "qkv"
        )
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="xla")
        y = constrain(y, *HEADS).reshape(x.shape)
        x = x + constrain(linear(self.width, ("heads", "width"), name="out")(y), *TEXT)
        y = layer_norm(self.eps, "norm_mlp")(x)
        y = linear(self.ffn, ("width", "mlp"), name="up")(y)
        y = constrain(ACTIVATIONS[self.activation](y), "batch", None, "mlp_features")
        y = linear(self.width, ("mlp", "width"), name="down")(y)
        return x + constrain(y, *TEXT), None


class ClipText(nn.Module):
    """Tokens to the hidden states after the last norm, in `dtype`.

    Attributes:
      vocabulary: rows of the embedding.
      width, ffn, heads, blocks: sizes of the tower.
      max_length: positions it has embeddings for, 77 in OpenAI's.
      activation: name in `ACTIVATIONS`.
      eps: of the norms.
      dtype: of the matrix products; residual, norms and softmax are in float32.
    """

    vocabulary: int
    width: int
    ffn: int
    heads: int
    blocks: int
    max_length: int = 77
    activation: str = "quick_gelu"
    eps: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b n"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b n d"]:
        """Embeddings of `tokens`, which are padded at their end.

        `mask` is taken because every text encoder takes it. It changes nothing: a token
        sees only those before it, so padding cannot reach a real one.

        Raises:
          UserError: more tokens than positions, or an unknown activation.
        """
        del mask
        n = tokens.shape[1]
        if n > self.max_length:
            raise UserError(
                f"CLIP's text tower has {self.max_length} positions, but a text has {n} tokens: "
                f"cut texts to {self.max_length}"
            )
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"CLIP's activation '{self.activation}' is none of {', '.join(ACTIVATIONS)}"
            )
        normal = nn.initializers.normal(0.02)
        vocabulary = self.param(
            "vocabulary", logical(normal, "vocabulary", "width"), (self.vocabulary, self.width)
        )
        positions = self.param(
            "positions", logical(normal, None, "width"), (self.max_length, self.width)
        )
        x = vocabulary[tokens].astype(jnp.float32) + positions[:n].astype(jnp.float32)
        x, _ = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.blocks,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(
            self.width,
            self.ffn,
            self.heads,
            self.eps,
            self.activation,
            self.dtype,
            name="blocks",
        )(constrain(x, *TEXT))
        return layer_norm(self.eps, "norm")(x).astype(self.dtype)


def layer_norm(eps: float, name: str) -> nn.LayerNorm:
    """A norm in float32 whose parameters carry their logical axis."""
    return nn.LayerNorm(
        epsilon=eps,
        dtype=jnp.float32,
        use_fast_variance=False,  # E[x^2] - E[x]^2 loses digits where the mean is large
        scale_init=logical(nn.initializers.ones, "norm"),
        bias_init=logical(nn.initializers.zeros, "norm"),
        name=name,
    )
