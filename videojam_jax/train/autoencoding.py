"""A temporal autoencoder in training, on clips and flow clips as their source gives them."""

from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax import build
from videojam_jax.checkpoints.read import restore_params
from videojam_jax.data import raw_clips
from videojam_jax.errors import UserError
from videojam_jax.models.autoencoders import reconstruction
from videojam_jax.models.autoencoders.pixels import from_uint8
from videojam_jax.parallel.batch import local_rows, to_global
from videojam_jax.parallel.rules import partitioned, replicated
from videojam_jax.sample.generate import fetched
from videojam_jax.train.autoencoder_step import make_step
from videojam_jax.train.held_out import HeldOut
from videojam_jax.train.program import optimizer_of
from videojam_jax.train.run_log import RunLog
from videojam_jax.train.state import TrainState
from videojam_jax.train.task import Task


def task(config: FrozenConfigDict, workdir: Path, mesh: Mesh) -> Task:
    """The training that a config describes.

    Raises:
      UserError: the source has no clips, or too few of them; a batch too small for the share
        of it that is to be flow clips.
    """
    section, losses = config.train, config.reconstruction
    has_flow = any(
        raw_clips.is_flow_row(row, losses.flow_share) for row in range(section.batch_size)
    )
    if losses.flow_share and not has_flow:
        raise UserError(
            f"config.reconstruction.flow_share = {losses.flow_share} of a batch of "
            f"{section.batch_size} is not one flow clip: raise it, or config.train.batch_size "
            "(flow_share = 0 trains on none)"
        )
    source = build.source(config)
    held_out = build.held_out(config, len(source))
    net, discriminator = build.autoencoder_net(config), build.discriminator(config)
    architecture = build.autoencoder_architecture(config)
    flow = build.flow_estimator(config)

    def clip_batches(step: int, flow_share: float, image_share: float):
        return raw_clips.batches(
            source,
            flow=flow,
            sigma=config.motion.sigma,
            seed=config.seed,
            batch_size=section.batch_size,
            clips=held_out.start,
            start_step=step,
            rows=local_rows(mesh, section.batch_size),
            flow_share=flow_share,
            image_share=image_share,
            threads=section.loader_threads,
            tell_bad=lambda bad: print(f"set aside: {bad}", flush=True),
        )

    optimizer = optimizer_of(config)
    if discriminator:
        # Each with its own norm of the gradient, which would tie one's step to the other's.
        parts = ("autoencoder", "discriminator")
        optimizer = optax.partition({part: optimizer for part in parts}, dict(zip(parts, parts)))

    def compiled():
        step = make_step(
            net,
            discriminator,
            optimizer,
            build.reconstruction_options(config),
            seed=config.seed,
            ema_decay=config.optimizer.ema_decay,
            has_flow=has_flow,
        )
        return jax.jit(partitioned(mesh, step), donate_argnums=0)

    def rate(steps_per_second: float) -> dict[str, float]:
        frames = section.batch_size * config.clip.frames / jax.device_count()
        return {
            "steps_per_second": steps_per_second,
            "frames_per_second_per_device": steps_per_second * frames,
        }

    def from_run(other: Path, abstract: TrainState):
        params, step = restore_params(
            other, abstract.params, architecture, ema=True
        )
        return params, step, "averaged parameters"

    # One program for all checkpoints.
    encode = jax.jit(
        partitioned(mesh, lambda params, video: _moments(net, params, video)),
        out_shardings=replicated(mesh),
    )

    def latent(params) -> dict:
        return _measured(encode, params, mesh, clip_batches(0, 0.0, 0.0), config)

    measured = HeldOut(config, net, source, held_out, flow, workdir, mesh)

    def show(state: TrainState, step: int, log: RunLog | None) -> None:
        measured.show(state.ema_params, step, log)

    return Task(
        title=f"temporal autoencoder of {' x '.join(map(str, config.tae.compression))}",
        clips=held_out.start,
        architecture=architecture,
        init=build.autoencoder_init(config),
        optimizer=optimizer,
        compiled=compiled,
        batches=lambda step: clip_batches(step, losses.flow_share, losses.image_share),
        rate=rate,
        from_run=from_run,
        show=show if section.sample_every else None,
        latent=latent,
    )


def _measured(encode, params, mesh: Mesh, batches, config: FrozenConfigDict) -> dict:
    """Shift and scale of the latents of the first clips of the data, as a checkpoint keeps them."""
    size = config.train.batch_size
    total, clips = None, 0
    while clips < config.reconstruction.latent_clips:
        batch = to_global(mesh, next(batches), size)
        found = encode(params["autoencoder"], batch["video"])
        # In float64, since they are added up over many batches.
        found = jax.tree.map(lambda x: fetched(x).astype(np.float64), found)
        total = found if total is None else reconstruction.merge(total, found)
        clips += size
    batches.close()
    shift, scale = reconstruction.shift_and_scale(total)
    return {"shift": shift.tolist(), "scale": scale.tolist(), "clips": clips}


def _moments(net, params, video) -> reconstruction.Moments:
    mean, _ = net.apply({"params": params}, from_uint8(video), method="encode_moments")
    return reconstruction.moments(mean)
