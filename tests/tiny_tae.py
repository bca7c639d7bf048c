"""A temporal autoencoder that trains in seconds: configs/tae_small.py:tiny made tinier."""

import fcntl
import os
import pathlib

import tiny_run

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = f"{ROOT / 'configs' / 'tae_small.py'}:tiny"
COMPRESSION, CHANNELS = (2, 2, 2), 4
TINY = [
    "--config.source.clips=14",
    "--config.clip.height=16",
    "--config.clip.width=16",
    "--config.clip.frames=4",
    f"--config.tae.compression={COMPRESSION}",
    f"--config.tae.channels={CHANNELS}",
    "--config.tae.width=8",
    "--config.tae.multipliers=(1,2)",
    "--config.tae.blocks=1",
    "--config.tae.attention=False",
    "--config.reconstruction.latent_clips=4",
    "--config.reconstruction.held_out=2",
    "--config.reconstruction.image_share=0.0",  # which would be a second program
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.decay_steps=0",
    "--config.train.steps=6",
    "--config.train.batch_size=4",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=3",
    "--config.train.keep=10",
    "--config.train.sample_every=6",
    "--config.mesh.data=1",
]
# What reads its latents, as a config of `prepare` says it.
READER = [
    "--config.autoencoder.name=tae",
    f"--config.autoencoder.compression={COMPRESSION}",
    f"--config.autoencoder.channels={CHANNELS}",
]


def words(*arguments) -> list[str]:
    return ["train", "--config", CONFIG, *TINY, *map(str, arguments)]


def command(*arguments) -> list[str]:
    return [*tiny_run.CLI, *words(*arguments)]


def overrides(*arguments) -> dict[str, str]:
    given = [word.removeprefix("--config.") for word in (*TINY, *arguments)]
    return dict(word.split("=", 1) for word in given)


def trained(tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The workdir of a run of six steps that nothing disturbed, and what it printed.

    One for all tests of a session, whichever of pytest's workers they are in; they only read it.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    workdir, told = root / "tae" / "run", root / "tae" / "said"
    workdir.parent.mkdir(exist_ok=True)
    with open(root / "tae.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            status, said = tiny_run.here_alone(*words("--workdir", workdir))
            assert status == 0, said
            told.write_text(said)
    return workdir, told.read_text()
