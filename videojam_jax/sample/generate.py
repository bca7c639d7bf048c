"""From a model and captions to latents and clips, by the config's sampler."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax import build
from videojam_jax.data.records import pad_text
from videojam_jax.diffusion import guidance, sampler
from videojam_jax.parallel.rules import batch_parts, batch_sharding, replicated
from videojam_jax.sample.clips import Clips, to_clips

Generate = Callable[[Any, Sequence[str], int], tuple[np.ndarray, np.ndarray | None]]


def make_clips(config: FrozenConfigDict) -> Callable[[Any, Sequence[str], int], Clips]:
    """`clips(params, captions, seed)`: as `make_generate`, decoded to what a person looks at."""
    generate = make_generate(config)
    autoencoder = build.autoencoder(config)
    return lambda params, captions, seed: to_clips(
        *generate(params, captions, seed), autoencoder, config.motion.sigma
    )


def make_generate(config: FrozenConfigDict) -> Generate:
    """`generate(params, captions, seed) -> (latents, motion_latents)`, on the host.

    Clip number i of a call starts from noise that is a function of `(seed, i)`
    alone, so a prompt's clip does not change with the prompts beside it, and a
    base model starts from the same noise as the joint one. `motion_latents` is
    None for a base model. Latents are float32 `[n, t, h, w, c]`.
    """
    section = config.sample
    text_model = build.text(config)
    module = build.model(config)
    shape = build.latent_shape(config)
    times = build.times(config)
    rule = guidance.RULES[section.guidance](section.w_text, section.w_motion)
    null_text, null_mask = pad_text(text_model.encode([""]), config.text.max_length)

    @jax.jit
    def run(params, seed, rows, text, text_mask, null_text, null_mask):
        segments = sampler.two_segments(
            lambda *args: module.apply({"params": params}, *args),
            rule,
            section.steps,
            min(section.inner_steps, section.steps),
            null_text,
            null_mask,
        )
        x0, d0 = sampler.initial_noise(jax.random.key(seed), rows, shape, config.model.motion)
        return sampler.sample(
            segments, x0, d0, text, text_mask, times, sampler.SOLVERS[section.solver]
        )

    def generate(params, captions, seed):
        texts = text_model.encode(captions)
        mesh = jax.tree.leaves(params)[0].sharding.mesh
        size = section.batch_size
        whole = replicated(mesh)
        # A batch that does not divide over the devices is sampled by each of them.
        rows_of = batch_sharding(mesh) if size % batch_parts(mesh) == 0 else whole
        number = jax.device_put(np.uint32(seed), whole)
        null = jax.device_put((null_text[0], null_mask[0]), whole)
        videos, motions = [], []
        for start in range(0, len(captions), size):
            part = texts[start : start + size]
            # A short last batch is filled up, so that one program serves all.
            filled = part + [part[-1]] * (size - len(part))
            text, mask = pad_text(filled, config.text.max_length)
            rows = np.arange(start, start + size, dtype=np.int32)
            x, d = run(params, number, *jax.device_put((rows, text, mask), rows_of), *null)
            videos.append(np.asarray(jax.device_get(x))[: len(part)])
            if d is not None:
                motions.append(np.asarray(jax.device_get(d))[: len(part)])
        return np.concatenate(videos), np.concatenate(motions) if motions else None

    return generate
