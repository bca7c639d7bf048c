"""The temporal autoencoder (TAE) of Movie Gen (arXiv 2410.13720, section 3.1.1).

`TaeNet` is the net, of `tae_blocks`; `Tae` is a trained one as the package's autoencoder.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, MODEL, config_key
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.autoencoders.tae_blocks import Decoder, Encoder
from videojam_jax.models.autoencoders.tiling import check_tiles, decode_tiled, encode_tiled

LARGEST_LOG_VARIANCE = 20.0  # and its negative the least: exp stays finite in float32

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
    above `2 ** (len(multipliers) - 1)` (of rows and columns: times `patch`), rows as columns.
    Group norms take a frame's mean and contrast away, which a net of few channels cannot carry
    otherwise: without them, small nets on small clips learn in a fraction of the steps.

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
    patch: int = config_key(
        1,
        "rows and columns of pixels that go into the net as one position (Wan 2.2 has 2): a "
        "power of two; a small net of the same cost is wider then, and learns faster",
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
        frames, rows, _ = self.compression
        if not _is_compression(self.compression) or max(frames, rows // self.patch) > most:
            raise UserError(
                f"compression is {tuple(self.compression)}; {_COMPRESSION}, and "
                f"{len(self.multipliers)} multipliers allow at most {most}"
                + (f" times the patch of {self.patch}" if self.patch > 1 else "")
            )
        if self.patch & (self.patch - 1) or self.patch > rows:
            raise UserError(
                f"patch is {self.patch}; it must be a power of two, at most compression's {rows}"
            )
        super().__post_init__()

    def setup(self):
        frames, rows = (int(math.log2(n)) for n in self.compression[:2])
        rows -= int(math.log2(self.patch))
        levels = len(self.multipliers)
        halve = tuple((i >= levels - 1 - frames, i < rows) for i in range(levels - 1))
        widths = tuple(self.width * m for m in self.multipliers)
        rest = (self.blocks, self.attention, self.norm, self.remat, self.dtype)
        self.encoder = Encoder(2 * self.channels, widths, halve, *rest)
        self.pixels = Pixels(patch=(1, self.patch, self.patch))
        self.decoder = Decoder(self.pixels.channels, widths, halve, *rest)

    def encode_moments(
        self, video: Float[Array, "b t h w 3"]
    ) -> tuple[Float[Array, "b t2 h2 w2 c"], Float[Array, "b t2 h2 w2 c"]]:
        """Pixels in [-1, 1] to mean and log-variance, float32; `t2 = ceil(t / frames)`."""
        mean, log_variance = jnp.split(self.encoder(self.pixels.encode(video)), 2, axis=-1)
        largest = LARGEST_LOG_VARIANCE
        return mean, jnp.clip(log_variance, -largest, largest)

    def decode(self, latent: Float[Array, "b t2 h2 w2 c"]) -> Float[Array, "b t h w 3"]:
        """Pixels, float32, near [-1, 1] (not clipped); `t = t2 * frames`, for you to cut."""
        return self.pixels.decode(self.decoder(latent))

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
