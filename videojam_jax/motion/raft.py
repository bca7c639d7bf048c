"""Optical flow of clips by RAFT, in one program over any number of devices.

Everything here is a pure function of arrays. Compiled by `jax.jit` with the clips divided
over devices along their batch axis, each device estimates the flow of its own clips and
sends nothing.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jax import lax
from jaxtyping import Array, Float, UInt8

from videojam_jax.errors import UserError
from videojam_jax.keys import CLIPS, HOST, config_key
from videojam_jax.models.autoencoders.pixels import from_uint8
from videojam_jax.models.raft import DOWN, RAFT, UPDATES

# RAFT was trained on larger frames, and its coarsest correlations of smaller ones are of a
# pixel or none. Frames with a shorter side below this are enlarged first.
SHORTEST = 128

Clips = UInt8[Array, "b t h w 3"] | Float[Array, "b t h w 3"]


@dataclasses.dataclass(frozen=True)
class RaftOptions:
    """RAFT as it estimates the flow of clips, `config.motion.raft`."""

    weights: str = config_key(
        "",
        "of RAFT: torchvision's or princeton-vl's file, or what `convert` made of one; random: "
        "random ones, for a try",
        path=True,
        tags=(HOST,),
    )
    size: str = config_key(
        "large",
        "of random weights; files tell theirs",
        choices=("large", "small"),
        tags=(CLIPS,),
    )
    updates: int = config_key(UPDATES, "of the flow; VBench takes 20", minimum=1, tags=(CLIPS,))
    pairs: int = config_key(
        16,
        "consecutive pairs of frames, of each clip of a batch, worked on at once",
        minimum=1,
    )
    correlation: str = config_key(
        "all_pairs",
        "how correlations are kept: on_demand is for large frames, whose pairs of pixels do not "
        "fit",
        choices=("all_pairs", "on_demand"),
    )
    dtype: str = config_key(
        "float32", "of its convolutions", choices=("float32", "bfloat16"), tags=(CLIPS,)
    )


def pad(frames: Float[Array, "... h w c"]) -> Float[Array, "... h2 w2 c"]:
    """Repeats the border until the sides are multiples of 8, the picture in the middle.

    As princeton-vl/RAFT `core/utils/utils.py` InputPadder does for Sintel: an odd row or
    column more goes below and to the right.
    """
    sides = [_margins(size) for size in frames.shape[-3:-1]]
    return jnp.pad(frames, [(0, 0)] * (frames.ndim - 3) + [*sides, (0, 0)], mode="edge")


def unpad(flow: Float[Array, "... h2 w2 c"], height: int, width: int) -> Float[Array, "... h w c"]:
    """The part of a flow of padded frames that is the picture."""
    top, left = _margins(height)[0], _margins(width)[0]
    return flow[..., top : top + height, left : left + width, :]


def enlargement(height: int, width: int) -> int:
    """By what whole factor frames are enlarged before their flow is estimated."""
    return -(-SHORTEST // min(height, width))


def flow_of_clips(
    model: RAFT,
    params: Mapping[str, Any],
    video: Clips,
    *,
    updates: int = RaftOptions.updates,
    pairs: int = RaftOptions.pairs,
) -> Float[Array, "b s h w 2"]:
    """The flow from every frame of a clip to the next one.

    Args:
      model, params: the network and its parameters.
      video: `t >= 2` frames of any size, 0 to 255 or in [-1, 1].
      updates: refinements of each flow.
      pairs: pairs of frames of each clip that are worked on at once. Memory grows with it;
        a frame between two such groups is encoded twice, every other one once.

    Returns:
      float32 `[b, t - 1, h, w, 2]`, `(u, v)` in pixels of the video.
    """

    def forward(frames):
        features = _encode(model, params, frames, "features")
        context = _encode(model, params, frames[:, :-1], "context")
        return _refine(model, params, features[:, :-1], features[:, 1:], context, updates)

    return _in_groups(forward, video, pairs)


def _in_groups(
    estimate: Callable[[Float[Array, "b n h w 3"]], Float[Array, "b m h2 w2 2"]],
    video: Clips,
    pairs: int,
) -> Float[Array, "b s h w 2"]:
    """The flow that `estimate` gives for `pairs + 1` successive frames, group after group.

    It is given frames as RAFT wants them: in [-1, 1], large enough, padded.
    """
    t, height, width = video.shape[1:4]
    if t < 2:
        raise UserError(f"a clip of {t} frame has no flow: it takes two")
    if pairs < 1:
        raise UserError(f"{pairs} pairs of frames at once: it takes at least one")
    pairs = min(pairs, t - 1)
    groups = -(-(t - 1) // pairs)
    factor = enlargement(height, width)
    # The last group may reach beyond the clip's end: there, the last frame repeats.
    short = groups * pairs + 1 - t
    video = jnp.pad(video, [(0, 0), (0, short), (0, 0), (0, 0), (0, 0)], mode="edge")

    def group(start):
        frames = lax.dynamic_slice_in_dim(video, start, pairs + 1, axis=1)
        frames = from_uint8(frames) if frames.dtype == jnp.uint8 else frames.astype(jnp.float32)
        if factor > 1:
            size = (*frames.shape[:2], factor * height, factor * width, 3)
            frames = jax.image.resize(frames, size, "bilinear")
        flow = unpad(estimate(pad(frames)), factor * height, factor * width)
        if factor > 1:
            flow = reduce(flow, "... (h p) (w q) c -> ... h w c", "mean", p=factor, q=factor)
        return flow / factor

    flow = lax.map(group, pairs * jnp.arange(groups))
    return rearrange(flow, "g b n ... -> b (g n) ...")[:, : t - 1]


def _encode(
    model: RAFT, params: Mapping[str, Any], frames: Float[Array, "b n h w 3"], what: str
) -> Float[Array, "b n h8 w8 c"]:
    """The "features" or the "context" of each frame."""
    flat = rearrange(frames, "b n ... -> (b n) ...")
    maps = model.apply({"params": params}, flat, method=what)
    return rearrange(maps, "(b n) ... -> b n ...", b=frames.shape[0])


def _refine(
    model: RAFT,
    params: Mapping[str, Any],
    first: Float[Array, "b n h w c"],
    second: Float[Array, "b n h w c"],
    context: Float[Array, "b n h w d"],
    updates: int,
) -> Float[Array, "b n h8 w8 2"]:
    b = first.shape[0]
    flat = [rearrange(x, "b n ... -> (b n) ...") for x in (first, second, context)]
    flow = model.apply({"params": params}, *flat, updates=updates, method="refine")
    return rearrange(flow, "(b n) ... -> b n ...", b=b)


def _margins(size: int) -> tuple[int, int]:
    missing = -size % DOWN
    return missing // 2, missing - missing // 2
