"""From the sections `source`, `motion` and `prepare` to clips, their flow and prepared folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax import keys
from videojam_jax.config import frozen
from videojam_jax.config.schema import Config
from videojam_jax.data.clip import Clip, ClipSpec
from videojam_jax.data.encode import Rates
from videojam_jax.data.prepare import Models, PrepareOptions, Share
from videojam_jax.data.prepare import prepare as prepare_clips
from videojam_jax.data.simulate import SimulatedOptions
from videojam_jax.data.sources import Folder, Simulated
from videojam_jax.data.tfds_source import Tfds
from videojam_jax.errors import UserError
from videojam_jax.keys import make
from videojam_jax.motion import estimators
from videojam_jax.motion.latent import MotionCode


def clip_spec(config: FrozenConfigDict) -> ClipSpec:
    return make(ClipSpec, config.clip, seed=config.seed)


def source(config: FrozenConfigDict, workdir: Path | None = None, share: Share = Share()):
    """The clips that `prepare` reads.

    What was probed of a folder of videos is kept in `workdir` and shared between processes.
    """
    section, spec = config.source, clip_spec(config)
    if section.name == "simulated":
        return Simulated(make(SimulatedOptions, section), spec)
    if section.name == "folder":
        kept = workdir and workdir / "probed"
        return Folder(
            Path(section.path), spec, kept=kept, process=share.process, processes=share.processes
        )
    return Tfds(section.dataset, spec, data_dir=section.data_dir or None)


def flow_estimator(config: FrozenConfigDict) -> Callable[[Clip], np.ndarray] | None:
    """A clip's flow, float32 `[t - 1, h, w, 2]`, on the CPU; None where devices estimate it."""
    if config.motion.flow == "raft":
        return None
    if config.motion.flow == "dis":
        preset = config.motion.dis_preset
        return lambda clip: estimators.dis(clip.video, preset)

    def exact(clip: Clip) -> np.ndarray:
        if clip.flow is None:
            raise UserError(
                f"{clip.source_id}: its flow is not known, so config.motion.flow = 'exact' "
                "cannot be used; set config.motion.flow = 'dis'"
            )
        return clip.flow

    return exact


def motion_code(config: FrozenConfigDict) -> MotionCode:
    """What stands between flow and motion latents; UserError if it is of other channels."""
    code, clip = make(MotionCode, config.motion), config.clip
    channels = frozen.latent_shape(config, (clip.frames, clip.height, clip.width, 3))[-1]
    if code.latent_mean and len(code.latent_mean) != channels:
        raise UserError(
            f"config.motion.latent_mean and latent_std have {len(code.latent_mean)} channels, the "
            f"latents of config.autoencoder {channels}: `videojam prepare --preview N` measures them"
        )
    return code


def preparation(config: FrozenConfigDict) -> dict:
    """What shapes prepared clips, beside the source itself: a change asks for a new folder.

    Where weights lie does not shape them; what they are is told by `frozen.fingerprints`.
    """
    shaping = keys.tagged(Config, config, keys.CLIPS)
    if config.motion.flow != "raft":
        del shaping["motion"]["raft"]
    # Keys at the values that there were before these keys are left out, as in folders of then.
    for key in ("latent_mean", "latent_std"):
        if not shaping["motion"].get(key):
            shaping["motion"].pop(key, None)
    # What every encoder was given before these keys were is left out, as in folders of then.
    text = shaping["text"]
    if set(text.get("reads", ())) <= {"prompt"}:
        text.pop("reads", None)
    if not text.get("fps_prefix"):
        text.pop("fps_prefix", None)
    if config.clip.crop == "random":
        shaping["seed"] = config.seed
    return {"config": keys.jsonable(shaping)}


def prepare(
    config: FrozenConfigDict,
    clips,
    out: Path,
    report: Callable[[int, int, int], None],
    share: Share = Share(),
    tell_rates: Callable[[Rates], None] = lambda rates: None,
    text=None,
) -> dict | None:
    """`data.prepare.prepare` as the config says; `clips` is its `source`.

    What `text` encodes stands in place of what the config's encoders would.
    """
    models = Models(
        frozen.autoencoder(config),
        frozen.text(config) if text is None else text,
        flow_estimator(config),
        frozen.device_flow(config),
        motion_code(config),
    )
    weights = frozen.fingerprints(models.autoencoder, models.device_flow, models.text)
    settings = preparation(config) | ({"weights": weights} if weights else {})
    options = make(PrepareOptions, config.prepare)
    return prepare_clips(clips, models, out, settings, options, share, report, tell_rates)
