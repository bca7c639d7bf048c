"""A model's parameters from the sizes in its config alone (`movie_gen`).

`plan` shows them beside what it counts in the program: where the two differ, one of them
is wrong. A step's FLOPs by the closed form are `train.throughput.step_flops`.
"""

import math

from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling
from videojam_jax.models.layers import TimeEmbedding
from videojam_jax.models.text.bytes import VOCABULARY


def parameters(config: FrozenConfigDict) -> dict[str, int]:
    """Parameters of each module.

    With width d, FFN f and L blocks: `L (8 d^2 + 3 d f)` in the products of the blocks, and
    some `10 d^2` around them.
    """
    trunk = config.model.trunk
    d, blocks = trunk.width, trunk.blocks
    *grid, channels = modelling.latent_shape(config)
    tokens = [size // patch for size, patch in zip(grid, config.model.patch, strict=True)]
    features = channels * math.prod(config.model.patch) * (1 + config.model.motion)
    counts = {
        "trunk/blocks/self_attention": blocks * 4 * d * d,
        "trunk/blocks/cross_attention": blocks * 4 * d * d,
        "trunk/blocks/ffn": blocks * 3 * d * trunk.ffn,
        "trunk/blocks/modulation": blocks * 6 * d,
        "trunk/blocks/norm_self": blocks * d,
        "trunk/blocks/norm_cross": blocks * d,
        "trunk/blocks/norm_ffn": blocks * d,
        "trunk/modulation": 6 * d * d + 6 * d,
        "trunk/last_modulation": 2 * d * d + 2 * d,
        "trunk/norm_last": d,
        "trunk/time": (TimeEmbedding.frequencies + 1) * d + (d + 1) * d,
        "trunk/positions_table": sum(tokens) * d,
        "w_in": features * d,
        "b_in": d,
        "w_out": d * features,
        "b_out": features,
    }
    widths = modelling.text_widths(config)
    for part, width in enumerate(widths):
        suffix = f"_{part}" if len(widths) > 1 else ""
        counts |= {f"text_in{suffix}": (width + 1) * d, f"text_norm{suffix}": 2 * d}
    if config.text.name == "bytes":
        counts["text_encoder"] = _byte_encoder(config)
    return counts


def _byte_encoder(config: FrozenConfigDict) -> int:
    """`12 e^2 + 2 e` a block of width e, its embeddings, and the last norm."""
    e, text = config.text.width, config.text
    return (VOCABULARY + text.max_length) * e + text.blocks * (12 * e * e + 2 * e) + e
