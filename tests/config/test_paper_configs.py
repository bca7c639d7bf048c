"""The four configs of the paper, key by key: what it or Movie Gen tells, they say themselves.

A default may change; what a paper tells may not change with it. So each of these keys stands
in the config file, and every key there is stands in one of the lists below: who adds one to the
schema decides whether a paper speaks on it.
"""

import pathlib
import runpy

import pytest

from videojam_jax.config import loading
from videojam_jax.differences import flat

FOLDER = pathlib.Path(__file__).parents[2] / "configs"

VIDEOJAM = "arXiv 2502.02492, "
DETAILS = VIDEOJAM + "implementation details"
MOVIE_GEN = "arXiv 2410.13720, "

# Key: its value, and where it is told. `...` in a tuple: this one of the values is not told.
EVERY = {
    "clip.frames": (128, DETAILS),
    "clip.height": (256, DETAILS),
    "clip.width": (256, DETAILS),
    "clip.fps": (24.0, DETAILS),
    "motion.flow": ("raft", VIDEOJAM + "motion representation"),
    "motion.sigma": (0.15, VIDEOJAM + "motion representation"),
    "autoencoder.name": ("tae", MOVIE_GEN + "3.1.1"),
    "autoencoder.compression": ((8, 8, 8), MOVIE_GEN + "3.1.1"),
    "autoencoder.channels": (16, MOVIE_GEN + "3.1.1"),
    "autoencoder.tile": (32, MOVIE_GEN + "3.1.1"),
    "text.name": ("pretrained", MOVIE_GEN + "3.1.3: UL2, ByT5, long-prompt MetaCLIP"),
    "text.max_lengths": ((..., ..., 256), MOVIE_GEN + "3.1.3: MetaCLIP from 77 to 256"),
    "text.reads": (("prompt", "quoted", "prompt"), MOVIE_GEN + "3.1.3: ByT5 for visual text"),
    "text.fps_prefix": (True, MOVIE_GEN + "3.1.3: FPS-24"),
    "model.patch": ((1, 2, 2), MOVIE_GEN + "3.1.3"),
    "model.trunk.name": ("movie_gen", DETAILS),
    "loss.p_drop_text": (0.3, DETAILS),
    "loss.sigma_min": (1e-5, MOVIE_GEN + "3.1.2 (VideoJAM's formula has 0)"),
    "loss.time_kind": ("logit_normal", MOVIE_GEN + "3.1.2"),
    "loss.time_mean": (0.0, MOVIE_GEN + "3.1.2"),
    "loss.time_std": (1.0, MOVIE_GEN + "3.1.2"),
    "sample.schedule": ("linear_quadratic", MOVIE_GEN + "3.4.2"),
    "sample.solver": ("euler", DETAILS),
    "sample.steps": (100, DETAILS),
}
FINE_TUNED = {
    "optimizer.learning_rate": (5e-6, DETAILS),
    "optimizer.warmup_steps": (0, DETAILS + ": a fixed rate"),
    "optimizer.decay_steps": (0, DETAILS + ": a fixed rate"),
}
JOINT = {
    "model.motion": (True, VIDEOJAM + "4.1"),
    "loss.p_drop_motion": (0.2, DETAILS),
    "loss.motion_weight": (1.0, VIDEOJAM + "4.2, equation 6: one norm of both halves"),
    "sample.guidance": ("videojam", VIDEOJAM + "4.3"),
    "sample.inner_share": (0.5, DETAILS + ": the first 50 steps of 100"),
    "sample.w_text": (5.0, VIDEOJAM + "4.3: w1"),
    "sample.w_motion": (3.0, VIDEOJAM + "4.3: w2"),
}
BASE = {
    "model.motion": (False, VIDEOJAM + "5: the DiT that is fine-tuned"),
    "sample.guidance": ("dit", VIDEOJAM + "5: text guidance alone"),
}
SIZES = {
    "4b": {
        "model.trunk.blocks": (32, DETAILS),
        "model.trunk.width": (3072, DETAILS),
    },
    "30b": {
        "model.trunk.blocks": (48, DETAILS),
        "model.trunk.width": (6144, DETAILS),
        "model.trunk.ffn": (16_384, MOVIE_GEN + "3.1.3"),
        "model.trunk.heads": (48, MOVIE_GEN + "3.1.3"),
    },
}
LENGTHS = {
    "4b": {"train.batch_size": (32, DETAILS), "train.steps": (50_000, DETAILS)},
    "30b": {"train.batch_size": (256, DETAILS), "train.steps": (35_000, DETAILS)},
}

# On these neither speaks, or not for this model; what stands there is ours.
OURS = {
    "clip.stride", "clip.crop",
    "motion.raft.updates",
    "autoencoder.overlap", "autoencoder.context",
    "text.widths",  # UL2's, ByT5-base's and that of a ViT-bigG's text tower
    "model.trunk.ffn", "model.trunk.heads",  # of the 4B
    "loss.p_drop_motion", "loss.motion_weight",  # a base has no motion
    "loss.motion_target_when_dropped",
    "optimizer.learning_rate", "optimizer.warmup_steps", "optimizer.decay_steps",  # of the base
    "optimizer.b1", "optimizer.b2", "optimizer.eps", "optimizer.weight_decay",
    "optimizer.clip_norm", "optimizer.ema_decay", "optimizer.rule", "optimizer.motion_rate",
    "optimizer.skip_above",
    "motion.latent_mean", "motion.latent_std",
    "train.batch_size", "train.steps",  # of the base
    "sample.emulate",  # which linear schedule the 100 steps emulate is not told
    "sample.w_text", "sample.w_motion", "sample.inner_share",  # of the base
    "sample.ema",
}  # fmt: skip
# These say where things are, how fast they are done or what is shown of them, or belong to a
# choice that is not made.
RUNNING = {
    "seed", "source.name", "source.path",
    "motion.dis_preset", "motion.raft.weights", "motion.raft.size", "motion.raft.pairs",
    "motion.raft.correlation", "motion.raft.dtype",
    "autoencoder.weights", "autoencoder.dtype",
    "text.weights", "text.batch_size", "text.dtype",
    "prepare.clips_per_shard", "prepare.batch_size", "prepare.workers",
    "model.dtype", "model.remat", "model.unroll", "model.attention", "model.attention_blocks",
    "optimizer.first_moment_dtype",
    "train.dataset", "train.init_from", "train.accumulate", "train.log_every",
    "train.checkpoint_every", "train.checkpoint_minutes", "train.keep_every", "train.keep",
    "train.skip_bad_steps", "train.skip_records", "train.stall_minutes", "train.slow_minutes", "train.alert",
    "train.keep_steps", "train.sample_every",
    "train.sample_prompts", "train.loader_threads",
    "sample.shift", "sample.batch_size", "sample.enlarge",
    "mesh.data", "mesh.fsdp", "mesh.context", "mesh.tensor",
}  # fmt: skip

CONFIGS = {
    **{f"videojam_{size}": EVERY | FINE_TUNED | JOINT | SIZES[size] | LENGTHS[size]
       for size in SIZES},
    **{f"dit_{size}:base": EVERY | BASE | SIZES[size] for size in SIZES},
    **{f"dit_{size}:control": EVERY | FINE_TUNED | BASE | SIZES[size] | LENGTHS[size]
       for size in SIZES},
}  # fmt: skip


def said(name: str) -> dict:
    """What a config file itself says, by dotted keys."""
    stem, _, arg = name.partition(":")
    get_config = runpy.run_path(str(FOLDER / f"{stem}.py"))["get_config"]
    return flat(get_config(*[arg] * bool(arg)))


def loaded(name: str) -> dict:
    stem, _, arg = name.partition(":")
    return flat(loading.load(f"{FOLDER / stem}.py" + f":{arg}" * bool(arg)))


def is_told(value, told) -> bool:
    if not isinstance(told, tuple):
        return value == told
    return len(value) == len(told) and all(t in (..., v) for v, t in zip(value, told, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_the_paper_says_what_the_papers_tell(name):
    says, has = said(name), loaded(name)
    for key, (value, source) in CONFIGS[name].items():
        assert is_told(has[key], value), f"{key} = {has[key]!r}, {source} has {value!r}"
        assert key in says, f"{key} is left to its default, but {source} tells it: say {value!r}"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_was_held_against_the_papers(name):
    not_decided = loaded(name).keys() - CONFIGS[name].keys() - OURS - RUNNING
    assert not not_decided, "does a paper speak on these? Add them to the list they belong to"
    gone = (OURS | RUNNING) - {key for each in CONFIGS for key in loaded(each)}
    assert not gone, "no such keys any more"
