"""A temporal autoencoder in training, on clips and flow clips as their source gives them."""

import threading
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import restore_params
from videojam_jax.config import autoencoding, preparing
from videojam_jax.data import raw_clips
from videojam_jax.data.clip import BadClip
from videojam_jax.data.prepare import Share
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


class Autoencoding:
    """The `Task` of a config that trains an autoencoder.

    Raises:
      UserError: the source has no clips, or too few of them; a batch too small for the share
        of it that is to be flow clips.
    """

    def __init__(self, config: FrozenConfigDict, workdir: Path, mesh: Mesh):
        size, share = config.train.batch_size, config.reconstruction.flow_share
        self._has_flow = any(raw_clips.is_flow_row(row, share) for row in range(size))
        if share and not self._has_flow:
            raise UserError(
                f"config.reconstruction.flow_share = {share} of a batch of {size} is not one flow "
                "clip: raise it, or config.train.batch_size (flow_share = 0 trains on none)"
            )
        self._config, self._mesh = config, mesh
        self._source = preparing.source(
            config, workdir, Share(jax.process_index(), jax.process_count())
        )
        self._set_aside: set[str] = set()
        self._telling = threading.Lock()
        held_out = autoencoding.held_out(config, len(self._source))
        self._net = autoencoding.net(config)
        self._discriminator = autoencoding.discriminator(config)
        self._flow = preparing.flow_estimator(config)
        self._held_out = HeldOut(
            config, self._net, self._source, held_out, self._flow, workdir, mesh
        )
        self.title = f"temporal autoencoder of {' x '.join(map(str, config.tae.compression))}"
        self.clips = held_out.start
        self.architecture = autoencoding.architecture(config)
        self.init = autoencoding.init(config)
        self.optimizer = optimizer_of(config)
        if self._discriminator:
            # Each with its own norm of the gradient, which would tie one's step to the other's.
            parts = {part: part for part in ("autoencoder", "discriminator")}
            self.optimizer = optax.partition(dict.fromkeys(parts, self.optimizer), parts)
        # One program for all checkpoints.
        self._moments = jax.jit(
            partitioned(mesh, self._moments_of), out_shardings=replicated(mesh)
        )

    def jitted_step(self):
        step = make_step(
            self._net,
            self._discriminator,
            self.optimizer,
            autoencoding.options(self._config),
            seed=self._config.seed,
            ema_decay=self._config.optimizer.ema_decay,
            has_flow=self._has_flow,
        )
        return jax.jit(partitioned(self._mesh, step), donate_argnums=0)

    def batches(self, step: int):
        losses = self._config.reconstruction
        return self._batches(step, losses.flow_share, losses.image_share)

    def skipped(self) -> int:
        return len(self._set_aside)

    def rate(self, steps_per_second: float) -> dict[str, float]:
        config = self._config
        frames = config.train.batch_size * config.clip.frames / jax.device_count()
        return {
            "steps_per_second": steps_per_second,
            "frames_per_second_per_device": steps_per_second * frames,
        }

    def floors(self) -> dict[str, float]:
        return {}

    def from_run(self, other: Path, abstract: TrainState):
        params, step = restore_params(
            other, abstract.params, self.architecture, ema=True
        )
        return params, step, "averaged parameters"

    def show(self, state: TrainState, step: int, log: RunLog | None) -> None:
        self._held_out.show(state.ema_params, step, log)

    def latent(self, params) -> dict:
        """Shift and scale of the latents of the first clips of the data."""
        size = self._config.train.batch_size
        batches = self._batches(0, 0.0, 0.0)
        total, clips = None, 0
        while clips < self._config.reconstruction.latent_clips:
            batch = to_global(self._mesh, next(batches), size)
            found = self._moments(params["autoencoder"], batch["video"])
            # In float64, since they are added up over many batches.
            found = jax.tree.map(lambda x: fetched(x).astype(np.float64), found)
            total = found if total is None else reconstruction.merge(total, found)
            clips += size
        batches.close()
        shift, scale = reconstruction.shift_and_scale(total)
        return {"shift": shift.tolist(), "scale": scale.tolist(), "clips": clips}

    def _moments_of(self, params, video) -> reconstruction.Moments:
        mean, _ = self._net.apply({"params": params}, from_uint8(video), method="encode_moments")
        return reconstruction.moments(mean)

    def _batches(self, step: int, flow_share: float, image_share: float):
        section = self._config.train
        return raw_clips.batches(
            self._source,
            flow=self._flow,
            sigma=self._config.motion.sigma,
            seed=self._config.seed,
            batch_size=section.batch_size,
            clips=self.clips,
            start_step=step,
            rows=local_rows(self._mesh, section.batch_size),
            flow_share=flow_share,
            image_share=image_share,
            threads=section.loader_threads,
            tell_bad=self._tell_bad,
        )

    def _tell_bad(self, bad: BadClip) -> None:
        with self._telling:  # threads read
            if bad.source_id not in self._set_aside:
                self._set_aside.add(bad.source_id)
                print(f"set aside: {bad}", flush=True)
