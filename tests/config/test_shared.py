"""What of a config must be alike in all processes of a run."""

import tiny_run
import tiny_tae

from videojam_jax.config import loading
from videojam_jax.config.shared import shared
from videojam_jax.differences import flat


def test_all_keys_are_shared_but_those_of_a_machine():
    config = loading.load(str(tiny_run.ROOT / "configs" / "videojam_4b.py"))
    own = {f"config.{name}" for name in flat(config)} - shared(config).keys()
    assert own == {
        "config.autoencoder.weights", "config.motion.raft.weights", "config.text.weights",
        "config.prepare.workers", "config.train.dataset", "config.train.loader_threads",
    }  # fmt: skip
    assert shared(config)["config.autoencoder.name"] == config.autoencoder.name


def test_of_an_autoencoder_in_training_too():
    config = loading.load(tiny_tae.CONFIG)
    own = {f"config.{name}" for name in flat(config)} - shared(config).keys()
    assert own == {"config.train.loader_threads"}
