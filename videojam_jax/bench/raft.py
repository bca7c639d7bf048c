"""`videojam bench raft`: pairs of frames a second of RAFT, with random weights."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from videojam_jax.config.frozen import one_device
from videojam_jax.convert.weights import random_weights
from videojam_jax.motion.raft import RaftOptions, flow_of_clips


def raft_rows(
    *,
    height: int = 256,
    width: int = 256,
    pairs: int = 8,
    updates: int = RaftOptions.updates,
    seconds: float,
) -> list[dict[str, str | float]]:
    """Rows `{"name": what was measured, "pairs_per_s": rate}`, on one device.

    Args:
      height, width: of the frames.
      pairs: worked on at once.
      updates: of each flow.
      seconds: for which each row is measured, compilation left out.
    """
    rows = []
    for size in ("large", "small"):
        for dtype in ("float32", "bfloat16"):
            rate = raft_rate(size, dtype, height, width, pairs, updates, seconds)
            name = f"raft {size} {dtype}, {height} x {width}, {pairs} pairs, {updates} updates"
            rows.append({"name": name, "pairs_per_s": round(rate, 2)})
    return rows


def raft_rate(
    size: str, dtype: str, height: int, width: int, pairs: int, updates: int, seconds: float
) -> float:
    """Pairs a second of one RAFT; float32 is true float32, without TF32."""
    found = random_weights(
        "raft", {"size": size, "naming": "torchvision"}, one_device(), dtype=jnp.dtype(dtype)
    )
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, pairs + 1, height, width, 3), dtype=np.uint8)
    video = jax.device_put(frames, one_device())
    estimate = jax.jit(
        lambda params, video: flow_of_clips(
            found.module, params, video, updates=updates, pairs=pairs
        )
    )
    with jax.default_matmul_precision("float32"):
        jax.block_until_ready(estimate(found.params, video))
        begin, done = time.perf_counter(), 0
        while not done or time.perf_counter() - begin < seconds:
            jax.block_until_ready(estimate(found.params, video))
            done += pairs
    return done / (time.perf_counter() - begin)
