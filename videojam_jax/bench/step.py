"""`videojam bench data --config ...`: how fast the training step takes clips in."""

import time

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.config import modelling
from videojam_jax.parallel.batch import to_global
from videojam_jax.parallel.rules import replicated
from videojam_jax.text import Text
from videojam_jax.train.program import jitted_step, optimizer_of
from videojam_jax.train.state import abstract_state, create_state


def step_rate(config: FrozenConfigDict, seconds: float) -> float:
    """Clips a second that one training step after the other consumes, compilation left out."""
    mesh = modelling.mesh(config)
    optimizer = optimizer_of(config)
    init = modelling.init(config)
    state = create_state(init, optimizer, abstract_state(init, optimizer, mesh), config.seed)
    size, length = config.train.batch_size, sum(modelling.text_lengths(config))
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(size, *modelling.latent_shape(config))).astype(np.float32)
    if config.text.name == "bytes":
        tokens = rng.integers(1, 200, (size, length)).astype(np.int32)
    else:
        width = max(modelling.text_widths(config))
        tokens = rng.normal(size=(size, length, width)).astype(np.float32)
    text = Text(tokens, np.ones((size, length), bool))
    batch = {"video": latents, "text": text}
    if config.model.motion:
        batch["motion"] = latents
    batch = to_global(mesh, batch, size)
    null = jax.device_put(text.row(0), replicated(mesh))
    step = jitted_step(config, mesh)
    state, metrics = step(state, batch, null)
    jax.block_until_ready(metrics)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        state, metrics = step(state, batch, null)
        jax.block_until_ready(metrics)
        steps += 1
    return steps * size / (time.perf_counter() - begin)
