"""Long clips through a temporal autoencoder in tiles of frames (Movie Gen, section 3.1.1).

Tiles are encoded side by side and decoded with an overlap, over which two neighbours are
blended linearly. All tiles of a clip have one shape, the last is moved back to end with
the clip, and one is computed at a time: memory is that of a tile, and the compile time
does not grow with the clip.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from videojam_jax.errors import UserError


def check_tiles(
    compression: int, tile: int, overlap: int = 0, context: int = 0, key: str = ""
) -> None:
    """UserError, with `key` before a number's name, where these numbers of frames do not fit."""
    for name, count in {"tile": tile, "overlap": overlap, "context": context}.items():
        if count % compression or count < (name == "tile"):
            raise UserError(
                f"{key}{name} is {count} frames; it must be a multiple of the {compression} "
                "frames that one latent frame holds"
            )
    if overlap >= tile:
        raise UserError(
            f"{key}overlap is {overlap} frames; it must be below {key}tile, {tile}"
        )


def tile_starts(length: int, tile: int, stride: int) -> list[int]:
    """Where tiles begin so that they cover `length`; the last one ends with it.

    >>> tile_starts(10, 4, 4), tile_starts(8, 4, 2), tile_starts(3, 4, 4)
    ([0, 4, 6], [0, 2, 4], [0])
    """
    last = max(0, length - tile)
    return [*range(0, last, stride), last]


def blend_weights(
    starts: list[int], tile: int, overlap: int
) -> Float32[np.ndarray, "n tile"]:
    """The part that each tile has in each of its frames; over all tiles they sum to 1.

    Between two neighbours the weight passes over linearly, in `overlap` frames around the
    middle of what both cover: tiles count least at their ends, where they know least.
    """
    starts = np.asarray(starts, np.float64)
    middles = (starts[1:] + starts[:-1] + tile) / 2
    frames = starts[:, None] + np.arange(tile) + 0.5

    def passed(middle):
        """How much of the clip's weight is beyond tile i at a frame: 0 before, 1 after."""
        away = frames - middle[:, None]
        return np.clip(away / overlap + 0.5, 0, 1) if overlap else (away >= 0).astype(float)

    # Tile i has what has passed tile i - 1 and not yet tile i.
    before = passed(np.concatenate([[-np.inf], middles]))
    after = passed(np.concatenate([middles, [np.inf]]))
    return (before - after).astype(np.float32)


def encode_tiled(
    encode: Callable,
    video: Float[Array, "b t h w p"],
    compression: int,
    tile: int,
    context: int = 0,
) -> Float[Array, "b t2 h2 w2 c"]:
    """`encode(video)`, a tile at a time; a clip of one tile or less is taken whole.

    A clip that does not fill its last latent frame is filled with its last frame first.

    Args:
      encode: `[b, t, h, w, p] -> [b, ceil(t / compression), h2, w2, c]`, pure.
      compression: frames that become one latent frame.
      tile: frames of a tile, a multiple of `compression`.
      context: frames on both sides that a tile sees besides (at a clip's end, all on the
        inner side) and whose latents are dropped; a multiple of `compression`.

    Raises:
      UserError: tile or context is no such multiple.
    """
    check_tiles(compression, tile, context=context)
    window = tile + 2 * context
    frames = video.shape[1]
    if frames <= window:
        return encode(video)
    missing = -frames % compression
    video = jnp.pad(video, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
    frames += missing
    starts = np.asarray(tile_starts(frames, tile, tile), np.int32)
    windows = np.clip(starts - context, 0, frames - window)
    kept = tile // compression

    def one(at):
        start, skipped = at
        latent = encode(jax.lax.dynamic_slice_in_dim(video, start, window, axis=1))
        return jax.lax.dynamic_slice_in_dim(latent, skipped, kept, axis=1)

    at = jnp.asarray(windows), jnp.asarray((starts - windows) // compression)
    latents = jax.lax.map(one, at)
    whole = jnp.moveaxis(latents[:-1], 0, 1)
    whole = whole.reshape(whole.shape[0], -1, *whole.shape[3:])
    rest = frames // compression - whole.shape[1]
    return jnp.concatenate([whole, latents[-1][:, kept - rest :]], axis=1)


def decode_tiled(
    decode: Callable,
    latent: Float[Array, "b t2 h2 w2 c"],
    compression: int,
    tile: int,
    overlap: int,
) -> Float[Array, "b t h w p"]:
    """`decode(latent)`, tiles of it blended; latents of one tile or less are taken whole.

    Args:
      decode: `[b, t2, h2, w2, c] -> [b, t2 * compression, h, w, p]`, pure.
      compression: frames that one latent frame becomes.
      tile: frames of a tile, a multiple of `compression`.
      overlap: frames that two neighbours share, a multiple of `compression`, below `tile`.

    Raises:
      UserError: tile or overlap is no such multiple, or overlap is too large.
    """
    check_tiles(compression, tile, overlap)
    size = tile // compression
    length = latent.shape[1]
    if length <= size:
        return decode(latent)
    starts = np.asarray(tile_starts(length, size, size - overlap // compression), np.int32)
    weights = blend_weights(list(starts * compression), tile, overlap)
    shape = jax.eval_shape(decode, latent[:, :size])

    def add(video, at):
        start, weight = at
        part = decode(jax.lax.dynamic_slice_in_dim(latent, start, size, axis=1))
        first = start * compression
        sofar = jax.lax.dynamic_slice_in_dim(video, first, tile, axis=1)
        sofar = sofar + (weight[:, None, None, None] * part).astype(part.dtype)
        return jax.lax.dynamic_update_slice_in_dim(video, sofar, first, axis=1), None

    empty = jnp.zeros((latent.shape[0], length * compression, *shape.shape[2:]), shape.dtype)
    video, _ = jax.lax.scan(add, empty, (jnp.asarray(starts), jnp.asarray(weights)))
    return video
