"""The prepared clips of a run: are they what its config reads, and those that it began with?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.read import latest_step
from videojam_jax.config import modelling, preparing
from videojam_jax.config.loading import beside
from videojam_jax.data import loader, manifest, records
from videojam_jax.differences import ABSENT, differences
from videojam_jax.errors import UserError
from videojam_jax.files import write_whole
from videojam_jax.parallel import distributed

# Beside a run: which clips it was begun with.
KEPT = "dataset.json"


def open_clips(config: FrozenConfigDict, workdir: Path) -> loader.Dataset:
    """The clips that a config trains on; what is to be said of them is printed, a line each.

    Raises:
      UserError: they are missing, not those of this config, or others than those that the run
        in `workdir` has been trained on.
    """
    section = config.train
    dataset = loader.open_dataset(
        beside(section.dataset, workdir),
        section.skip_records,
        tell=lambda line: print(f"note: {line}", flush=True),
    )
    _check_latents(dataset, config)
    _check_text(dataset, config)
    for line in [
        *_open_files(dataset),
        *_other_settings(dataset, config),
        *_began_with(dataset, workdir),
    ]:
        print(f"note: {line}", flush=True)
    return dataset


def check_weights(dataset: loader.Dataset, words: list[str]) -> None:
    """UserError where the autoencoder that shows samples is not the one that encoded the clips.

    Args:
      words: its `frozen.fingerprints`.
    """
    there = dataset.manifest["settings"].get("weights", [])
    if there and words != there[:1]:
        raise UserError(
            f"{dataset.folder} was prepared with other weights (of fingerprint {there[0]}) than "
            f"those of config.autoencoder.weights ({words[0]}), which would show its latents "
            "wrongly: name those that it was prepared with, or set config.train.sample_every = 0"
        )


# --- are they those of the config? -----------------------------------------------------


def _check_latents(dataset: loader.Dataset, config: FrozenConfigDict) -> None:
    """Refuses latents of another shape, or that another autoencoder made.

    Those that were made elsewhere, for which a config says `precomputed`, are known by their
    shape alone.
    """
    wanted = modelling.latent_shape(config)
    if tuple(dataset.latent_shape) != wanted:
        raise UserError(
            f"{dataset.folder}: its latents are {tuple(dataset.latent_shape)}, but this config's "
            f"clip and autoencoder make {wanted}: prepare the clips with this config"
        )
    there = _settings(dataset).get("autoencoder", {})
    now = modelling.architecture(config)["autoencoder"]
    if "precomputed" in (now["name"], there.get("name", "precomputed")):
        return
    for key, before, says in differences(there, now):
        if key in now and before is not ABSENT:
            raise UserError(
                f"{dataset.folder} was prepared with config.autoencoder.{key} = {before!r}, where "
                f"this config says {says!r}, so its latents mean something else: prepare the clips "
                f"with this config into another folder, or set config.autoencoder.{key} to what "
                "they were prepared with"
            )


def _check_text(dataset: loader.Dataset, config: FrozenConfigDict) -> None:
    there, wanted = _text_kind(dataset.null_text), _wanted_text(config)
    if there != wanted:
        raise UserError(
            f"{dataset.folder}: its captions are {there}, which config.text.name = "
            f"{config.text.name!r} does not read (it reads {wanted}): prepare the clips with this "
            "config"
        )


def _text_kind(text: records.StoredText) -> str:
    if records.is_tokens(text):
        return "byte tokens"
    parts = [text] if isinstance(text, np.ndarray) else text
    return f"embeddings of width {' + '.join(str(part.shape[-1]) for part in parts)}"


def _wanted_text(config: FrozenConfigDict) -> str:
    if config.text.name == "bytes":
        return "byte tokens"
    return f"embeddings of width {' + '.join(map(str, modelling.text_widths(config)))}"


# Which `preparing.preparation` leaves out, as folders of before these keys do.
_LEFT_OUT = {
    "motion.latent_mean": [], "motion.latent_std": [], "text.reads": [], "text.fps_prefix": False,
}  # fmt: skip


def _other_settings(dataset: loader.Dataset, config: FrozenConfigDict) -> list[str]:
    """What no shape tells: clips that were cut, drawn, encoded or read otherwise than now.

    Each a line to say, as who prepared them may have meant it.
    """
    there, now = _settings(dataset), preparing.preparation(config)["config"]
    if not there:
        return []
    passed = _not_compared(there, now, config)
    told, unknown = [], []
    for key, before, says in differences(there, now):
        before, says = (_LEFT_OUT.get(key, x) if x is ABSENT else x for x in (before, says))
        if before == says or key.startswith(passed):
            continue
        if ABSENT in (before, says):
            unknown.append(f"config.{key}")
        else:
            told.append(
                f"{dataset.folder} was prepared with config.{key} = {before!r}, "
                f"where this config says {says!r}; it is trained on as it is"
            )
    if unknown:
        told.append(
            f"{dataset.folder} was prepared by another version, which has not the same keys: of "
            f"{', '.join(unknown)} nothing is known; it is trained on as it is"
        )
    return told


def _not_compared(there: dict, now: dict, config: FrozenConfigDict) -> tuple[str, ...]:
    """Beginnings of keys that make no difference, or none beside one that is told."""
    found = ["seed"]  # of a random crop: other parts of the same clips
    if not config.model.motion:
        found.append("motion.")
    if now["motion"]["flow"] != "dis":
        found.append("motion.dis_preset")
    if there.get("motion", {}).get("flow") != now["motion"]["flow"]:
        found.append("motion.raft.")
    # Of latents and embeddings that were made elsewhere no more is known than their shape.
    for section in ("autoencoder", "text"):
        if "precomputed" in (tree.get(section, {}).get("name") for tree in (there, now)):
            found.append(f"{section}.")
    return tuple(found)


def _open_files(dataset: loader.Dataset) -> list[str]:
    """A line where the system lets this process keep fewer files open than there are shards."""
    shards, most_open = len(dataset.manifest["shards"]), dataset.data.most_open
    if most_open >= shards:
        return []
    return [
        f"{dataset.folder} has {shards:,} shards, of which this process may keep {most_open:,} "
        "open, so it opens files again and again, which takes time; raise `ulimit -n`"
    ]


def _settings(dataset: loader.Dataset) -> dict[str, Any]:
    """The keys of the config that it was prepared with; none where something else made it."""
    return dataset.manifest["settings"].get("config", {})


# --- are they those that the run began with? -------------------------------------------


def _began_with(dataset: loader.Dataset, workdir: Path) -> list[str]:
    """Refuses other clips than the run has been trained on; keeps which they are beside it.

    A run without a checkpoint has not begun. To be called by every process; process 0 writes.
    """
    path, whole = workdir / KEPT, dataset.manifest
    now = {
        "identity": manifest.identity(whole),
        "folder": str(dataset.folder),
        "clips": whole["clips"],
        "settings": whole["settings"],
    }
    resumed = latest_step(workdir) is not None
    before = _read(path) if resumed else None
    if before is not None and before["identity"] != now["identity"]:
        raise UserError(
            f"{workdir} has been trained on the clips {before['identity']} of {before['folder']}, "
            f"but {now['folder']} holds the clips {now['identity']}{_what_differs(before, now)}: "
            f"put those back, choose another --workdir, or, to go on with these, delete {path}"
        )
    if before is None and distributed.leader():
        write_whole(path, json.dumps(now, indent=1) + "\n")
    if before is None and resumed:
        return [f"which clips this run began with was not kept; from here on {path} says it"]
    return []


def _what_differs(before: dict, now: dict) -> str:
    for key, there, here in differences(before["settings"], now["settings"]):
        return f" ({key} was {there!r}, and is {here!r})"
    return " (prepared with the same settings, from other files)"


def _read(path: Path) -> dict | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("settings"), dict) and all(
        isinstance(found.get(name), str) for name in ("identity", "folder")
    ):
        return found
    raise UserError(
        f"{path} is not what 'videojam train' wrote, or was damaged: delete it, if the clips at "
        "config.train.dataset are still those that this run began with"
    )
