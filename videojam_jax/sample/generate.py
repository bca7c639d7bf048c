"""From a model and captions to latents and clips, by the config's sampler."""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from ml_collections import FrozenConfigDict

from videojam_jax.config import frozen, modelling, preparing, sampling
from videojam_jax.data.encode import filled_up
from videojam_jax.data.records import pad_text
from videojam_jax.diffusion import guidance, sampler
from videojam_jax.diffusion.path import interpolate
from videojam_jax.parallel.rules import batch_parts, batch_sharding, partitioned, replicated
from videojam_jax.randomness import key_for
from videojam_jax.sample.clips import Clips, to_clips
from videojam_jax.text import Text

Batches = Iterator[tuple[range, np.ndarray, np.ndarray | None]]


def make_clips(config: FrozenConfigDict) -> Callable[[Any, Sequence[str], int], Clips]:
    """`clips(params, captions, seed)`: as `make_generate`, decoded to what a person looks at."""
    generate = make_generate(config)
    autoencoder, code = frozen.autoencoder(config), preparing.motion_code(config)

    def clips(params, captions, seed):
        _, videos, motions = zip(*generate(params, captions, seed), strict=True)
        motions = np.concatenate(motions) if config.model.motion else None
        return to_clips(np.concatenate(videos), motions, autoencoder, code)

    return clips


def jitted_sampler(
    config: FrozenConfigDict, mesh: Mesh, start: int = 0, stop: int | None = None
) -> Callable:
    """`run(params, seed, rows, text, null, clean=(), state=()) -> (x, d)`.

    Jitted, for a mesh. `seed` is a uint32 scalar, `rows` the number of each clip of the batch
    among all that are asked for, int32 `[b]`, `text` the encoded captions and `null` the empty
    one. The latents are float32 `[b, t, h, w, c]`, on every device whole; `d` is None for a
    base model.

    With `start`, the first so many sampling steps are left out. Where these would have led is
    given, arrays of the same shape, in one of two ways:

    - `clean`: latents `(x1, d1)` (`x1` alone for a base model), which are noised to there
      (VideoJAM, arXiv 2502.02492, figure 8);
    - `state`: what a sampler with this `stop` gave, another model's too: `(x, d)`, or `x` alone.
      A base model takes `x`; a joint model that is given no `d` makes it by
      `sampler.read_motion`, from the clip's own noise.

    With `stop`, only the steps before that one are done, and the state there is what comes out.
    Steps are counted in the whole schedule: which of them have the motion's guidance does not
    depend on where sampling starts or stops.
    """
    section = config.sample
    module = modelling.model(config, platform=mesh.devices.flat[0].platform)
    shape = modelling.latent_shape(config)
    stop = section.steps if stop is None else stop
    times = sampling.times(config)[start : stop + 1]
    guided_steps = min(max(sampling.inner_steps(config) - start, 0), stop - start)
    rule = guidance.RULES[section.guidance](section.w_text, section.w_motion)

    def run(params, seed, rows, text: Text, null: Text, clean=(), state=()):
        def velocity(*args):
            return module.apply({"params": params}, *args)

        segments = sampler.two_segments(velocity, rule, stop - start, guided_steps, null)
        key = key_for("sampling", seed)
        x, d = sampler.initial_noise(key, rows, shape, config.model.motion)
        t = jnp.full(rows.shape, times[0], jnp.float32)
        sigma_min = config.loss.sigma_min
        if bool(start) != bool(clean or state):
            raise ValueError(f"sampling starts at step {start}: only there, latents are given")
        if clean:
            x = interpolate(clean[0], x, t, sigma_min)
            d = None if d is None else interpolate(clean[1], d, t, sigma_min)
        elif state and d is None:
            x = state[0]
        elif state:
            x, *given = state
            d = given[0] if given else sampler.read_motion(velocity, x, t, text, d, sigma_min)
        return sampler.sample(segments, x, d, text, times, sampler.SOLVERS[section.solver])

    return jax.jit(partitioned(mesh, run), out_shardings=replicated(mesh))


def make_generate(
    config: FrozenConfigDict, start: int = 0, stop: int | None = None
) -> Callable[..., Batches]:
    """`generate(params, captions, seed, finished=(), clean=(), state=())`: latents, by batches.

    To be called alike by every process of a run, on whose mesh the parameters are. Each
    gets `(numbers, latents, motion_latents)` of every batch: the numbers of its captions,
    and on the host float32 `[n, t, h, w, c]`; `motion_latents` is None for a base model.

    Clip number i of a call starts from noise that is a function of `(seed, i)`
    alone, so a prompt's clip does not change with the prompts beside it, and a
    base model starts from the same noise as the joint one. A batch is
    `config.sample.batch_size` clips, or as many more as divide over the devices that share
    a batch, which takes them no longer. Batches of which all numbers
    are among `finished` are left out; the others are what they would be with them.

    With `start`, `clean` or `state` is what to begin from, and with `stop` what is given is the
    state there, as `jitted_sampler` says: one or two arrays `[n, t, h, w, c]`, a row a caption.
    """
    text_model = frozen.text(config)
    null = pad_text(text_model.encode([""]), modelling.text_lengths(config)).row(0)
    sampler_on = functools.cache(
        functools.partial(jitted_sampler, config, start=start, stop=stop)
    )

    def generate(
        params,
        captions,
        seed,
        finished: Collection[int] = (),
        clean: Sequence[np.ndarray] = (),
        state: Sequence[np.ndarray] = (),
    ):
        texts = text_model.encode(captions)
        mesh = jax.tree.leaves(params)[0].sharding.mesh
        run = sampler_on(mesh)
        size = sampler_batch(config, mesh)
        whole, rows_of = replicated(mesh), batch_sharding(mesh)
        number, empty = placed((np.uint32(seed), null), whole)
        for first in range(0, len(captions), size):
            numbers = range(len(captions))[first : first + size]
            if set(numbers) <= set(finished):
                continue
            rows = np.array(filled_up(numbers, size), np.int32)
            text = pad_text([texts[row] for row in rows], modelling.text_lengths(config))
            given = [[each[rows].astype(np.float32) for each in way] for way in (clean, state)]
            rows, text, given = placed((rows, text, given), rows_of)
            x, d = run(params, number, rows, text, empty, *given)
            d = None if d is None else fetched(d)[: len(numbers)]
            yield numbers, fetched(x)[: len(numbers)], d

    return generate


def sampler_batch(config: FrozenConfigDict, mesh: Mesh) -> int:
    """Clips sampled at once: the config's number, raised to one that divides over the mesh."""
    parts = batch_parts(mesh)
    return -(-config.sample.batch_size // parts) * parts


def placed(tree, sharding: NamedSharding):
    """A tree of arrays that every process holds, as global ones; they do not compare them."""

    def place(value: np.ndarray | np.generic) -> jax.Array:
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    with jax.transfer_guard_host_to_device("allow"):
        return jax.tree.map(place, tree)


def fetched(array: jax.Array) -> np.ndarray:
    """A global array that every device holds whole."""
    return np.asarray(jax.device_get(array.addressable_data(0)))
