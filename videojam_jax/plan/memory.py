"""Bytes on one device, by what they are for: read from shardings, and estimated."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling


def on_one_device(tree) -> int:
    """Bytes that one device holds of a tree of abstract arrays with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def of_state(state) -> dict[str, int]:
    """Of a training state: parameters, their moving average and the optimizer's two moments."""
    moments = {"mu": [], "nu": []}
    rest = [state.step]
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        names = {getattr(key, "name", None) for key in path}
        part = next((moments[name] for name in moments if name in names), rest)
        part.append(leaf)
    return {
        "parameters": on_one_device(state.params),
        "moving average": on_one_device(state.ema_params),
        "optimizer: first moment": on_one_device(moments["mu"]),
        "optimizer: second moment": on_one_device(moments["nu"]),
        "counters": on_one_device(rest),
    }


def estimated_temporary(
    config: FrozenConfigDict, mesh: Mapping[str, int], parameters: int
) -> dict[str, float]:
    """What a training step needs besides its state, by the closed form.

    For n tokens and c clips on a device, L blocks of width d and FFN f, and b bytes in a
    number of the computation:

        gradients     4 bytes a parameter, divided as the parameters are
        weights       the whole of one block's in b bytes, twice (one is fetched ahead)
        activations   L c n d b for the blocks' inputs, and what `model.remat` keeps besides:
                      attention L c n d b; dots L c n (6 d + 3 f) b; none L c n (16 d + 4 f) b
        at work       c n (16 d + 4 f) b, one block's values in the backward pass

    It orders meshes before any is compiled; the compiler has the last word.
    """
    trunk, b = config.model.trunk, jnp.dtype(config.model.dtype).itemsize
    d, tensor = trunk.width, mesh["tensor"]
    f = trunk.ffn / tensor
    clips = config.train.batch_size / (mesh["data"] * mesh["fsdp"] * config.train.accumulate)
    tokens = max(1.0, clips) * modelling.token_count(config) / mesh["context"]
    one_input = tokens * d * b
    whole = tokens * (16 * d + 4 * f) * b
    kept = {
        "full": one_input,
        "offload": 0.0,
        "attention": 2 * one_input,
        "dots": one_input + tokens * (6 * d + 3 * f) * b,
        "none": whole,
    }[config.model.remat]
    block = (8 * d * d + 3 * d * trunk.ffn) / tensor
    return {
        "gradients": 4.0 * parameters / (mesh["fsdp"] * mesh["context"] * tensor),
        "weights of a block": 2 * block * b,
        "activations kept": trunk.blocks * kept,
        "a block at work": whole,
    }
