"""From a config's sections to the objects they describe."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.data.clip import Clip, ClipSpec
from videojam_jax.data.prepare import prepare as prepare_clips
from videojam_jax.data.sources import Folder, Simulated, Tfds
from videojam_jax.diffusion import schedule
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.errors import UserError
from videojam_jax.models.attention import for_platform
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.autoencoders.precomputed import Precomputed
from videojam_jax.models.joint import VideoModel
from videojam_jax.models.text.bytes import ByteEncoder, ByteText
from videojam_jax.models.text.precomputed import PrecomputedText
from videojam_jax.models.trunks.movie_gen import MovieGenTrunk
from videojam_jax.motion import estimators
from videojam_jax.parallel.mesh import check_model, make_mesh

TRUNKS = {"movie_gen": MovieGenTrunk}


def clip_spec(config: FrozenConfigDict) -> ClipSpec:
    return ClipSpec(**config.clip.to_dict(), seed=config.seed)


def source(config: FrozenConfigDict):
    """The clips that `prepare` reads."""
    section, spec = config.source, clip_spec(config)
    if section.name == "simulated":
        return Simulated(
            section.clips,
            spec,
            seed=section.seed,
            kinds=section.kinds,
            bodies=section.bodies,
            pan=section.pan,
            shapes=section.shapes,
            texture=section.texture,
        )
    if section.name == "folder":
        return Folder(Path(section.path), spec)
    return Tfds(section.dataset, spec, data_dir=section.data_dir or None)


def flow_estimator(config: FrozenConfigDict) -> Callable[[Clip], np.ndarray]:
    """A clip's flow, float32 `[t - 1, h, w, 2]`."""
    if config.motion.flow == "dis":
        preset = config.motion.dis_preset
        return lambda clip: estimators.dis(clip.video, preset)

    def exact(clip: Clip) -> np.ndarray:
        if clip.flow is None:
            raise UserError(
                f"{clip.source_id}: its flow is not known, so config.motion.flow = 'exact' "
                "cannot be used; set config.motion.flow = 'dis'"
            )
        return clip.flow

    return exact


def autoencoder(config: FrozenConfigDict) -> Pixels | Precomputed:
    section = config.autoencoder
    if section.name == "pixels":
        return Pixels(section.patch, section.shift, section.scale)
    return Precomputed(section.compression, section.channels)


def text(config: FrozenConfigDict) -> ByteText | PrecomputedText:
    section = config.text
    if section.name == "bytes":
        return ByteText(section.max_length)
    return PrecomputedText(section.width, section.max_length)


def preparation(config: FrozenConfigDict) -> dict:
    """What shapes prepared clips, beside the source itself: a change asks for a new folder."""
    tree = config.to_dict()
    text = {key: tree["text"][key] for key in ("name", "max_length")}
    shaping = {"clip": tree["clip"], "motion": tree["motion"], "autoencoder": tree["autoencoder"]}
    if config.clip.crop == "random":
        shaping["seed"] = config.seed
    return {"config": _jsonable(shaping | {"text": text})}


def prepare(
    config: FrozenConfigDict,
    clips,
    out: Path,
    report: Callable[[int, int, int], None],
    process_index: int = 0,
    process_count: int = 1,
) -> dict | None:
    """`data.prepare.prepare` as the config says; `clips` is its `source`."""
    return prepare_clips(
        clips,
        flow=flow_estimator(config),
        autoencoder=autoencoder(config),
        text=text(config),
        out=out,
        settings=preparation(config),
        sigma=config.motion.sigma,
        **config.prepare.to_dict(),
        process_index=process_index,
        process_count=process_count,
        report=report,
    )


def latent_shape(config: FrozenConfigDict) -> tuple[int, int, int, int]:
    """`(t, h, w, c)` of one clip's latent; UserError if it does not divide into patches."""
    clip = config.clip
    shape = autoencoder(config).latent_shape((clip.frames, clip.height, clip.width, 3))
    if any(size % patch for size, patch in zip(shape, config.model.patch, strict=False)):
        raise UserError(
            f"a latent of {shape[0]} x {shape[1]} x {shape[2]} (from clips of {clip.frames} x "
            f"{clip.height} x {clip.width}) does not divide into config.model.patch = "
            f"{config.model.patch}"
        )
    return shape


def model(config: FrozenConfigDict, platform: str = "cpu") -> VideoModel:
    """The base or the joint model, with the attention that is best on `platform` where asked."""
    section = config.model
    dtype = jnp.dtype(section.dtype)
    *sizes, channels = latent_shape(config)
    options = section.trunk.to_dict()
    trunk = TRUNKS[options.pop("name")](
        **options,
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
        encoder = ByteEncoder(
            config.text.width,
            config.text.blocks,
            config.text.heads,
            config.text.max_length,
            dtype=dtype,
        )
    return VideoModel(trunk, channels, section.motion, section.patch, encoder, dtype)


def mesh(config: FrozenConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The config's mesh over all devices (or these); UserError when the model does not fit it."""
    made = make_mesh(config.mesh.to_dict(), devices)
    check_model(made, heads=config.model.trunk.heads, tokens=token_count(config))
    return made


def token_count(config: FrozenConfigDict) -> int:
    """Tokens of one clip in the trunk."""
    shape = latent_shape(config)
    return math.prod(n // p for n, p in zip(shape, config.model.patch, strict=False))


def init(config: FrozenConfigDict) -> Callable[[jax.Array], dict]:
    """`init(key) -> params`, boxed with logical axis names."""
    module = model(config)
    shape = latent_shape(config)

    def example_inputs():
        latent = jnp.zeros((1, *shape))
        mask = jnp.ones((1, config.text.max_length), bool)
        if config.text.name == "bytes":
            tokens = jnp.zeros(mask.shape, jnp.int32)
        else:
            tokens = jnp.zeros((*mask.shape, config.text.width))
        return latent, latent if config.model.motion else None, jnp.zeros((1,)), tokens, mask

    return lambda key: module.init(key, *example_inputs())["params"]


def architecture(config: FrozenConfigDict) -> dict:
    """What fixes the shapes of the parameters and the meaning of the latents."""
    tree = config.to_dict()
    model = {key: tree["model"][key] for key in ("motion", "patch", "trunk")}
    clip = {key: tree["clip"][key] for key in ("frames", "height", "width")}
    return _jsonable(
        {"model": model, "autoencoder": tree["autoencoder"], "text": tree["text"], "clip": clip}
    )


def loss_options(config: FrozenConfigDict) -> LossOptions:
    return LossOptions(**config.loss.to_dict())


def times(config: FrozenConfigDict) -> np.ndarray:
    """The sampler's times, `[steps + 1]` from 0 to 1."""
    section = config.sample
    if section.schedule == "linear":
        return schedule.linear(section.steps)
    if section.schedule == "shifted":
        return schedule.shifted(section.steps, section.shift)
    return schedule.linear_quadratic(section.steps, section.emulate)


def as_base(config: FrozenConfigDict) -> FrozenConfigDict:
    """The same config for the model without the motion half."""
    tree = config.to_dict()
    tree["model"]["motion"] = False
    return FrozenConfigDict(tree)


def _jsonable(tree):
    if isinstance(tree, dict):
        return {key: _jsonable(value) for key, value in tree.items()}
    return list(tree) if isinstance(tree, tuple) else tree
