"""What the Wan VAE's encoder and decoder are made of (see `wan_vae`).

Every layer that looks back in time is called with the frames it kept from the chunk before,
`cache`, and returns what it keeps for the next one; None is the start of a clip. A layer that
looks at single frames keeps nothing and returns None.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.models.attention import OVER_TOKENS, attention

Cache = Any  # a tree of arrays [b, t, h, w, c] with t of 1 or 2; None at the start of a clip
PAST = 2  # frames that a kernel of three frames needs besides its own


class CausalConv(nn.Module):
    """A convolution whose kernel of three frames sees a frame and the two before it.

    Before a clip there is nothing: frames of zeros.

    Attributes:
      size: rows and columns of the kernel. The size of the frames stays.
    """

    features: int
    size: int = 3
    dtype: DTypeLike = jnp.float32

    def setup(self):
        edge = self.size // 2
        self.conv = nn.Conv(
            self.features,
            (PAST + 1, self.size, self.size),
            padding=((0, 0), (edge, edge), (edge, edge)),
            dtype=self.dtype,
        )
        nn.share_scope(self, self.conv)  # its kernel and bias are ours

    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t h w d"], Cache]:
        x = jnp.concatenate([nothing(x) if cache is None else cache, x], axis=1)
        return self.conv(x), x[:, -PAST:]


def nothing(x: Float[Array, "b t h w c"]) -> Float[Array, "b 2 h w c"]:
    """What a convolution over time sees before its first frame."""
    return jnp.zeros_like(x, shape=(x.shape[0], PAST, *x.shape[2:]))


class Norm(nn.Module):
    """`x / |x| * sqrt(c) * gamma` over the channels, in float32 inside.

    Attributes:
      axes: of gamma, all but the last of size 1 (public files keep them).
      eps: the least |x| that is divided by.
    """

    axes: int
    eps: float = 1e-12

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        c = x.shape[-1]
        gamma = self.param("gamma", nn.initializers.ones, (*[1] * (self.axes - 1), c))
        y = x.astype(jnp.float32)
        y = y / jnp.sqrt(jnp.maximum(jnp.sum(y * y, -1, keepdims=True), self.eps**2))
        return (y * c**0.5 * gamma).astype(x.dtype)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and causal convolution, added to the input (or its 1 x 1 x 1 image)."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t h w d"], Cache]:
        before1, before2 = cache or (None, None)
        y = nn.silu(Norm(4, name="norm1")(x))
        y, kept1 = CausalConv(self.features, dtype=self.dtype, name="conv1")(y, before1)
        y = nn.silu(Norm(4, name="norm2")(y))
        y, kept2 = CausalConv(self.features, dtype=self.dtype, name="conv2")(y, before2)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1, 1), dtype=self.dtype, name="shortcut")(x)
        return x + y, (kept1, kept2)


class FrameAttention(nn.Module):
    """Every position of a frame attends to all of the same frame, with one head."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t h w c"], Cache]:
        b, t, h, w, c = x.shape
        qkv = nn.Conv(3 * c, (1, 1), dtype=self.dtype, name="qkv")(Norm(3, name="norm")(x))
        q, k, v = rearrange(qkv, "b t h w (s c) -> s (b t) (h w) 1 c", s=3)
        y = attention(q, k, v, axes=OVER_TOKENS)
        y = rearrange(y, "(b t) (h w) 1 c -> b t h w c", t=t, h=h)
        return x + nn.Conv(c, (1, 1), dtype=self.dtype, name="out")(y), None


class Downsample(nn.Module):
    """Half the rows and columns and, with `time`, half the frames; as many channels.

    The first frame of a clip stands for itself. From then on two frames become one, seen
    together with the frame before them.
    """

    time: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Cache]:
        c = x.shape[-1]
        x = nn.Conv(
            c, (3, 3), strides=2, padding=((0, 1), (0, 1)), dtype=self.dtype, name="conv"
        )(x)
        if not self.time:
            return x, None
        last = x[:, -1:]
        if cache is not None:
            x = jnp.concatenate([cache, x], axis=1)
            x = nn.Conv(
                c, (3, 1, 1), strides=(2, 1, 1), padding="VALID", dtype=self.dtype,
                name="time_conv",
            )(x)
        return x, last


class Upsample(nn.Module):
    """Twice the rows and columns and, with `time`, twice the frames; half the channels.

    The first frame of a clip stays one frame, and the convolution over time never sees it:
    it begins, with nothing before it, at the second.
    """

    time: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t2 h2 w2 d"], Cache]:
        c = x.shape[-1]
        if self.time and cache is None:
            cache = nothing(x)
        elif self.time:
            time_conv = CausalConv(2 * c, size=1, dtype=self.dtype, name="time_conv")
            pairs, cache = time_conv(x, cache)
            x = rearrange(pairs, "b t h w (p c) -> b (t p) h w c", p=2)
        x = repeat(x, "b t h w c -> b t (h p) (w q) c", p=2, q=2)
        return nn.Conv(c // 2, (3, 3), padding=1, dtype=self.dtype, name="conv")(x), cache


def through(
    layers: list[nn.Module], x: Float[Array, "b t h w c"], cache: Cache
) -> tuple[Float[Array, "b t2 h2 w2 d"], Cache]:
    """`x` through one layer after another; what each keeps stands under its name."""
    kept = {}
    for layer in layers:
        x, kept[layer.name] = layer(x, None if cache is None else cache[layer.name])
    return x, kept
