"""How fast a run is, and how much of the machine it uses."""

import collections
import math
from collections.abc import Sequence

from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling
from videojam_jax.models.layers import TimeEmbedding
from videojam_jax.parallel.mesh import slice_of

# Dense bfloat16 peak of one chip, FLOP/s, from the makers' data sheets.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak_flops(devices: Sequence) -> float | None:
    """Of one device of a machine, all of one kind; None for a kind without a data sheet (a CPU)."""
    kind = devices[0].device_kind
    matches = [name for name in PEAK_FLOPS if kind.startswith(name)]
    if not matches:
        return None
    return PEAK_FLOPS[max(matches, key=len)] / devices_per_chip(devices)


def devices_per_chip(devices: Sequence) -> int:
    """1, or 2 where JAX sees the two cores of a TPU chip as devices."""
    places = collections.Counter(
        (slice_of(device), *getattr(device, "coords", (device.id,)))
        for device in devices
    )
    return max(places.values())


def step_flops(config: FrozenConfigDict) -> dict[str, float]:
    """FLOPs of each module in one training step, forward and backward, nothing recomputed.

    Forward, for a clip of n tokens with m tokens of text, each of L blocks of width d and
    FFN f does

        self-attention   2 n 4 d^2 + 4 n^2 d
        cross-attention  2 n 2 d^2 + 2 m 2 d^2 + 4 n m d   (keys and values from the text)
        FFN              2 n 3 d f

    and the backward pass twice that; where nothing before it is trained (latents, times,
    text that comes as embeddings), only once. "" is what stands in no module of its own:
    `W_in` and `W_out`.
    """
    trunk = config.model.trunk
    channels = modelling.latent_shape(config)[-1]
    n = modelling.token_count(config)
    lengths, widths = modelling.text_lengths(config), modelling.text_widths(config)
    m, d, e = sum(lengths), trunk.width, widths[0]
    features = channels * math.prod(config.model.patch) * (1 + config.model.motion)
    trained_text = config.text.name == "bytes"
    forward_and_backward = {
        "trunk/blocks/self_attention": 3 * trunk.blocks * (8 * n * d * d + 4 * n * n * d),
        "trunk/blocks/cross_attention": 3 * trunk.blocks * (4 * (n + m) * d * d + 4 * n * m * d),
        "trunk/blocks/ffn": 3 * trunk.blocks * 6 * n * d * trunk.ffn,
        "trunk/modulation": 3 * 12 * d * d,
        "trunk/last_modulation": 3 * 4 * d * d,
        "trunk/time": 2 * 2 * TimeEmbedding.frequencies * d + 3 * 2 * d * d,
        "": (2 + 3) * 2 * n * features * d,
    }
    for part, (length, width) in enumerate(zip(lengths, widths, strict=True)):
        suffix = f"_{part}" if len(widths) > 1 else ""
        passes = 3 if trained_text else 2
        forward_and_backward[f"text_in{suffix}"] = passes * 2 * length * width * d
    if trained_text:
        forward_and_backward["text_encoder"] = (
            3 * config.text.blocks * (24 * m * e * e + 4 * m * m * e)
        )
    clips = float(config.train.batch_size)
    return {module: clips * flops for module, flops in forward_and_backward.items()}
