"""RAFT's correlation of every pixel of one frame with the neighbourhood of its match.

Teed and Deng 2020 (arXiv:2003.12039), section 3.2; the values are those of princeton-vl/RAFT
`core/corr.py` and torchvision `models/optical_flow/raft.py` (CorrBlock). A window of
`2 radius + 1` squared samples at whole-pixel distances around a point is bilinear in the
point, so it is two small matrix products, one along the rows and one along the columns,
with the hat function `max(0, 1 - |distance|)` as weights. That needs no gather (slow on a
TPU), is zero outside the picture by itself, and works in pixels: a level of one row or of
none, where dividing by `size - 1` fails, is a size like any other.
"""

import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jax import lax
from jaxtyping import Array, Float

# What these products round, every update of the flow would read again.
_EXACT = lax.Precision.HIGHEST


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    return reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=2, q=2)


def feature_pyramid(
    features: Float[Array, "b h w c"], levels: int
) -> list[Float[Array, "b _ _ c"]]:
    """The second frame's features at 1, 1/2, 1/4 ... of their size.

    A correlation is linear in them: correlating with pooled features gives the pooled
    correlations, at a fraction of the cost of pooling these.
    """
    pyramid = [features.astype(jnp.float32)]
    for _ in range(levels - 1):
        pyramid.append(halve(pyramid[-1]))
    return pyramid


def correlate(
    first: Float[Array, "b q c"], second: Float[Array, "b h w c"]
) -> Float[Array, "b q h w"]:
    """Dot products of every vector with every other, over `sqrt(c)`, in float32."""
    first = first.astype(jnp.float32) / jnp.sqrt(jnp.float32(first.shape[-1]))
    return jnp.einsum("bqc,bhwc->bqhw", first, second.astype(jnp.float32), precision=_EXACT)


def look_up(
    volume: Float[Array, "b q h w"], points: Float[Array, "b q 2"], radius: int
) -> Float[Array, "b q k"]:
    """Bilinear samples of each `[h, w]` around its point; zero outside.

    Args:
      volume: one map for each of the `q` points.
      points: `(x, y)` in pixels of the maps.
      radius: whole-pixel offsets from `-radius` to `radius` along x and y.

    Returns:
      `(2 radius + 1)^2` samples a point, in the order the public weights expect: the
      offset along x changes slowest.
    """
    height, width = volume.shape[-2:]
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    along_x = _hats(points[..., 0, None] + offsets, width)
    along_y = _hats(points[..., 1, None] + offsets, height)
    columns = jnp.einsum("bqhw,bqiw->bqhi", volume, along_x, precision=_EXACT)
    window = jnp.einsum("bqhi,bqjh->bqij", columns, along_y, precision=_EXACT)
    return window.reshape(*window.shape[:2], -1)


def all_pairs(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"], levels: int, radius: int
):
    """A function from points to windows that keeps every correlation in memory.

    Returns:
      `lookup(points [b h w 2]) -> [b h w (levels k)]`; level i is looked up at
      `points / 2^i`. It holds `4/3 (h w)^2` float32 an example.
    """
    height, width = first.shape[1:3]
    queries = first.reshape(first.shape[0], height * width, -1)
    volumes = [correlate(queries, level) for level in feature_pyramid(second, levels)]

    def lookup(points: Float[Array, "b h w 2"]) -> Float[Array, "b h w k"]:
        flat = points.reshape(points.shape[0], height * width, 2)
        windows = [look_up(volume, flat / 2**i, radius) for i, volume in enumerate(volumes)]
        return jnp.concatenate(windows, -1).reshape(*points.shape[:3], -1)

    return lookup


def on_demand(
    first: Float[Array, "b h w c"],
    second: Float[Array, "b h w c"],
    levels: int,
    radius: int,
    at_once: int = 2**25,
):
    """As `all_pairs`, but each lookup correlates anew, some rows of the first frame at a time.

    The whole rows are correlated with the whole second frame: that is more arithmetic than
    the windows alone, but a matrix product. On a CPU, at 480 x 832, it took a third of the
    time that gathering the windows' features did, and no more than `all_pairs`.

    Args:
      at_once: bytes of correlations an example that are held at a time; at least a row's,
        `16/3 w (h w)`.
    """
    height, width = first.shape[1:3]
    pyramid = feature_pyramid(second, levels)
    row = 4 * width * sum(level.shape[1] * level.shape[2] for level in pyramid)
    rows = max(n for n in range(1, height + 1) if height % n == 0 and n * row <= max(row, at_once))

    def blocks(x: Float[Array, "b h w c"]) -> Float[Array, "n b q c"]:
        return rearrange(x, "b (n r) w c -> n b (r w) c", r=rows)

    queries = blocks(first)

    def one_block(block):
        features, points = block
        windows = [
            look_up(correlate(features, level), points / 2**i, radius)
            for i, level in enumerate(pyramid)
        ]
        return jnp.concatenate(windows, -1)

    def lookup(points: Float[Array, "b h w 2"]) -> Float[Array, "b h w k"]:
        found = lax.map(one_block, (queries, blocks(points)))
        return rearrange(found, "n b (r w) k -> b (n r) w k", r=rows)

    return lookup


CORRELATIONS = {"all_pairs": all_pairs, "on_demand": on_demand}


def _hats(centres: Float[Array, "b q i"], size: int) -> Float[Array, "b q i n"]:
    """Weights of `size` pixels in a linear interpolation at each centre."""
    pixels = jnp.arange(size, dtype=jnp.float32)
    return jax.nn.relu(1 - jnp.abs(centres[..., None] - pixels))
