"""The Movie Gen transformer (arXiv 2410.13720, section 3.1.3): tokens in, tokens out.

A Llama-3-style block with attention over all space-time tokens (no causal mask,
no grouped queries), cross-attention to the text, SwiGLU, and adaLN modulation by
the time. The modulation's projection is shared by all blocks, each adding a
learned table of its own: a projection per block would add `6 width^2` to each
and turn the published 30B into 40B.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from videojam_jax.keys import REQUIRED, config_key
from videojam_jax.models.attention import OVER_HEADS, OVER_TOKENS, attention
from videojam_jax.models.compute import REMAT_POLICIES, ComputeOptions
from videojam_jax.models.layers import (
    FactorisedPositions,
    SwiGLU,
    TimeEmbedding,
    dense,
    logical,
    modulate,
    rms_norm,
)
from videojam_jax.models.partition import constrain

TOKENS = ("batch", "tokens", "features")


def position_amplitude(blocks: int) -> float:
    """What the waves of the positions start with, since every block adds them again.

        amplitude = 0.3 min(1, 2 / blocks)

    Beside a token's own content, of about 1, what all blocks add then comes to 0.42 (root mean
    square) from two blocks on. With 0.3 in each it would be 6.8 after 32 blocks and 10 after
    48, and much of the content lost in bfloat16's rounding.
    """
    return 0.3 * min(1.0, 2 / blocks)


class Attention(nn.Module):
    """Multi-head attention from `x` to `context` (to itself when they are the same)."""

    heads: int
    dtype: DTypeLike
    implementation: str
    blocks: tuple[int, int]
    zero_out: bool = False  # the last projection starts at zero: the branch starts silent

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m d"],
        context_mask: Bool[Array, "b m"] | None = None,
    ) -> Float[Array, "b n d"]:
        width = x.shape[-1]

        def heads(y):
            y = y.reshape(*y.shape[:2], self.heads, width // self.heads)
            # Projected where the tokens are: without this the partitioner would gather all
            # tokens first and every device project the heads that it will attend with.
            return constrain(y, "batch", "tokens" if y.shape[1] == x.shape[1] else None, "heads", None)

        q = heads(dense(width, ("width", "heads"), self.dtype, "q")(x))
        k = heads(dense(width, ("width", "heads"), self.dtype, "k")(context))
        v = heads(dense(width, ("width", "heads"), self.dtype, "v")(context))
        y = attention(
            q,
            k,
            v,
            key_mask=context_mask,
            implementation=self.implementation,
            axes=OVER_HEADS if context is x else OVER_TOKENS,
            blocks=self.blocks,
        )
        y = constrain(y, "batch", "tokens", "heads", None)
        init = nn.initializers.zeros if self.zero_out else nn.initializers.lecun_normal()
        y = dense(width, ("heads", "width"), self.dtype, "out", kernel_init=init)(
            y.reshape(x.shape)
        )
        return constrain(y, *TOKENS)


class Block(nn.Module):
    """One block; carries the tokens, reads positions, modulation and text."""

    heads: int
    ffn: int
    dtype: DTypeLike
    implementation: str
    blocks: tuple[int, int]

    @nn.compact
    def __call__(self, x, positions, modulation, text, text_mask):
        x = checkpoint_name(constrain(x, *TOKENS), "block_input")
        x = x + positions
        table = self.param(
            "modulation", logical(nn.initializers.zeros, None, "norm"), (6, x.shape[-1])
        )
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.moveaxis(
            (modulation + table).astype(self.dtype), 1, 0
        )
        y = modulate(rms_norm(x, "norm_self"), shift1, scale1)
        x = x + gate1[:, None] * Attention(
            self.heads, self.dtype, self.implementation, self.blocks, name="self_attention"
        )(y, y)
        x = x + Attention(
            self.heads,
            self.dtype,
            self.implementation,
            self.blocks,
            zero_out=True,
            name="cross_attention",
        )(rms_norm(x, "norm_cross"), text, text_mask)
        y = modulate(rms_norm(x, "norm_ffn"), shift2, scale2)
        x = x + gate2[:, None] * SwiGLU(self.ffn, self.dtype, name="ffn")(y)
        x = constrain(x, *TOKENS)
        return x, None


class MovieGenTrunk(nn.Module):
    """`trunk(tokens, positions, t, text, text_mask) -> tokens`.

    Its keys are `config.model.trunk` of the name movie_gen, and those of `config.model` that every
    trunk takes. 48, 6144, 16384, 48 make the 30B; 32, 3072, 8192, 24 our 4B.

    Attributes:
      positions: frames, rows and columns of tokens that have an embedding.
      attention: of `models.attention.attention`.
    """

    blocks: int = config_key(REQUIRED, "transformer blocks", minimum=1)
    width: int = config_key(REQUIRED, "width of a token", minimum=1)
    ffn: int = config_key(REQUIRED, "hidden width of SwiGLU", minimum=1)
    heads: int = config_key(REQUIRED, "attention heads", minimum=1)
    positions: tuple[int, int, int]
    dtype: DTypeLike = jnp.float32
    remat: str = ComputeOptions.remat
    attention: str = "xla"
    attention_blocks: tuple[int, int] = ComputeOptions.attention_blocks
    unroll: int = ComputeOptions.unroll

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "b n d"],
        positions: Int[Array, "n 3"],
        t: Float[Array, " b"],
        text: Float[Array, "b m d"],
        text_mask: Bool[Array, "b m"],
    ) -> Float[Array, "b n d"]:
        x = tokens.astype(self.dtype)
        time = nn.silu(TimeEmbedding(self.width, dtype=self.dtype, name="time")(t))
        time = constrain(time, "batch", "features")
        modulation = dense(
            6 * self.width,
            ("width", None),
            self.dtype,
            "modulation",
            use_bias=True,
            kernel_init=nn.initializers.zeros,
        )(time)
        modulation = modulation.reshape(-1, 6, self.width).astype(jnp.float32)
        embedding = FactorisedPositions(
            self.positions,
            self.width,
            position_amplitude(self.blocks),
            self.dtype,
            name="positions_table",
        )(positions)
        # Once here, not in every block.
        embedding = constrain(embedding, "tokens", "features")
        modulation = constrain(modulation, "batch", None, "features")

        block = Block
        if REMAT_POLICIES[self.remat] is not None:
            block = nn.remat(block, policy=REMAT_POLICIES[self.remat], prevent_cse=False)
        x, _ = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast,) * 4,
            length=self.blocks,
            unroll=min(self.unroll, self.blocks),
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(
            self.heads, self.ffn, self.dtype, self.attention, self.attention_blocks, name="blocks"
        )(
            x, embedding, modulation, text.astype(self.dtype), text_mask
        )

        last = dense(
            2 * self.width,
            ("width", None),
            self.dtype,
            "last_modulation",
            use_bias=True,
            kernel_init=nn.initializers.zeros,
        )(time)
        shift, scale = jnp.split(last, 2, axis=-1)
        return modulate(rms_norm(x, "norm_last"), shift, scale)
