"""The losses of held-out clips at times from near noise to near data, of every model.

The losses are those of training (`diffusion.loss`), with every caption and, but for one of the
names below, every motion input kept. All models are asked of the same clips and noise.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from videojam_jax.config import modelling
from videojam_jax.data.encode import filled_up
from videojam_jax.data.records import pad_text
from videojam_jax.diffusion.conditions import zero_motion
from videojam_jax.diffusion.loss import squared_error
from videojam_jax.diffusion.path import Velocity, interpolate, target_velocity
from videojam_jax.diffusion.sampler import initial_noise
from videojam_jax.experiments import sampling_stages, store
from videojam_jax.experiments.report_parts import LABELS
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated
from videojam_jax.randomness import PURPOSES, key_for
from videojam_jax.sample.generate import fetched, placed, sampler_batch
from videojam_jax.terminal.progress import progress
from videojam_jax.text import Text

NO_MOTION = "videojam_without_motion"
# Of the grid: the first time; the last is as far from the data.
NEAREST = 0.01


def time_grid(count: int) -> Float[np.ndarray, " count"]:
    """Times from 0.01 to 0.99, evenly spaced in `log(t / (1 - t))`.

    Closer together near the noise, where a sampler takes most of its steps.

    >>> time_grid(3).round(3).tolist()
    [0.01, 0.5, 0.99]
    """
    end = np.log(NEAREST / (1 - NEAREST))
    return 1 / (1 + np.exp(-np.linspace(end, -end, count)))


def errors_of_halves(
    velocity: Velocity,
    x1: Float[Array, "b *shape"],
    d1: Float[Array, "b *shape"] | None,
    text: Text,
    t: Float[Array, " b"],
    x0: Float[Array, "b *shape"],
    d0: Float[Array, "b *shape"] | None,
    sigma_min: float = 0.0,
    drop_motion: bool = False,
) -> dict[str, Float[Array, " b"]]:
    """The loss of each clip, by halves.

        appearance: || u_x(x_t, d_t) - (x1 - x0) ||^2,  motion: || u_d(x_t, d_t) - (d1 - d0) ||^2

    VideoJAM (arXiv 2502.02492, section 4.2), `sigma_min = 0`.

    Args:
      velocity: the model (see `diffusion.path.Velocity`).
      x1, d1: clean latents; `d1` is None for a base model.
      text: the encoded captions.
      t: one time a clip.
      x0, d0: noise; `d0` is not looked at where `d1` is None.
      sigma_min: as in `path.interpolate`.
      drop_motion: give zeros for the motion input.

    Returns:
      The mean squared error of each clip: `appearance`, and `motion` where there is motion.
    """
    d_t = None if d1 is None else interpolate(d1, d0, t, sigma_min)
    if drop_motion and d_t is not None:
        d_t = zero_motion(jnp.ones(t.shape, bool), d_t)
    u_x, u_d = velocity(interpolate(x1, x0, t, sigma_min), d_t, t, text)
    errors = {"appearance": squared_error(u_x, target_velocity(x1, x0, sigma_min))}
    if d1 is not None:
        errors["motion"] = squared_error(u_d, target_velocity(d1, d0, sigma_min))
    return errors


def names(setting: Setting) -> list[str]:
    """What has losses: every run, and VideoJAM with its motion input dropped."""
    return [*setting.kinds, NO_MOTION]


def stages(
    setting: Setting, times: Float[np.ndarray, " times"], params_of: Callable
) -> list[Stage]:
    """The losses of every model on all held-out clips, which are there already."""
    return [
        _stage(setting, name, seed, times, params_of)
        for seed in setting.config.seeds
        for name in names(setting)
    ]


def read(setting: Setting, name: str) -> dict[str, Float[np.ndarray, "seeds clips times"]]:
    """The losses that the stages wrote, by halves."""
    trees = [
        store.read_json(_path(setting, name, seed))["losses"] for seed in setting.config.seeds
    ]
    return {half: np.array([tree[half] for tree in trees], np.float64) for half in trees[0]}


def _kind(name: str) -> str:
    return "videojam" if name == NO_MOTION else name


def _path(setting: Setting, name: str, seed: int) -> Path:
    return setting.folder / f"seed_{seed}" / f"losses_{name}.json"


def _stage(
    setting: Setting, name: str, seed: int, times: Float[np.ndarray, " times"], params_of: Callable
) -> Stage:
    kind = _kind(name)

    def origin() -> dict[str, Any]:
        row = sampling_stages.SampledRow(name, "", kind)
        return {**sampling_stages.row_origin(setting, row, seed),
                "held_out": sampling_stages.real_origin(setting),
                "times": times.tolist(), "noise": PURPOSES["losses_over_t"]}  # fmt: skip

    def losses() -> dict[str, Any]:
        found = _losses(setting, name, params_of(kind, seed), seed, times)
        return {"losses": {half: np.round(x, 7).tolist() for half, x in found.items()}}

    path = _path(setting, name, seed)
    return json_stage(f"losses of {LABELS[name]}, seed {seed}", path, origin, losses, together=True)


def _losses(
    setting: Setting, name: str, params, seed: int, times: Float[np.ndarray, " times"]
) -> dict[str, np.ndarray]:
    """`[clips, times]` for each half; to be called alike by every process."""
    config = setting.run_config(_kind(name), seed)
    mesh = jax.tree.leaves(params)[0].sharding.mesh
    module = modelling.model(config, platform=mesh.devices.flat[0].platform)
    shape = modelling.latent_shape(config)

    def losses(params, seed, rows, x1, d1, text):
        def at(which):
            number, t = which
            key = jax.random.fold_in(key_for("losses_over_t", seed), number)
            x0, d0 = initial_noise(key, rows, shape, config.model.motion)
            return errors_of_halves(
                lambda *args: module.apply({"params": params}, *args),
                x1, d1, text, jnp.full(rows.shape, t), x0, d0,
                config.loss.sigma_min, drop_motion=name == NO_MOTION,
            )  # fmt: skip

        return jax.lax.map(at, (jnp.arange(len(times)), jnp.asarray(times, jnp.float32)))

    run = jax.jit(partitioned(mesh, losses), out_shardings=replicated(mesh))
    found = sampling_stages.records(setting)
    size = sampler_batch(config, mesh)
    number = placed(np.uint32(setting.config.sample_seed), replicated(mesh))
    parts = []
    with progress(len(found), 0, "clips") as tell:
        for first in range(0, len(found), size):
            numbers = range(len(found))[first : first + size]
            rows = np.array(filled_up(numbers, size), np.int32)
            chosen = [found[row] for row in rows]
            x1, d1 = (
                np.stack([one[half].astype(np.float32) for one in chosen])
                for half in ("video", "motion")
            )
            text = pad_text([one["text"] for one in chosen], modelling.text_lengths(config))
            batch = (rows, x1, d1 if config.model.motion else None, text)
            errors = run(params, number, *placed(batch, batch_sharding(mesh)))
            parts.append({half: fetched(x).T[: len(numbers)] for half, x in errors.items()})
            tell(first + len(numbers))
    return {half: np.concatenate([part[half] for part in parts]) for half in parts[0]}
