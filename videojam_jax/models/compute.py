"""How a trunk is computed, whichever it is: precision, recomputation, attention."""

import dataclasses

import jax

from videojam_jax.keys import config_key
from videojam_jax.models.splash import BLOCKS, CHECKPOINT_NAME

# What the backward pass may keep of a block; everything else is computed again.
# "attention" keeps the results of splash attention (the other implementations have no
# name in them, and are computed again), "dots" those and all products with weights;
# "offload" keeps each block's input in the host's memory until the backward pass comes
# to it.
REMAT_POLICIES = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(CHECKPOINT_NAME),
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(CHECKPOINT_NAME),
    ),
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=["block_input"],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


@dataclasses.dataclass(frozen=True)
class ComputeOptions:
    """Keys of `config.model` that change no number but for rounding."""

    dtype: str = config_key(
        "float32",
        "of the computation (parameters stay float32)",
        choices=("float32", "bfloat16"),
    )
    remat: str = config_key(
        "none",
        "what the backward pass computes again: full, all of a block; attention, all but splash "
        "attention; dots, all but that and the products with weights; offload, as full with the "
        "blocks' inputs in the host's memory",
        choices=tuple(REMAT_POLICIES),
    )
    unroll: int = config_key(
        1, "blocks compiled side by side: faster on a CPU, slower to compile", minimum=1
    )
    attention: str = config_key(
        "auto",
        "implementation; auto: splash on TPU, cudnn on GPU in bfloat16, else xla",
        choices=("auto", "xla", "cudnn", "splash"),
    )
    attention_blocks: tuple[int, int] = config_key(
        BLOCKS, "queries and keys that splash holds at once, multiples of 128", minimum=128
    )
