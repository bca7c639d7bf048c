"""Wan 2.1's autoencoder as diffusers keeps it: `AutoencoderKLWan`, safetensors and config.json."""

from collections.abc import Mapping
from typing import Any

from videojam_jax.convert.layout import CONV2D, CONV3D, Row
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders.wan_vae import WanAutoencoder

IGNORED: tuple[str, ...] = ()  # every tensor of the file is one of ours

# gamma [c, 1, 1, 1] or [c, 1, 1]
_GAMMA3D = (1, 2, 3, 0)
_GAMMA2D = (1, 2, 0)

_ATTRIBUTES = {
    "base_dim": "base",
    "decoder_base_dim": "decoder_base",
    "dim_mult": "multipliers",
    "num_res_blocks": "blocks",
    "temperal_downsample": "temporal",
    "z_dim": "channels",
    "latents_mean": "latent_mean",
    "latents_std": "latent_std",
}
# Keys that change what is computed, and the only value that Wan 2.1 has.
_FIXED = {
    "attn_scales": [],
    "in_channels": 3,
    "is_residual": False,
    "out_channels": 3,
    "patch_size": None,
}
# Dropout acts while training alone; diffusers no longer reads the other and always clips.
_NO_MATTER = {"dropout", "clip_output"}
# Where in `WanAutoencoder.compression` a key's number has to stand; null is as good.
_COMPRESSION = {"scale_factor_temporal": 0, "scale_factor_spatial": 1}


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of `WanAutoencoder` from diffusers' config.json; what it lacks is Wan 2.1's.

    Raises:
      UserError: another kind of model, or a value that this one does not have (Wan 2.2's
        `patch_size` and `is_residual`, say); the key is named.
    """
    name = config.get("_class_name", "AutoencoderKLWan")
    if name != "AutoencoderKLWan":
        raise UserError(f"config.json: _class_name is {name!r}, not 'AutoencoderKLWan'")
    found = {}
    for key, value in config.items():
        if key in _ATTRIBUTES:
            found[_ATTRIBUTES[key]] = tuple(value) if isinstance(value, list) else value
        elif key in _FIXED:
            if value != _FIXED[key]:
                raise UserError(
                    f"config.json: {key} is {value!r}; the autoencoder of Wan 2.1, the only "
                    f"one there is here, has {_FIXED[key]!r}"
                )
        elif not key.startswith("_") and key not in {*_NO_MATTER, *_COMPRESSION}:
            raise UserError(f"config.json: unknown key {key!r} = {value!r}")
    _check_sizes(config, WanAutoencoder(**found))
    return found


def _check_sizes(config: Mapping[str, Any], module: WanAutoencoder) -> None:
    lengths = {
        "temperal_downsample": (module.temporal, len(module.multipliers) - 1),
        "latents_mean": (module.latent_mean, module.channels),
        "latents_std": (module.latent_std, module.channels),
    }
    for key, (values, wanted) in lengths.items():
        if len(values) != wanted:
            raise UserError(
                f"config.json: {key} has {len(values)} values; with z_dim {module.channels} "
                f"and dim_mult {list(module.multipliers)} it has {wanted}"
            )
    for key, axis in _COMPRESSION.items():
        wanted = module.compression[axis]
        if config.get(key) not in (None, wanted):
            raise UserError(
                f"config.json: {key} is {config[key]}; dim_mult and temperal_downsample make "
                f"it {wanted}"
            )


def rows(module: WanAutoencoder) -> list[Row]:
    """One row for each array of the module's parameters."""
    return [
        *_encoder(module),
        *_conv("quant_conv", "quant_conv", CONV3D),
        *_conv("post_quant_conv", "post_quant_conv", CONV3D),
        *_decoder(module),
    ]


def _encoder(module: WanAutoencoder) -> list[Row]:
    found = _conv("encoder/conv_in", "encoder.conv_in", CONV3D)
    width = module.base
    public = 0  # diffusers counts residual blocks and downsamples of all stages together
    for stage, times in enumerate(module.multipliers):
        for block in range(module.blocks):
            changes, width = width != module.base * times, module.base * times
            ours = f"encoder/stage{stage}_block{block}"
            found += _residual(ours, f"encoder.down_blocks.{public}", changes)
            public += 1
        if stage < len(module.temporal):
            ours, theirs = f"encoder/stage{stage}_down", f"encoder.down_blocks.{public}"
            found += _resample(ours, theirs, module.temporal[stage])
            public += 1
    return found + _middle("encoder") + _head("encoder")


def _decoder(module: WanAutoencoder) -> list[Row]:
    base = module.decoder_base or module.base
    found = _conv("decoder/conv_in", "decoder.conv_in", CONV3D) + _middle("decoder")
    width = base * module.multipliers[-1]
    for stage, times in enumerate(reversed(module.multipliers)):
        theirs = f"decoder.up_blocks.{stage}"
        for block in range(module.blocks + 1):
            changes, width = width != base * times, base * times
            ours = f"decoder/stage{stage}_block{block}"
            found += _residual(ours, f"{theirs}.resnets.{block}", changes)
        if stage < len(module.temporal):
            time = module.temporal[::-1][stage]
            found += _resample(f"decoder/stage{stage}_up", f"{theirs}.upsamplers.0", time)
            width //= 2
    return found + _head("decoder")


def _middle(half: str) -> list[Row]:
    theirs = f"{half}.mid_block"
    attention, public = f"{half}/middle_attention", f"{theirs}.attentions.0"
    return [
        *_residual(f"{half}/middle_block0", f"{theirs}.resnets.0", False),
        Row(f"{attention}/norm/gamma", f"{public}.norm.gamma", _GAMMA2D),
        *_conv(f"{attention}/qkv", f"{public}.to_qkv", CONV2D),
        *_conv(f"{attention}/out", f"{public}.proj", CONV2D),
        *_residual(f"{half}/middle_block1", f"{theirs}.resnets.1", False),
    ]


def _head(half: str) -> list[Row]:
    norm = Row(f"{half}/norm_out/gamma", f"{half}.norm_out.gamma", _GAMMA3D)
    return [norm, *_conv(f"{half}/conv_out", f"{half}.conv_out", CONV3D)]


def _residual(ours: str, public: str, changes_width: bool) -> list[Row]:
    found = []
    for number in (1, 2):
        norm, conv = f"norm{number}", f"conv{number}"
        found.append(Row(f"{ours}/{norm}/gamma", f"{public}.{norm}.gamma", _GAMMA3D))
        found += _conv(f"{ours}/{conv}", f"{public}.{conv}", CONV3D)
    if changes_width:
        found += _conv(f"{ours}/shortcut", f"{public}.conv_shortcut", CONV3D)
    return found


def _resample(ours: str, public: str, time: bool) -> list[Row]:
    over_time = _conv(f"{ours}/time_conv", f"{public}.time_conv", CONV3D) if time else []
    return _conv(f"{ours}/conv", f"{public}.resample.1", CONV2D) + over_time


def _conv(ours: str, public: str, axes: tuple[int, ...]) -> list[Row]:
    return [
        Row(f"{ours}/kernel", f"{public}.weight", axes),
        Row(f"{ours}/bias", f"{public}.bias"),
    ]
