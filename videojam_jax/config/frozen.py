"""The models that are not trained here, with their weights: autoencoder, text, optical flow.

A config names them and says where their weights are. Training needs none of them: it reads
what `prepare` made with them. `latent_shape` is what it needs to know.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.builtin import run_folder
from videojam_jax.checkpoints.read import load_params, read_architecture
from videojam_jax.convert.tokenizers import open_tokenizer
from videojam_jax.convert.weights import drawn, kind_of, load_weights, random_weights
from videojam_jax.errors import UserError
from videojam_jax.keys import RANDOM, make
from videojam_jax.models.autoencoders.discriminator import PatchDiscriminator
from videojam_jax.models.autoencoders.pixels import Pixels
from videojam_jax.models.autoencoders.precomputed import Precomputed
from videojam_jax.models.autoencoders.tae import Tae, TaeNet, tae_latent_shape
from videojam_jax.models.autoencoders.wan_vae import WanAutoencoder, WanVae
from videojam_jax.models.raft import RAFT
from videojam_jax.models.text.bytes import ByteText
from videojam_jax.models.text.precomputed import PrecomputedText
from videojam_jax.models.text.pretrained import PretrainedText, TextEncoder
from videojam_jax.models.text.reading import fps_prefix
from videojam_jax.motion.raft import flow_of_clips
from videojam_jax.parallel.fingerprint import fingerprint
from videojam_jax.parallel.mesh import make_mesh
from videojam_jax.parallel.rules import partitioned, tree_shardings
from videojam_jax.randomness import key_for

Autoencoder = Pixels | Precomputed | Tae | WanVae


def latent_shape(config: FrozenConfigDict, video_shape: tuple[int, ...]) -> tuple[int, ...]:
    """`(..., t, h, w, 3) -> (..., t', h', w', c)`, which no autoencoder's weights are needed for.

    Raises:
      UserError: the autoencoder does not take clips of this shape.
    """
    section = config.autoencoder
    if section.name == "tae":
        return tae_latent_shape(video_shape, section.compression, section.channels)
    if section.name == "wan_vae":
        return WanVae(WanAutoencoder(), None).latent_shape(video_shape)
    return autoencoder(config).latent_shape(video_shape)


def autoencoder(config: FrozenConfigDict, sharding: Sharding | None = None) -> Autoencoder:
    """The autoencoder, with its weights on one device of this process or as `sharding` says.

    Raises:
      UserError: it has weights, and there are none, or others.
    """
    section = config.autoencoder
    sharding = sharding or one_device()
    if section.name == "pixels":
        return make(Pixels, section)
    if section.name == "precomputed":
        return make(Precomputed, section)
    if not section.weights:
        raise UserError(
            f"config.autoencoder.name = {section.name!r} needs weights to encode or decode: set "
            f"config.autoencoder.weights ({RANDOM!r} for random ones, to try)"
        )
    dtype = jnp.dtype(section.dtype)
    with _reading("autoencoder.weights"):
        if section.name == "tae":
            return _tae(section, config.clip.frames, dtype, sharding)
        if section.weights == RANDOM:
            found = random_weights("wan_vae", {}, sharding, dtype=dtype)
        else:
            found = load_weights("wan_vae", section.weights, sharding, dtype=dtype)
        return WanVae(found.module, found.params, section.chunk)


def _tae(section: FrozenConfigDict, frames: int, dtype, sharding: Sharding) -> Tae:
    options: dict[str, Any] = {"compression": section.compression, "channels": section.channels}
    critic_width, latent = 0, None
    folder = run_folder(section.weights)
    if section.weights != RANDOM:
        architecture = read_architecture(folder) or {}
        if "tae" not in architecture:
            raise UserError(
                f"{section.weights}: no temporal autoencoder; it should be the workdir of a "
                "`videojam train` of one"
            )
        found = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in architecture["tae"].items()
        }
        for key, wanted in options.items():
            if found[key] != wanted:
                raise UserError(
                    f"{section.weights}: a temporal autoencoder with {key} {found[key]}, but "
                    f"config.autoencoder.{key} = {wanted}"
                )
        options, critic_width = found, architecture["discriminator"]
    net = TaeNet(**options, dtype=dtype)
    video = jnp.zeros((1, net.compression[0], *(2 * n for n in net.compression[1:]), 3))

    def init():
        key = key_for("parameters", 0)
        params = {"autoencoder": net.init(key, video)["params"]}
        if critic_width:
            critic = PatchDiscriminator(critic_width)
            params["discriminator"] = critic.init(key, jnp.zeros((1, 1, 16, 16, 3)))["params"]
        return nn.unbox(params)

    shapes = jax.eval_shape(init)
    if section.weights == RANDOM:
        params = drawn(shapes, sharding)
    else:
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )
        params, latent = load_params(folder, wanted)
        if latent is None:
            raise UserError(
                f"{section.weights}: its latents' shift and scale are missing from the checkpoint"
            )
    latent = latent or {"shift": [0.0] * net.channels, "scale": [1.0] * net.channels}
    shift, scale = (
        jax.device_put(np.asarray(latent[name], np.float32), sharding)
        for name in ("shift", "scale")
    )
    tiles = section.tile, section.overlap, section.context
    return Tae(net, params["autoencoder"], shift, scale, *tiles, frames)


def device_flow(config: FrozenConfigDict) -> Callable | None:
    """A pytree that gives the flow of uint8 clips on the devices; None where the CPU does.

    Raises:
      UserError: there are no weights, or not of RAFT.
    """
    if config.motion.flow != "raft":
        return None
    section = config.motion.raft
    if not section.weights:
        raise UserError(
            "config.motion.flow = 'raft' needs weights: set config.motion.raft.weights to "
            f"torchvision's or princeton-vl's file ({RANDOM!r} for random ones, to try)"
        )
    dtype = jnp.dtype(section.dtype)
    with _reading("motion.raft.weights"):
        if section.weights == RANDOM:
            options = {"size": section.size, "naming": "torchvision"}
            found = random_weights("raft", options, one_device(), dtype=dtype)
        else:
            found = load_weights("raft", section.weights, one_device(), dtype=dtype)
    model = RAFT(found.module.size, section.correlation, dtype)
    estimate = functools.partial(
        _raft_flow, model=model, updates=section.updates, pairs=section.pairs
    )
    return jax.tree_util.Partial(estimate, found.params)


def _raft_flow(params, video, *, model: RAFT, updates: int, pairs: int):
    return flow_of_clips(model, params, video, updates=updates, pairs=pairs)


def text(config: FrozenConfigDict) -> ByteText | PrecomputedText | PretrainedText:
    """What encodes captions.

    Raises:
      UserError: its encoders have no weights, or others than the config says.
    """
    section = config.text
    if section.name == "bytes":
        return ByteText(section.max_length)
    if section.name == "precomputed":
        return make(PrecomputedText, section)
    if not section.weights:
        raise UserError(
            "config.text.name = 'pretrained' needs weights to encode captions: set "
            "config.text.weights, one folder for each encoder"
        )
    encoders = zip(section.weights, section.max_lengths, section.widths, strict=True)
    with _reading("text.weights"):
        return PretrainedText(
            tuple(_encoder(*one, section.batch_size, section.dtype) for one in encoders),
            section.reads,
            fps_prefix(config.clip.fps) if section.fps_prefix else "",
        )


def _encoder(path: str, max_length: int, width: int, rows: int, dtype: str) -> TextEncoder:
    kind = kind_of(path, ("t5", "clip"))
    # An encoder of ten billion parameters does not fit on every device: they share one copy.
    devices = jax.local_devices()
    mesh = make_mesh({"data": 1, "fsdp": len(devices)}, devices)
    shardings = functools.partial(tree_shardings, mesh)
    found = load_weights(
        kind, path, shardings, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype)
    )
    module = found.module
    if module.width != width:
        raise UserError(
            f"{path}: embeddings of width {module.width}, but config.text.widths says {width}"
        )
    if kind == "clip" and module.max_length < max_length:
        raise UserError(
            f"{path}: texts of at most {module.max_length} tokens, but config.text.max_lengths "
            f"says {max_length} for it: write {module.max_length} there, to prepare, to train and "
            "to sample"
        )

    def apply(params, tokens, mask):
        return module.apply({"params": params}, tokens, mask)

    return TextEncoder(
        open_tokenizer(found.folder, kind),
        partitioned(mesh, apply),
        found.params,
        max_length,
        rows,
        module.vocabulary,
    )


def fingerprints(*models: Any) -> list[str]:
    """Tells weights apart by their bits, one word for each model that has any."""
    found = []
    for model in models:
        parts = model.encoders if isinstance(model, PretrainedText) else [model]
        for part in parts:
            leaves = jax.tree.leaves(part.params if isinstance(part, TextEncoder) else part)
            if leaves and isinstance(leaves[0], jax.Array):
                found.append(fingerprint(leaves))
    return found


@contextlib.contextmanager
def _reading(key: str) -> Iterator[None]:
    """Weights go to the devices, and errors name the key that says where they are."""
    # Jobs forbid accidental transfers; this one is meant.
    with jax.transfer_guard_host_to_device("allow"):
        try:
            yield
        except UserError as error:
            raise UserError(f"config.{key}: {error}") from error


def one_device() -> Sharding:
    """The first device of this process."""
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
