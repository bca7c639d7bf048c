"""From the sections `model`, `text` and `mesh` to the model that is trained, and its shapes."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax import keys
from videojam_jax.config import frozen
from videojam_jax.config.schema import TRUNKS, Config
from videojam_jax.errors import UserError
from videojam_jax.keys import make
from videojam_jax.models.attention import for_platform
from videojam_jax.models.joint import VideoModel
from videojam_jax.models.text.bytes import ByteEncoder
from videojam_jax.parallel.mesh import check_model, make_mesh
from videojam_jax.text import Text

# Of a trunk at least, and of a token with both halves. The paper has 24.
WIDTH_TO_TOKEN = 8


def latent_shape(config: FrozenConfigDict) -> tuple[int, int, int, int]:
    """`(t, h, w, c)` of one clip's latent; UserError if it does not divide into patches."""
    clip = config.clip
    shape = frozen.latent_shape(config, (clip.frames, clip.height, clip.width, 3))
    if any(size % patch for size, patch in zip(shape, config.model.patch, strict=False)):
        raise UserError(
            f"a latent of {shape[0]} x {shape[1]} x {shape[2]} (from clips of {clip.frames} x "
            f"{clip.height} x {clip.width}) does not divide into config.model.patch = "
            f"{config.model.patch}"
        )
    return shape


def text_lengths(config: FrozenConfigDict) -> tuple[int, ...]:
    """The most tokens of a text, of each of its encoders."""
    text = config.text
    return text.max_lengths if text.name == "pretrained" else (text.max_length,)


def text_widths(config: FrozenConfigDict) -> tuple[int, ...]:
    """The width of an embedding, of each of its encoders."""
    return config.text.widths if config.text.name == "pretrained" else (config.text.width,)


def model(config: FrozenConfigDict, platform: str = "cpu") -> VideoModel:
    """The base or the joint model, with the attention that is best on `platform` where asked."""
    section = config.model
    dtype = jnp.dtype(section.dtype)
    *sizes, channels = latent_shape(config)
    trunk = make(
        TRUNKS[section.trunk.name],
        section.trunk,
        positions=tuple(n // p for n, p in zip(sizes, section.patch, strict=True)),
        dtype=dtype,
        remat=section.remat,
        attention=(
            for_platform(platform, section.dtype)
            if section.attention == "auto"
            else section.attention
        ),
        attention_blocks=section.attention_blocks,
        unroll=section.unroll,
    )
    encoder = None
    if config.text.name == "bytes":
        encoder = make(ByteEncoder, config.text, dtype=dtype)
    several = len(text_lengths(config)) > 1
    return VideoModel(
        trunk,
        channels,
        section.motion,
        section.patch,
        encoder,
        dtype,
        text_parts=(
            tuple(zip(text_lengths(config), text_widths(config), strict=True)) if several else ()
        ),
    )


def mesh(config: FrozenConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The config's mesh over all devices (or these); UserError when the model does not fit it."""
    made = make_mesh(config.mesh.to_dict(), devices)
    check_model(made, heads=config.model.trunk.heads, tokens=token_count(config))
    return made


def proportions(config: FrozenConfigDict) -> list[str]:
    """What is to be said of a trunk too narrow for its tokens: a sentence, or nothing.

    Also of a base: its trunk and its tokens are those of the VideoJAM that is made from it, and
    then it is too late.
    """
    section = config.model
    half, width = math.prod(section.patch) * latent_shape(config)[-1], section.trunk.width
    if WIDTH_TO_TOKEN * 2 * half <= width:
        return []
    whose = "both halves has" if section.motion else "a VideoJAM of this base would have"
    return [
        f"a token of {whose} {half} + {half} numbers, more than an eighth of "
        f"config.model.trunk.width = {width} (the paper: 64 + 64 through 3,072). A velocity holds "
        "the noise, so all of them have to come out of the trunk again, and the motion's take "
        "room from the appearance's: use a smaller config.model.patch, fewer latent channels or a "
        "wider trunk"
    ]


def token_count(config: FrozenConfigDict) -> int:
    """Tokens of one clip in the trunk."""
    shape = latent_shape(config)
    return math.prod(n // p for n, p in zip(shape, config.model.patch, strict=False))


def init(config: FrozenConfigDict) -> Callable[[jax.Array], dict]:
    """`init(key) -> params`, boxed with logical axis names."""
    width = None if config.text.name == "bytes" else max(text_widths(config))
    return _init(
        model(config), latent_shape(config), config.model.motion, sum(text_lengths(config)), width
    )


# Equal configs share a function, whose shapes jax then finds once: that takes a second.
@functools.lru_cache(maxsize=8)
def _init(
    module: VideoModel,
    shape: tuple[int, ...],
    motion: bool,
    text_length: int,
    text_width: int | None,
) -> Callable[[jax.Array], dict]:
    def example_inputs():
        latent = jnp.zeros((1, *shape))
        mask = jnp.ones((1, text_length), bool)
        if text_width is None:
            tokens = jnp.zeros(mask.shape, jnp.int32)
        else:
            tokens = jnp.zeros((*mask.shape, text_width))
        return latent, latent if motion else None, jnp.zeros((1,)), Text(tokens, mask)

    # Traced once for the shapes and for the values.
    return jax.jit(lambda key: module.init(key, *example_inputs())["params"])


def architecture(config: FrozenConfigDict) -> dict:
    """What fixes the shapes of the parameters and the meaning of the latents."""
    return keys.jsonable(keys.tagged(Config, config, keys.MODEL))


def as_base(config: FrozenConfigDict) -> FrozenConfigDict:
    """The same config for the model without the motion half."""
    tree = config.to_dict()
    tree["model"]["motion"] = False
    return FrozenConfigDict(tree)
