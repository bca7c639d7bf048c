"""The loss of a trained model at chosen times, clip by clip, in both of its halves."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling
from videojam_jax.data.encode import filled_up
from videojam_jax.data.records import StoredText, pad_text
from videojam_jax.diffusion.conditions import zero_motion
from videojam_jax.diffusion.loss import squared_error
from videojam_jax.diffusion.path import Velocity, interpolate, target_velocity
from videojam_jax.diffusion.sampler import initial_noise
from videojam_jax.experiments.setting import Setting
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated
from videojam_jax.sample.generate import fetched, placed, sampler_batch
from videojam_jax.terminal.progress import progress
from videojam_jax.text import Text

HALVES = ("appearance", "motion")
NO_MOTION = "videojam_without_motion"

# Latents of video and of motion, the latter None for a base model.
Latents = tuple[Float[Array, "b t h w c"], Float[Array, "b t h w c"] | None]
Errors = dict[str, dict[str, Float[Array, " b"]]]


def names(setting: Setting) -> list[str]:
    """What has losses: every run, and VideoJAM with its motion input dropped."""
    return [*setting.kinds, NO_MOTION]


def kind_of(name: str) -> str:
    """The run that one of `names` is of."""
    return "videojam" if name == NO_MOTION else name


def half_errors(
    velocity: Velocity,
    asked: Latents,
    targets: Mapping[str, Latents],
    text: Text,
    t: Float[Array, " b"],
    noise: Latents,
    sigma_min: float = 0.0,
    drop_motion: bool = False,
) -> Errors:
    """The error of both halves of the loss on noised clips, against the velocities of others.

        [u_x, u_d] = u([x_t, d_t], y, t),  x_t = t x1 + (1 - t) x0,  d_t alike, of the asked clips
        appearance: || u_x - (x1' - x0) ||^2    motion: || u_d - (d1' - d0) ||^2

    with the clips `[x1', d1']` of each target in turn, the noise always the same; for
    `sigma_min = 0`, see `diffusion.path`. With the asked clips for target these are the two
    halves of the training loss.

    Args:
      velocity: the model (see `diffusion.path.Velocity`).
      asked: clean latents, which are noised and given to the model.
      targets: clean latents by name.
      text: the encoded captions.
      t: one time a clip.
      noise: `(x0, d0)`.
      sigma_min: as in `path.interpolate`.
      drop_motion: give zeros for the motion input; the motion's target stays.

    Returns:
      By target, and by "appearance" and (where there is motion) "motion", the mean squared error
      of each clip.
    """
    given = [
        None if clean is None else interpolate(clean, x0, t, sigma_min)
        for clean, x0 in zip(asked, noise, strict=True)
    ]
    if drop_motion and given[1] is not None:
        given[1] = zero_motion(jnp.ones(t.shape, bool), given[1])
    answered = velocity(*given, t, text)
    return {
        name: {
            half: squared_error(u, target_velocity(clean, x0, sigma_min))
            for half, u, clean, x0 in zip(HALVES, answered, target, noise, strict=True)
            if clean is not None
        }
        for name, target in targets.items()
    }


def losses_over_times(
    config: FrozenConfigDict,
    params: Any,
    errors: Callable[..., Errors],
    clips: Sequence[tuple[Mapping[str, np.ndarray], StoredText]],
    times: Float[np.ndarray, " times"],
    seed: int,
    noise_key: Callable[[Any], jax.Array],
) -> dict[str, dict[str, Float[np.ndarray, "clips times"]]]:
    """Errors of every clip at every time; to be called alike by every process of a run.

    The noise is a function of `seed`, the number of the time and that of the clip: all models
    have the same.

    Args:
      config: of the run; its `sample.batch_size` clips are worked on at once.
      params: its parameters, on the mesh to be used.
      errors: `errors(velocity, latents, text, t, noise)`, as `half_errors` gives them; `latents`
        are a batch of the clips', by their names, float32 `[b, t, h, w, c]`.
      clips: the latents of each, by name, `[t, h, w, c]`, and its text.
      times: in [0, 1].
      noise_key: `noise_key(seed)`, the key of the noise (see `randomness`).
    """
    mesh = jax.tree.leaves(params)[0].sharding.mesh
    module = modelling.model(config, platform=mesh.devices.flat[0].platform)
    shape = modelling.latent_shape(config)

    def losses(params, seed, rows, latents, text):
        def at(numbered_time):
            number, t = numbered_time
            key = jax.random.fold_in(noise_key(seed), number)
            return errors(
                lambda *args: module.apply({"params": params}, *args),
                latents,
                text,
                jnp.full(rows.shape, t),
                initial_noise(key, rows, shape, config.model.motion),
            )

        return jax.lax.map(at, (jnp.arange(len(times)), jnp.asarray(times, jnp.float32)))

    run = jax.jit(partitioned(mesh, losses), out_shardings=replicated(mesh))
    size = sampler_batch(config, mesh)
    number = placed(np.uint32(seed), replicated(mesh))
    parts = []
    with progress(len(clips), 0, "clips") as tell:
        for first in range(0, len(clips), size):
            numbers = range(len(clips))[first : first + size]
            rows = np.array(filled_up(numbers, size), np.int32)
            chosen = filled_up([clips[row] for row in numbers], size)
            latents = {
                name: np.stack([one[name].astype(np.float32) for one, _ in chosen])
                for name in chosen[0][0]
            }
            text = pad_text([text for _, text in chosen], modelling.text_lengths(config))
            found = run(params, number, *placed((rows, latents, text), batch_sharding(mesh)))
            parts.append(jax.tree.map(lambda x: fetched(x).T[: len(numbers)], found))
            tell(first + len(numbers))
    return jax.tree.map(lambda *of_batches: np.concatenate(of_batches), *parts)
