"""What the temporal autoencoder is built of (Movie Gen, arXiv 2410.13720, section 3.1.1).

An image autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752) inflated in
time: a temporal convolution follows every 3 x 3 convolution, temporal attention follows
the spatial attention. An image is a clip of one frame. What the paper leaves open, and
what is done here:

- Group norms take their statistics of every frame alone, so that what they do to a frame
  does not depend on the tile it is in, nor on how many frames a clip has.
- Temporal convolutions start as the identity, and the temporal attention's output at zero:
  a fresh net treats frames alone but for halving (the mean of two neighbours) and doubling
  them (each repeated). Residual blocks start as the identity as well.
- The 1 x 1 projections of residual blocks and of attention have no temporal part.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.models.attention import attention

# A latent's noise starts at a standard deviation of 0.05: at 1, which no bias would give, it
# hides the latent from the decoder for the first few hundred steps.
FIRST_LOG_VARIANCE = -6.0


def groups(channels: int) -> int:
    """How many groups a norm has: at most 32, of 4 channels or more, and they divide.

    Groups of one channel would take every channel's mean away, which small nets need.

    >>> groups(512), groups(128), groups(8), groups(7)
    (32, 32, 2, 1)
    """
    most = max(1, min(32, channels // 4))
    return next(count for count in range(most, 0, -1) if channels % count == 0)


def temporal_identity(key, shape, dtype=jnp.float32):
    """Initialiser of a `[3, 1, c, c]` kernel that passes every frame on as it is."""
    del key
    return jnp.zeros(shape, dtype).at[1, 0].set(jnp.eye(*shape[2:], dtype=dtype))


def temporal_mean(key, shape, dtype=jnp.float32):
    """Initialiser of a kernel that, in strides of 2, takes the mean of each pair of frames."""
    del key
    half = jnp.eye(*shape[2:], dtype=dtype) / 2
    return jnp.zeros(shape, dtype).at[1:, 0].set(half)


def first_moments(key, shape, dtype=jnp.float32):
    """Initialiser of the last bias of an encoder: means at 0, then log-variances."""
    del key
    return jnp.zeros(shape, dtype).at[shape[0] // 2 :].set(FIRST_LOG_VARIANCE)


class FrameNorm(nn.Module):
    """Group norm with the statistics of every frame alone, in float32.

    The same as flax's `GroupNorm`, which takes twice as long on a CPU: it sums over rows,
    columns and a group's few channels at once, where the channels are the long way.
    """

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))

        def mean(y):
            """Over rows, columns and the group."""
            y = y.mean(axis=(2, 3))
            grouped = y.reshape(*y.shape[:2], groups(channels), -1).mean(axis=-1)
            return jnp.repeat(grouped, channels // groups(channels), axis=-1)[:, :, None, None]

        # Two passes: the frames of a flow clip are often constant, where the difference
        # of mean squares would be rounding alone.
        y = x.astype(jnp.float32)
        y = y - mean(y)
        y = y * (jax.lax.rsqrt(mean(y * y) + self.eps) * scale) + bias
        return y.astype(x.dtype)


def beyond_ends(x: Float[Array, "b t n c"]) -> Float[Array, "b t+2 n c"]:
    """The first and the last frame once more (jnp.pad's gradient is three times as slow)."""
    return jnp.concatenate([x[:, :1], x, x[:, -1:]], axis=1)


class Conv(nn.Module):
    """A 3 x 3 convolution of every frame, then one over 3 frames of every position.

    Frames beyond the ends repeat the first and the last, so `t` frames stay `t`, and
    `ceil(t / 2)` where they are halved.

    Attributes:
      halve: `(frames, rows and columns)` that a stride of 2 halves.
      double: the same, repeated before their convolution (nearest).
    """

    features: int
    halve: tuple[bool, bool] = (False, False)
    double: tuple[bool, bool] = (False, False)
    dtype: DTypeLike = jnp.float32
    space_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 d"]:
        b, t = x.shape[:2]
        x = rearrange(x, "b t h w c -> (b t) h w c").astype(self.dtype)
        if self.double[1]:
            x = x.repeat(2, axis=1).repeat(2, axis=2)
        stride = 1 + self.halve[1]
        x = nn.Conv(
            self.features,
            (3, 3),
            stride,
            dtype=self.dtype,
            kernel_init=self.space_init,
            name="space",
        )(x)
        h, w = x.shape[1:3]
        x = x.reshape(b, t, h * w, self.features)
        if self.double[0]:
            x = x.repeat(2, axis=1)
        x = nn.Conv(
            self.features,
            (3, 1),
            (1 + self.halve[0], 1),
            padding="VALID",
            dtype=self.dtype,
            kernel_init=temporal_mean if self.halve[0] else temporal_identity,
            bias_init=self.bias_init,
            name="time",
        )(beyond_ends(x))
        return x.reshape(b, -1, h, w, self.features)


class ResidualBlock(nn.Module):
    """`x + conv(silu(norm(conv(silu(norm(x))))))`; `x` is projected where widths differ."""

    features: int
    norm: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        y = FrameNorm(name="norm1")(x) if self.norm else x
        y = Conv(self.features, dtype=self.dtype, name="conv1")(nn.silu(y))
        y = FrameNorm(name="norm2")(y) if self.norm else y
        silent = nn.initializers.zeros
        y = Conv(self.features, dtype=self.dtype, space_init=silent, name="conv2")(nn.silu(y))
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype, name="shortcut")(x)
        return x + y


class Attention(nn.Module):
    """One head of attention with its residual, over a frame's positions or over the frames.

    Attributes:
      over: "space" or "time". The latter starts silent.
    """

    over: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        b, t, h, w, c = x.shape
        pattern = {"space": "b t h w c -> (b t) (h w) 1 c", "time": "b t h w c -> (b h w) t 1 c"}
        y = FrameNorm(name="norm")(x)
        q, k, v = (
            rearrange(nn.Dense(c, dtype=self.dtype, name=name)(y), pattern[self.over])
            for name in "qkv"
        )
        y = attention(q, k, v)
        back = pattern[self.over].split(" -> ")
        y = rearrange(y, f"{back[1]} -> {back[0]}", b=b, h=h, w=w)
        silent = nn.initializers.zeros if self.over == "time" else nn.initializers.lecun_normal()
        return x + nn.Dense(c, dtype=self.dtype, kernel_init=silent, name="out")(y)


class Middle(nn.Module):
    """Residual block, attention over space and over time, residual block."""

    attention: bool
    block: Callable  # features, name -> a residual block
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        x = self.block(x.shape[-1], name="block1")(x)
        if self.attention:
            x = Attention("space", self.dtype, name="attention_space")(x)
            x = Attention("time", self.dtype, name="attention_time")(x)
        return self.block(x.shape[-1], name="block2")(x)


class Half(nn.Module):
    """What encoder and decoder have in common.

    Attributes:
      features: of what comes out.
      widths: of the levels, from pixels to latents.
      halve: `(frames, rows and columns)` between a level and the next.
      blocks: residual blocks a level.
    """

    features: int
    widths: tuple[int, ...]
    halve: tuple[tuple[bool, bool], ...]
    blocks: int
    attention: bool
    norm: bool
    remat: bool
    dtype: DTypeLike

    def block(self, features: int, name: str) -> nn.Module:
        kind = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        return kind(features, self.norm, self.dtype, name=name)

    def out(self, x, **how):
        x = FrameNorm(name="norm_out")(x) if self.norm else x
        # In float32: few channels, and all that is made of them would inherit the rounding.
        return Conv(self.features, name="conv_out", **how)(nn.silu(x))


class Encoder(Half):
    """Pixels to means and log-variances."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 d"]:
        x = Conv(self.widths[0], dtype=self.dtype, name="conv_in")(x)
        for level, width in enumerate(self.widths):
            for block in range(self.blocks):
                x = self.block(width, name=f"level{level}_block{block}")(x)
            if level < len(self.halve):
                name = f"level{level}_down"
                x = Conv(width, halve=self.halve[level], dtype=self.dtype, name=name)(x)
        x = Middle(self.attention, self.block, self.dtype, name="middle")(x)
        return self.out(x, bias_init=first_moments)


class Decoder(Half):
    """The encoder's mirror, with one more residual block a level."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 d"]:
        x = Conv(self.widths[-1], dtype=self.dtype, name="conv_in")(x)
        x = Middle(self.attention, self.block, self.dtype, name="middle")(x)
        for level, width in reversed(list(enumerate(self.widths))):
            if level < len(self.halve):
                double = self.halve[level]
                name = f"level{level}_up"
                x = Conv(x.shape[-1], double=double, dtype=self.dtype, name=name)(x)
            for block in range(self.blocks + 1):
                x = self.block(width, name=f"level{level}_block{block}")(x)
        return self.out(x)
