"""`videojam sample`: captions in, clips and their predicted motion out."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import restore_params
from videojam_jax.config import modelling
from videojam_jax.parallel.parameters import abstract_params, create_params
from videojam_jax.sample.writer import make_writer
from videojam_jax.terminal.progress import progress


def sample(
    config: FrozenConfigDict,
    workdir: Path,
    prompts: Sequence[str],
    seed: int,
    out: Path,
    step: int | None = None,
) -> list[Path]:
    """Sample a clip for every prompt from a run's checkpoint; returns the files written.

    All processes of a run sample together, and each writes its share.
    """
    params, step = trained_params(config, workdir, step)
    with progress(len(prompts), 0, "clips") as tell:
        folder = make_writer(config)(out, params, prompts, seed, step, tell)
    return folder.files()


def trained_params(config: FrozenConfigDict, workdir: Path, step: int | None = None):
    """`(params, step)` of a run, the averaged ones if the config says so."""
    abstract = abstract_params(modelling.init(config), modelling.mesh(config))
    return restore_params(
        workdir, abstract, modelling.architecture(config), ema=config.sample.ema, step=step
    )


def untrained_params(config: FrozenConfigDict):
    """The parameters that a run of this config starts from, when from random ones."""
    init = modelling.init(config)
    abstract = abstract_params(init, modelling.mesh(config))
    return create_params(init, abstract, config.seed)
