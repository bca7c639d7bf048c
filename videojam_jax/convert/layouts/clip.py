"""CLIP's text tower as Hugging Face stores it, alone or within a whole CLIP."""

from collections.abc import Mapping
from typing import Any

from videojam_jax.convert.layout import LINEAR, Row
from videojam_jax.errors import UserError
from videojam_jax.models.text.clip import ACTIVATIONS, ClipText

# The image tower, what joins the two, and the counting buffer that older versions wrote.
IGNORED = (
    r"vision_model\..*",
    r"(visual|text)_projection\.weight",
    r"logit_scale",
    r"(text_model\.)?embeddings\.position_ids",
)

# config.json's keys, and what transformers takes where it leaves one out.
KEYS = {
    "vocabulary": ("vocab_size", 49408),
    "width": ("hidden_size", 512),
    "ffn": ("intermediate_size", 2048),
    "heads": ("num_attention_heads", 8),
    "blocks": ("num_hidden_layers", 12),
    "max_length": ("max_position_embeddings", 77),
    "activation": ("hidden_act", "quick_gelu"),
    "eps": ("layer_norm_eps", 1e-5),
}


def rows(encoder: ClipText) -> list[Row]:
    """The layout of `encoder`'s parameters."""
    found = [
        _row("vocabulary", "embeddings.token_embedding.weight"),
        _row("positions", "embeddings.position_embedding.weight"),
        _row("norm/scale", "final_layer_norm.weight"),
        _row("norm/bias", "final_layer_norm.bias"),
    ]
    parts = {
        "norm_attention": "layer_norm1",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "out": "self_attn.out_proj",
        "norm_mlp": "layer_norm2",
        "up": "mlp.fc1",
        "down": "mlp.fc2",
    }
    for ours, public in parts.items():
        name, axes = ("scale", None) if ours.startswith("norm") else ("kernel", LINEAR)
        public = f"encoder.layers.{{}}.{public}"
        found.append(_row(f"blocks/{ours}/{name}", f"{public}.weight", axes, encoder.blocks))
        found.append(_row(f"blocks/{ours}/bias", f"{public}.bias", None, encoder.blocks))
    return found


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json`, of a text tower or a whole CLIP, as attributes of `ClipText`.

    Raises:
      UserError: it is of another model, or a value is not supported; it names the key.
    """
    kind = config.get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise UserError(
            f"config.json: model_type is {kind!r}; a CLIP text tower's is 'clip_text_model' "
            "or 'clip'"
        )
    if kind == "clip":
        # Old files have both; transformers lets the first have the say.
        parts = [config.get(key) for key in ("text_config_dict", "text_config")]
        config = next((part for part in parts if part is not None), None)
        if config is None:
            raise UserError("config.json of a CLIP: the key 'text_config' is missing")
    found = {ours: config.get(key, default) for ours, (key, default) in KEYS.items()}
    if found["activation"] not in ACTIVATIONS:
        raise UserError(
            f"config.json: hidden_act is '{found['activation']}'; supported are "
            f"{', '.join(ACTIVATIONS)}"
        )
    return found


def _row(ours: str, public: str, axes: tuple[int, ...] | None = None, stack: int = 0) -> Row:
    """A row of the tower, whose names have a prefix in most files."""
    return Row(ours, f"text_model.{public}", axes, also=(public,), stack=stack)
