"""The causal video autoencoder of Wan 2.1 (Wan Team, arXiv:2503.20314, section 4.1).

The first frame becomes one latent frame and every four after it one more, each 1/8 in
height and width. The clip goes through in chunks of latent frames: a convolution over time
keeps the last frames of a chunk for the next, so the result does not depend on the chunk's
length, and memory is that of one chunk. Behaviour: diffusers'
models/autoencoders/autoencoder_kl_wan.py, without tiles. `convert.layouts.wan_vae` reads its
weights.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.errors import UserError
from videojam_jax.keys import config_key
from videojam_jax.models.autoencoders.wan_blocks import (
    Cache,
    CausalConv,
    Downsample,
    FrameAttention,
    Norm,
    ResidualBlock,
    Upsample,
    through,
)
from videojam_jax.models.partition import constrain

# Mean and standard deviation of each latent channel of Wan 2.1, as its config lists them.
LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)


class Encoder(nn.Module):
    """A chunk of frames to features of `channels`. Attributes as in `WanAutoencoder`."""

    base: int
    multipliers: tuple[int, ...]
    blocks: int
    temporal: tuple[bool, ...]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache
    ) -> tuple[Float[Array, "b t2 h2 w2 d"], Cache]:
        layers = [CausalConv(self.base, dtype=self.dtype, name="conv_in")]
        for stage, times in enumerate(self.multipliers):
            width = self.base * times
            layers += [
                ResidualBlock(width, self.dtype, name=f"stage{stage}_block{block}")
                for block in range(self.blocks)
            ]
            if stage < len(self.temporal):
                time = self.temporal[stage]
                layers.append(Downsample(time, self.dtype, name=f"stage{stage}_down"))
        layers += middle(width, self.dtype)
        return head(layers, self.channels, self.dtype, x, cache)


class Decoder(nn.Module):
    """A chunk of latent frames to pixels. Attributes as in `WanAutoencoder`."""

    base: int
    multipliers: tuple[int, ...]
    blocks: int
    temporal: tuple[bool, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t h w c"], cache: Cache
    ) -> tuple[Float[Array, "b t2 h2 w2 3"], Cache]:
        width = self.base * self.multipliers[-1]
        layers = [CausalConv(width, dtype=self.dtype, name="conv_in")]
        layers += middle(width, self.dtype)
        for stage, times in enumerate(reversed(self.multipliers)):
            width = self.base * times
            layers += [
                ResidualBlock(width, self.dtype, name=f"stage{stage}_block{block}")
                for block in range(self.blocks + 1)
            ]
            if stage < len(self.temporal):
                time = self.temporal[::-1][stage]
                layers.append(Upsample(time, self.dtype, name=f"stage{stage}_up"))
        return head(layers, 3, self.dtype, x, cache)


def middle(width: int, dtype: DTypeLike) -> list[nn.Module]:
    return [
        ResidualBlock(width, dtype, name="middle_block0"),
        FrameAttention(dtype, name="middle_attention"),
        ResidualBlock(width, dtype, name="middle_block1"),
    ]


def head(
    layers: list[nn.Module],
    features: int,
    dtype: DTypeLike,
    x: Float[Array, "b t h w c"],
    cache: Cache,
) -> tuple[Float[Array, "b t2 h2 w2 d"], Cache]:
    """`x` through the layers, then norm, SiLU and the last convolution."""
    before, before_out = cache or (None, None)
    x, kept = through(layers, x, before)
    x = nn.silu(Norm(4, name="norm_out")(x))
    x, kept_out = CausalConv(features, dtype=dtype, name="conv_out")(x, before_out)
    return x, (kept, kept_out)


class WanAutoencoder(nn.Module):
    """Encoder and decoder of chunks; `WanVae` takes whole clips through it.

    Attributes:
      base: width of the encoder's first stage.
      decoder_base: of the decoder's last; None: as `base`.
      multipliers: of the width, one for each stage. Between two stages height and width
        halve.
      blocks: residual blocks of a stage; the decoder's have one more.
      temporal: whether time halves as well, one for each pair of stages.
      channels: of the latent.
      latent_mean, latent_std: of its channels; the latent is `(z - mean) / std`.
      dtype: of the computation. Norms, softmax and the latent itself are float32.
    """

    base: int = 96
    decoder_base: int | None = None
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    temporal: tuple[bool, ...] = (False, True, True)
    channels: int = 16
    latent_mean: tuple[float, ...] = LATENT_MEAN
    latent_std: tuple[float, ...] = LATENT_STD
    dtype: DTypeLike = jnp.float32

    @property
    def compression(self) -> tuple[int, int, int]:
        """Frames, rows and columns of one latent position (after the first frame)."""
        space = 2 ** len(self.temporal)
        return 2 ** sum(self.temporal), space, space

    def setup(self):
        sizes = (tuple(self.multipliers), self.blocks, tuple(self.temporal))
        self.encoder = Encoder(self.base, *sizes, 2 * self.channels, self.dtype)
        self.decoder = Decoder(self.decoder_base or self.base, *sizes, self.dtype)
        self.quant_conv = nn.Conv(2 * self.channels, (1, 1, 1), dtype=self.dtype)
        self.post_quant_conv = nn.Conv(self.channels, (1, 1, 1), dtype=self.dtype)

    def __call__(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b t h w 3"]:
        """There and back in two chunks, the first frame and the rest (at least one latent frame).

        For `init`: a clip of one frame would not make the convolutions over time.
        """
        first, cache = self.encode(video[:, :1])
        rest, _ = self.encode(video[:, 1:], cache)
        first, cache = self.decode(first)
        rest, _ = self.decode(rest, cache)
        return jnp.concatenate([first, rest], axis=1)

    def encode(
        self, video: Float[Array, "b t h w 3"], cache: Cache = None
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Cache]:
        """A chunk of frames to the posterior's normalised mean.

        Args:
          video: pixels in [-1, 1]; the clip's first frame alone, then whole latent frames.
          cache: of the chunk before; None with the first frame.
        """
        moments, cache = self.encoder(video.astype(self.dtype), cache)
        mean = self.quant_conv(moments)[..., : self.channels].astype(jnp.float32)
        return (mean - np.float32(self.latent_mean)) / np.float32(self.latent_std), cache

    def decode(
        self, latent: Float[Array, "b t h w c"], cache: Cache = None
    ) -> tuple[Float[Array, "b t2 h2 w2 3"], Cache]:
        """A chunk of normalised latent frames to pixels, clipped to [-1, 1]."""
        z = latent.astype(jnp.float32) * np.float32(self.latent_std)
        z = z + np.float32(self.latent_mean)
        video, cache = self.decoder(self.post_quant_conv(z.astype(self.dtype)), cache)
        return jnp.clip(video.astype(jnp.float32), -1, 1), cache


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params"],
    meta_fields=["module", "chunk"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class WanVae:
    """The autoencoder with its weights: the interface of `pixels.Pixels`.

    It is a pytree of its weights. Give it to a jitted function as an argument; one that
    closes over it has all weights as constants in its program.

    Attributes:
      module: sizes and dtype.
      params: the weights, as `module.init(...)["params"]` has them.
      chunk: key of `config.autoencoder`. It decides memory and speed only.
    """

    module: WanAutoencoder
    params: Any
    chunk: int = config_key(1, "latent frames that are encoded or decoded at once", minimum=1)

    @property
    def channels(self) -> int:
        return self.module.channels

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        """`(..., t, h, w, 3) -> (..., 1 + (t - 1) / 4, h / 8, w / 8, channels)`.

        Raises:
          UserError: t is not 4n + 1, or h or w is not a multiple of 8.
        """
        *batch, t, h, w, _ = video_shape
        frames, rows, columns = self.module.compression
        if t < 1 or (t - 1) % frames:
            below = 1 + max(t - 1, 0) // frames * frames
            nearest = f"{below} or {below + frames}" if t > 0 else "1"
            raise UserError(
                f"a clip of {t} frames does not fit the Wan autoencoder, which takes "
                f"{frames}n + 1 frames: set clip.frames to {nearest}"
            )
        for name, size, unit in (("height", h, rows), ("width", w, columns)):
            if size < 1 or size % unit:
                below = size // unit * unit
                nearest = f"{below} or {below + unit}" if below > 0 else f"{unit}"
                raise UserError(
                    f"a clip of {name} {size} does not fit the Wan autoencoder, which takes "
                    f"multiples of {unit}: set clip.{name} to {nearest}"
                )
        return (*batch, 1 + (t - 1) // frames, h // rows, w // columns, self.channels)

    def encode(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b t2 h2 w2 c"]:
        """Pixels in [-1, 1] to the normalised mean of the posterior, float32."""
        self.latent_shape(video.shape)
        return self._whole(WanAutoencoder.encode, video, self.module.compression[0], 1)

    def decode(self, latent: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 3"]:
        """Normalised latents to pixels, clipped to [-1, 1], float32."""
        return self._whole(WanAutoencoder.decode, latent, 1, self.module.compression[0])

    def _whole(self, method, clips, taken: int, given: int):
        def step(frames, cache):
            return self.module.apply({"params": self.params}, frames, cache, method=method)

        clips = constrain(clips, "batch", None, None, None, None)
        return by_chunks(step, clips, self.chunk, taken, given)


def by_chunks(
    step: Callable[[Array, Cache], tuple[Array, Cache]],
    x: Float[Array, "b t h w c"],
    chunk: int,
    taken: int,
    given: int,
) -> Float[Array, "b t2 h2 w2 d"]:
    """A clip through `step`, its first frame alone and the rest by chunks, in one scan.

    Args:
      step: `(frames, cache) -> (frames, cache)`; the first cache is None.
      chunk: latent frames a step, at most. The steps are of one length: where they do not
        divide the clip, zeros follow it, which no earlier frame sees, and are cut off.
      taken, given: frames that a latent frame stands for before and after the step.
    """
    first, cache = step(x[:, :1], None)
    rest = x[:, 1:]
    n = rest.shape[1] // taken
    if not n:
        return first
    steps = -(-n // chunk)
    size = -(-n // steps)
    missing = steps * size - n
    rest = jnp.pad(rest, ((0, 0), (0, missing * taken), (0, 0), (0, 0), (0, 0)))
    rest = rearrange(rest, "b (s t) h w c -> s b t h w c", s=steps)
    _, rest = jax.lax.scan(lambda cache, frames: step(frames, cache)[::-1], cache, rest)
    rest = rearrange(rest, "s b t h w c -> b (s t) h w c")
    return jnp.concatenate([first, rest[:, : n * given]], axis=1)
