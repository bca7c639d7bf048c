"""A base model or VideoJAM in training, on prepared clips."""

from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import read_architecture, restore_params
from videojam_jax.config import frozen, modelling, training
from videojam_jax.data import loader, records
from videojam_jax.models.joint import widen
from videojam_jax.parallel import same
from videojam_jax.parallel.batch import local_rows
from videojam_jax.parallel.parameters import abstract_params
from videojam_jax.parallel.rules import replicated
from videojam_jax.sample.writer import make_writer
from videojam_jax.train import throughput
from videojam_jax.train.floor import floors
from videojam_jax.train.prepared import check_weights, open_clips
from videojam_jax.train.program import jitted_step, optimizer_of
from videojam_jax.train.run_log import RunLog
from videojam_jax.train.state import TrainState


class Generation:
    """The `Task` of a config that trains a base model or VideoJAM.

    Raises:
      UserError: the prepared clips are missing, or not those of this config or of this run.
    """

    def __init__(self, config: FrozenConfigDict, workdir: Path, mesh: Mesh):
        section = config.train
        self._config, self._mesh = config, mesh
        self._dataset = open_clips(config, workdir)
        for line in modelling.proportions(config):
            print(f"note: {line}", flush=True)
        self.title = "VideoJAM" if config.model.motion else "base model"
        self.clips = len(self._dataset)
        self.architecture = modelling.architecture(config)
        self.init = modelling.init(config)
        self.optimizer = optimizer_of(config)
        self._show = sample_writer(config, workdir, self._dataset) if section.sample_every else None

    def jitted_step(self):
        lengths = modelling.text_lengths(self._config)
        text = records.pad_text([self._dataset.null_text], lengths).row(0)
        null = jax.device_put(text, replicated(self._mesh))
        step = jitted_step(self._config, self._mesh)
        return lambda state, batch: step(state, batch, null)

    def batches(self, step: int):
        section = self._config.train
        return loader.batches(
            self._dataset,
            seed=self._config.seed,
            batch_size=section.batch_size,
            start_step=step,
            text_length=modelling.text_lengths(self._config),
            rows=local_rows(self._mesh, section.batch_size),
            threads=section.loader_threads,
            motion=self._config.model.motion,
        )

    def skipped(self) -> int:
        return len(self._dataset.skipped)

    def rate(self, steps_per_second: float) -> dict[str, float]:
        """Tokens a second on a device, and MFU if known."""
        config = self._config
        devices = jax.device_count()
        tokens = config.train.batch_size * modelling.token_count(config)
        values = {
            "steps_per_second": steps_per_second,
            "tokens_per_second_per_device": steps_per_second * tokens / devices,
        }
        peak = throughput.peak_flops(jax.devices())
        if peak:
            flops = sum(throughput.step_flops(config).values())
            values["mfu"] = flops * steps_per_second / (peak * devices)
        return values

    def floors(self) -> dict[str, float]:
        """The linear floors of its losses, see `diffusion/floor.py`."""
        config = self._config
        return floors(
            self._dataset, config.model.patch, config.model.motion, training.loss_options(config)
        )

    def from_run(self, other: Path, abstract: TrainState):
        return params_of(self._config, other, abstract)

    def show(self, state: TrainState, step: int, log: RunLog | None) -> None:
        self._show(state, step, log)

    def latent(self, params) -> None:
        return None


def params_of(config: FrozenConfigDict, other: Path, abstract: TrainState):
    """Another run's averaged parameters; those of a base are widened for a joint model.

    Returns:
      The parameters, laid out as `abstract` says, their step, and how they were come by.
    Raises:
      UserError: the run has no checkpoint, or is of another architecture.
    """
    base = modelling.as_base(config)
    saved = read_architecture(other)
    if config.model.motion and not saved.get("model", {}).get("motion", True):
        mesh = abstract.step.sharding.mesh
        base_params = abstract_params(modelling.init(base), mesh)
        params, step = restore_params(
            other, base_params, modelling.architecture(base), ema=True
        )
        shardings = jax.tree.map(lambda x: x.sharding, abstract.params)
        widened = jax.jit(widen, out_shardings=shardings)(params)
        return widened, step, "widened for motion, averaged parameters"
    params, step = restore_params(
        other, abstract.params, modelling.architecture(config), ema=True
    )
    return params, step, "averaged parameters"


def sample_writer(config: FrozenConfigDict, workdir: Path, dataset):
    """`show(state, step, log)`: sample clips as files and, with a log, in TensorBoard.

    To be called by every process of the run; one of them has the log.
    """
    prompts = list(config.train.sample_prompts) or [
        dataset[i]["caption"] for i in range(min(4, len(dataset)))
    ]
    autoencoder = frozen.autoencoder(config)
    if words := frozen.fingerprints(autoencoder):
        same.check({"the weights at config.autoencoder.weights": words})
        check_weights(dataset, words)
    write = make_writer(config, autoencoder)

    def show(state: TrainState, step: int, log: RunLog | None) -> None:
        params = state.ema_params if config.sample.ema else state.params
        out = workdir / "samples" / f"step_{step:08}"
        folder = write(out, params, prompts, config.seed, step)
        for number in range(len(prompts)) if log else ():
            _, gif, *_ = folder.clip_files(number)
            shape = config.clip.height, config.clip.width
            log.clip(step, f"samples/{number}", (out / gif).read_bytes(), shape)

    return show
