"""From a config's sections to the objects they describe."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax import frozen, keys
from videojam_jax.config.schema import TRUNKS, Config
from videojam_jax.data.clip import Clip, ClipSpec
from videojam_jax.data.encode import Rates
from videojam_jax.data.prepare import prepare as prepare_clips
from videojam_jax.data.simulate import SimulatedOptions
from videojam_jax.data.sources import Folder, Simulated, Tfds
from videojam_jax.diffusion import schedule
from videojam_jax.diffusion.loss import LossOptions
from videojam_jax.errors import UserError
from videojam_jax.keys import make
from videojam_jax.models.attention import for_platform
from videojam_jax.models.autoencoders.discriminator import PatchDiscriminator
from videojam_jax.models.autoencoders.reconstruction import ReconstructionOptions
from videojam_jax.models.autoencoders.tae import TaeNet, tae_latent_shape
from videojam_jax.models.joint import VideoModel
from videojam_jax.models.text.bytes import ByteEncoder
from videojam_jax.motion import estimators
from videojam_jax.parallel.mesh import check_model, make_mesh
from videojam_jax.text import Text


def clip_spec(config: FrozenConfigDict) -> ClipSpec:
    return make(ClipSpec, config.clip, seed=config.seed)


def source(config: FrozenConfigDict):
    """The clips that `prepare` reads."""
    section, spec = config.source, clip_spec(config)
    if section.name == "simulated":
        return Simulated(make(SimulatedOptions, section), spec)
    if section.name == "folder":
        return Folder(Path(section.path), spec)
    return Tfds(section.dataset, spec, data_dir=section.data_dir or None)


def flow_estimator(config: FrozenConfigDict) -> Callable[[Clip], np.ndarray] | None:
    """A clip's flow, float32 `[t - 1, h, w, 2]`, on the CPU; None where devices estimate it."""
    if config.motion.flow == "raft":
        return None
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


def preparation(config: FrozenConfigDict) -> dict:
    """What shapes prepared clips, beside the source itself: a change asks for a new folder.

    Where weights lie does not shape them; what they are is told by `frozen.fingerprints`.
    """
    shaping = keys.tagged(Config, config, keys.CLIPS)
    if config.motion.flow != "raft":
        del shaping["motion"]["raft"]
    # What every encoder was given before these keys were is left out, as in folders of then.
    text = shaping["text"]
    if set(text.get("reads", ())) <= {"prompt"}:
        text.pop("reads", None)
    if not text.get("fps_prefix"):
        text.pop("fps_prefix", None)
    if config.clip.crop == "random":
        shaping["seed"] = config.seed
    return {"config": _jsonable(shaping)}


def prepare(
    config: FrozenConfigDict,
    clips,
    out: Path,
    report: Callable[[int, int, int], None],
    process_index: int = 0,
    process_count: int = 1,
    tell_rates: Callable[[Rates], None] = lambda rates: None,
) -> dict | None:
    """`data.prepare.prepare` as the config says; `clips` is its `source`."""
    encoder, device_flow = frozen.autoencoder(config), frozen.device_flow(config)
    words = frozen.text(config)
    weights = frozen.fingerprints(encoder, device_flow, words)
    return prepare_clips(
        clips,
        flow=flow_estimator(config),
        autoencoder=encoder,
        text=words,
        out=out,
        settings=preparation(config) | ({"weights": weights} if weights else {}),
        sigma=config.motion.sigma,
        **config.prepare.to_dict(),
        process_index=process_index,
        process_count=process_count,
        report=report,
        device_flow=device_flow,
        tell_rates=tell_rates,
    )


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
        encoder = ByteEncoder(
            config.text.width,
            config.text.blocks,
            config.text.heads,
            config.text.max_length,
            dtype=dtype,
        )
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
    return _jsonable(keys.tagged(Config, config, keys.MODEL))


def held_out(config: FrozenConfigDict, clips: int) -> range:
    """The clips that an autoencoder is not trained on: the last of its source.

    UserError when none is left to train on.
    """
    kept = config.reconstruction.held_out
    if clips <= kept:
        raise UserError(
            f"the source has {clips} clips, of which config.reconstruction.held_out = {kept} are "
            "kept from training: give it more clips, or keep fewer"
        )
    return range(clips - kept, clips)


def autoencoder_net(config: FrozenConfigDict) -> TaeNet:
    """The temporal autoencoder that is trained."""
    return make(TaeNet, config.tae, dtype=jnp.dtype(config.tae.dtype))


def discriminator(config: FrozenConfigDict) -> PatchDiscriminator | None:
    """The critic of its training; None where it has no weight."""
    section = config.reconstruction
    if not section.adversarial:
        return None
    return PatchDiscriminator(section.discriminator_width, dtype=jnp.dtype(config.tae.dtype))


def autoencoder_init(config: FrozenConfigDict) -> Callable[[jax.Array], dict]:
    """`init(key) -> params` of the autoencoder and, where there is one, its discriminator."""
    net, critic, clip = autoencoder_net(config), discriminator(config), config.clip
    shape = clip.frames, clip.height, clip.width, 3
    tae_latent_shape(shape, config.tae.compression, config.tae.channels)

    @jax.jit  # traced once for the shapes and for the values
    def init(key):
        video = jnp.zeros((1, config.tae.compression[0], clip.height, clip.width, 3))
        params = {"autoencoder": net.init(key, video)["params"]}
        if critic is not None:
            params["discriminator"] = critic.init(jax.random.fold_in(key, 1), video)["params"]
        return params

    return init


def autoencoder_architecture(config: FrozenConfigDict) -> dict:
    """What fixes the shapes of a temporal autoencoder's parameters."""
    tae = keys.tagged(TaeNet, config.tae, keys.MODEL)
    section = config.reconstruction
    width = section.discriminator_width if section.adversarial else 0
    return _jsonable({"tae": tae, "discriminator": width})


def reconstruction_options(config: FrozenConfigDict) -> ReconstructionOptions:
    return make(ReconstructionOptions, config.reconstruction)


def loss_options(config: FrozenConfigDict) -> LossOptions:
    return make(LossOptions, config.loss)


def times(config: FrozenConfigDict) -> np.ndarray:
    """The sampler's times, `[steps + 1]` from 0 to 1."""
    section = config.sample
    if section.schedule == "linear":
        return schedule.linear(section.steps)
    if section.schedule == "shifted":
        return schedule.shifted(section.steps, section.shift)
    return schedule.linear_quadratic(section.steps, section.emulate)


def inner_steps(config: FrozenConfigDict) -> int:
    """How many of the first sampling steps have the motion's guidance.

    The share of them, rounded; half a step goes to the even number.
    """
    return round(config.sample.inner_share * config.sample.steps)


def as_base(config: FrozenConfigDict) -> FrozenConfigDict:
    """The same config for the model without the motion half."""
    tree = config.to_dict()
    tree["model"]["motion"] = False
    return FrozenConfigDict(tree)


def _jsonable(tree):
    if isinstance(tree, dict):
        return {key: _jsonable(value) for key, value in tree.items()}
    return list(tree) if isinstance(tree, tuple) else tree
