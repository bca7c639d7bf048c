"""The encoders of T5, mT5, ByT5, UL2 and umT5 as Hugging Face stores them.

`T5EncoderModel.save_pretrained` gives names that start with "encoder."; a whole
encoder-decoder has the same ones and its decoder besides. The token embedding is called
"shared" or "encoder.embed_tokens", or both for the one tensor.
"""

from collections.abc import Mapping
from typing import Any

from videojam_jax.convert.layout import LINEAR, Row
from videojam_jax.errors import UserError
from videojam_jax.models.text.t5 import ACTIVATIONS, T5Encoder

# The rest of an encoder-decoder: its decoder and what stands on it.
IGNORED = (r"decoder\..*", r"lm_head\..*")

# config.json's keys, and what transformers takes where it leaves one out (None: needed).
KEYS = {
    "vocabulary": ("vocab_size", None),
    "width": ("d_model", None),
    "ffn": ("d_ff", None),
    "heads": ("num_heads", None),
    "head_width": ("d_kv", None),
    "blocks": ("num_layers", None),
    "buckets": ("relative_attention_num_buckets", 32),
    "max_distance": ("relative_attention_max_distance", 128),  # ByT5's leaves it out
    "eps": ("layer_norm_epsilon", 1e-6),
}
MODEL_TYPES = ("t5", "mt5", "umt5")


def rows(encoder: T5Encoder) -> list[Row]:
    """The layout of `encoder`'s parameters."""
    found = [
        Row(
            "vocabulary",
            "shared.weight",
            also=("encoder.embed_tokens.weight", "embed_tokens.weight"),
        ),
        _row("norm/scale", "final_layer_norm.weight"),
    ]
    attention, feed_forward = "layer.0.SelfAttention", "layer.1.DenseReluDense"
    names = {
        "norm_attention/scale": "layer.0.layer_norm.weight",
        "q/kernel": f"{attention}.q.weight",
        "k/kernel": f"{attention}.k.weight",
        "v/kernel": f"{attention}.v.weight",
        "out/kernel": f"{attention}.o.weight",
        "norm_mlp/scale": "layer.1.layer_norm.weight",
        "down/kernel": f"{feed_forward}.wo.weight",
    }
    if encoder.activation.startswith("gated-"):
        names["gate/kernel"] = f"{feed_forward}.wi_0.weight"
        names["up/kernel"] = f"{feed_forward}.wi_1.weight"
    else:
        names["up/kernel"] = f"{feed_forward}.wi.weight"
    bias = f"{attention}.relative_attention_bias.weight"
    if encoder.bias_in_every_block:
        names["relative_bias"] = bias
    else:
        found.append(_row("relative_bias", f"block.0.{bias}"))
    for ours, public in names.items():
        axes = LINEAR if ours.endswith("/kernel") else None
        found.append(_row(f"blocks/{ours}", f"block.{{}}.{public}", axes, encoder.blocks))
    return found


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json` as attributes of `T5Encoder`.

    Raises:
      UserError: a key is missing or its value not supported; it names the key.
    """
    kind = _model_type(config)
    found = {}
    for ours, (key, default) in KEYS.items():
        found[ours] = config.get(key, default)
        if found[ours] is None:
            raise UserError(f"config.json of a {kind} encoder: the key '{key}' is missing")
    activation = config.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
    if activation not in ACTIVATIONS:
        raise UserError(
            f"config.json: feed_forward_proj is '{activation}'; supported are "
            f"{', '.join(ACTIVATIONS)}"
        )
    return found | {"activation": activation, "bias_in_every_block": kind == "umt5"}


def _model_type(config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    if kind is None:  # google/umt5-xl says its class alone
        architecture = str((config.get("architectures") or [""])[0]).lower()
        known = sorted(MODEL_TYPES, key=len, reverse=True)
        kind = next((name for name in known if architecture.startswith(name)), None)
    if kind not in MODEL_TYPES:
        raise UserError(
            f"config.json: model_type is {kind!r}; a T5 encoder's is one of "
            f"{', '.join(MODEL_TYPES)}"
        )
    return kind


def _row(ours: str, public: str, axes: tuple[int, ...] | None = None, stack: int = 0) -> Row:
    """A row of the encoder, which also stands alone without its prefix."""
    return Row(ours, f"encoder.{public}", axes, also=(public,), stack=stack)
