"""The temporal autoencoder (TAE) of Movie Gen (arXiv 2410.13720, section 3.1.1).

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

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, MODEL, config_key
from videojam_jax.models.attention import attention
from videojam_jax.models.autoencoders.tiling import check_tiles, decode_tiled, encode_tiled

LARGEST_LOG_VARIANCE = 20.0  # and its negative the least: exp stays finite in float32
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
    """Group norm with the statistics of every frame alone, in float32."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))

        def mean(y):
            """Over rows, columns and the group: channels first, since they are the long way."""
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


_COMPRESSION = "frames, rows and columns must be powers of two, rows as columns"


def tae_latent_shape(
    video_shape: tuple[int, ...], compression: tuple[int, int, int], channels: int
) -> tuple[int, ...]:
    """`(..., t, h, w, 3) -> (..., t', h', w', c)`, any t.

    Raises:
      UserError: h or w does not divide; a compression that no net has.
    """
    if not _is_compression(compression):
        raise UserError(f"compression is {tuple(compression)}; {_COMPRESSION}")
    *batch, t, h, w, _ = video_shape
    f, r, c = compression
    if t < 1 or h < r or w < c or h % r or w % c:
        rows, columns = (max(n // m, 1) * m for n, m in ((h, r), (w, c)))
        raise UserError(
            f"a clip of {t} frames of {h} x {w} does not divide into autoencoder.compression "
            f"{compression}: height and width must be multiples of {r}, such as {rows} x {columns}"
        )
    return (*batch, -(-t // f), h // r, w // c, channels)


def _is_compression(compression: tuple[int, int, int]) -> bool:
    _, rows, columns = compression
    return rows == columns and all(n >= 1 and n & (n - 1) == 0 for n in compression)


class TaeNet(nn.Module):
    """Clips to the mean and log-variance of latents, and latents to clips.

    Rows and columns are halved after the first levels, frames after the last ones.

    It is `config.tae`. Level i has `width * multipliers[i]` channels; none of `compression` is
    above `2 ** (len(multipliers) - 1)`, rows as columns. Group norms take a frame's mean and
    contrast away, which a net of few channels cannot carry otherwise: without them, small nets
    on small clips learn in a fraction of the steps.

    Raises:
      UserError: a compression that the levels cannot give.
    """

    channels: int = config_key(16, "of a latent", minimum=1, tags=(MODEL,))
    width: int = config_key(128, "of the finest level", minimum=1, tags=(MODEL,))
    multipliers: tuple[int, ...] = config_key(
        (1, 2, 4, 4), "of the width, of each level", minimum=1, tags=(MODEL,)
    )
    blocks: int = config_key(
        2, "residual blocks of each level (one more in the decoder)", minimum=0, tags=(MODEL,)
    )
    compression: tuple[int, int, int] = config_key(
        (8, 8, 8),
        "frames, rows, columns in one latent position, powers of two",
        minimum=1,
        tags=(MODEL,),
    )
    attention: bool = config_key(
        True, "over space and over time at the coarsest level", tags=(MODEL,)
    )
    norm: bool = config_key(
        True,
        "normalise within residual blocks; a small net learns far faster without",
        tags=(MODEL,),
    )
    dtype: DTypeLike = config_key(
        "float32", "of the computation", choices=("float32", "bfloat16")
    )
    remat: bool = config_key(
        False, "compute blocks again in the backward pass, to save memory"
    )

    def __post_init__(self):
        most = 2 ** (len(self.multipliers) - 1)
        if not _is_compression(self.compression) or max(self.compression) > most:
            raise UserError(
                f"compression is {tuple(self.compression)}; {_COMPRESSION}, and "
                f"{len(self.multipliers)} multipliers allow at most {most}"
            )
        super().__post_init__()

    def setup(self):
        frames, rows, _ = (int(math.log2(n)) for n in self.compression)
        levels = len(self.multipliers)
        halve = tuple((i >= levels - 1 - frames, i < rows) for i in range(levels - 1))
        widths = tuple(self.width * m for m in self.multipliers)
        rest = (self.blocks, self.attention, self.norm, self.remat, self.dtype)
        self.encoder = Encoder(2 * self.channels, widths, halve, *rest)
        self.decoder = Decoder(3, widths, halve, *rest)

    def encode_moments(
        self, video: Float[Array, "b t h w 3"]
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Float[Array, "b t2 h2 w2 c"]]:
        """Pixels in [-1, 1] to mean and log-variance, float32; `t2 = ceil(t / frames)`."""
        mean, log_variance = jnp.split(self.encoder(video), 2, axis=-1)
        largest = LARGEST_LOG_VARIANCE
        return mean, jnp.clip(log_variance, -largest, largest)

    def decode(self, latent: Float[Array, "b t2 h2 w2 c"]) -> Float[Array, "b t h w 3"]:
        """Pixels, float32, near [-1, 1] (not clipped); `t = t2 * frames`, for you to cut."""
        return self.decoder(latent)

    def __call__(
        self,
        video: Float[Array, "b t h w 3"],
        noise: Float[Array, "b t2 h2 w2 c"] | None = None,
    ) -> tuple[
        Float[Array, "b t h w 3"], Float[Array, "b t2 h2 w2 c"], Float[Array, "b t2 h2 w2 c"]
    ]:
        """What training needs: the clip through a latent, its mean and its log-variance.

        Args:
          video: pixels in [-1, 1].
          noise: standard normal; the latent is `mean + std * noise`, None takes the mean.
        """
        mean, log_variance = self.encode_moments(video)
        latent = mean if noise is None else mean + jnp.exp(log_variance / 2) * noise
        return self.decode(latent)[:, : video.shape[1]], mean, log_variance


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "shift", "scale"),
    meta_fields=("net", "tile", "overlap", "context", "frames"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Tae:
    """A trained `TaeNet` as the package's autoencoder: `latent = (mean - shift) * scale`.

    Clips longer than a tile go through the net in tiles of frames (see `tiling`). To jit it
    is a tree of arrays: `jax.jit(Tae.decode)(tae, latent)` takes the weights as arguments,
    where `jax.jit(tae.decode)(latent)` writes them into the program as constants.

    Attributes:
      params: of `net`.
      shift, scale: arrays `[channels]`, from `reconstruction.shift_and_scale`.
      tile, overlap, context: keys of `config.autoencoder`.
      frames: that `decode` gives unless told; None gives all that the latents make.

    Raises:
      UserError: tile, overlap or context do not fit the net's compression.
    """

    net: TaeNet
    params: Any
    shift: Any  # arrays, but a tree of anything (shardings, say) may have its structure
    scale: Any
    tile: int = config_key(
        32, "frames that are encoded or decoded at once", minimum=1, tags=(CLIPS,)
    )
    overlap: int = config_key(
        16, "frames that decoded tiles share, and blend", minimum=0, tags=(CLIPS,)
    )
    context: int = config_key(
        0,
        "frames on either side that an encoded tile sees beside its own; some take the seams out "
        "of latents",
        minimum=0,
        tags=(CLIPS,),
    )
    frames: int | None = None

    def __post_init__(self):
        check_tiles(
            self.net.compression[0], self.tile, self.overlap, self.context, key="autoencoder."
        )

    @property
    def channels(self) -> int:
        return self.net.channels

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(..., t, h, w, 3) -> (..., t', h', w', c)`, any t; UserError if h or w do not divide."""
        return tae_latent_shape(video_shape, self.net.compression, self.channels)

    def encode(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b t2 h2 w2 c"]:
        """Pixels in [-1, 1] to latents, float32, near zero mean and unit variance."""
        self.latent_shape(video.shape)
        variables = {"params": self.params}

        def mean(clip):
            return self.net.apply(variables, clip, method="encode_moments")[0]

        step = self.net.compression[0]
        latent = encode_tiled(mean, video, step, self.tile, self.context)
        return (latent - self.shift) * self.scale

    def decode(
        self, latent: Float[Array, "b t2 h2 w2 c"], frames: int | None = None
    ) -> Float[Array, "b t h w 3"]:
        """Latents to pixels in [-1, 1], float32 (not clipped), cut to `frames`."""
        variables = {"params": self.params}

        def decode(part):
            return self.net.apply(variables, part, method="decode")

        step = self.net.compression[0]
        latent = latent.astype(jnp.float32) / self.scale + self.shift
        video = decode_tiled(decode, latent, step, self.tile, self.overlap)
        return video[:, : frames or self.frames]
