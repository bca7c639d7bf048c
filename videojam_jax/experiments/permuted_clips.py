"""The held-out clips, each beside itself with its frames, or its latents, permuted.

`frames` is the paper's (arXiv 2502.02492, figure 3): the frames of the video are permuted and
then encoded, so that an autoencoder that makes one latent of eight frames sees them in disorder
too. The motion of the permuted clip is its flow clip in the same order, through the same
autoencoder: the flow of frame i goes with frame i. Held-out clips are prepared as latents, so
those of the permuted ones are made anew from the source.

`latents` permutes the latents of the prepared clips in time. It asks less: what one latent holds
stays in order. With an autoencoder whose latents are of single frames both are the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videojam_jax.config import preparing
from videojam_jax.data import loader
from videojam_jax.data.permuted import Permuted, permutation
from videojam_jax.data.records import Record, StoredText
from videojam_jax.errors import UserError
from videojam_jax.experiments import sampling_stages, store
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, prepare_together
from videojam_jax.models.text.bytes import ByteText
from videojam_jax.parallel import distributed

HALVES = ("video", "motion")  # of a record
# What helps where permuted clips cannot be made.
LATENTS = (
    "frames are permuted before they are encoded, so the held-out clips are read from their source "
    "once more; where their latents are all there is, config.experiment.permute = 'latents' "
    "permutes these"
)


def stages(setting: Setting) -> list[Stage]:
    """Of the permuted clips, once the held-out ones are prepared."""
    if setting.config.experiment.permute == "latents":
        return []
    folder = _folder(setting)

    def is_done() -> bool:
        try:
            return store.is_of(folder / store.ORIGIN, origin(setting)) and bool(
                loader.open_dataset(folder)
            )
        except UserError:
            return False

    def make() -> None:
        held_out = setting.held_out()
        try:
            source = Permuted(
                preparing.source(held_out), setting.config.sample_seed, _source_clips(setting)
            )
            if distributed.leader():
                store.begin(folder, origin(setting))
            distributed.barrier(f"{folder} is there")
            # The texts are those of the held-out records: no encoder is needed here.
            prepare_together(held_out, source, folder, text=ByteText(1))
        except UserError as error:
            raise UserError(f"{error}; {LATENTS}") from error

    return [Stage("prepare held-out clips with their frames permuted", is_done, make)]


def origin(setting: Setting) -> dict[str, Any]:
    """What the permuted clips are made from; asked for when the held-out ones are prepared."""
    made_from = {
        "permute": setting.config.experiment.permute,
        "seed": setting.config.sample_seed,
        "held_out": sampling_stages.real_origin(setting),
    }
    if made_from["permute"] == "latents":
        return made_from
    return {**made_from, "source_clips": _source_clips(setting)}


class Pairs(Sequence):
    """`(latents, text)` of each clip that is there as it is and permuted; read when asked for.

    The latents are bfloat16 `[t, h, w, c]`: `video` and `permuted_video`, and with `motion` those
    of motion. A clip is known again by its `source_id` and caption.

    Raises:
      UserError: the two folders have no clip in common.
    """

    def __init__(self, setting: Setting, motion: bool):
        self._halves = HALVES if motion else HALVES[:1]
        self._held_out = loader.open_dataset(sampling_stages.held_out_folder(setting))
        rows = range(min(setting.config.clips, len(self._held_out)))
        self._seed, self._permuted = setting.config.sample_seed, None
        self._rows = [(row, row) for row in rows]
        if setting.config.experiment.permute == "frames":
            self._permuted = loader.open_dataset(_folder(setting))
            there = {_name(self._permuted[row]): row for row in range(len(self._permuted))}
            named = ((row, there.get(_name(self._held_out[row]))) for row in rows)
            self._rows = [(row, other) for row, other in named if other is not None]
        if not self._rows:
            raise UserError(
                f"{sampling_stages.held_out_folder(setting)} has no clip of "
                f"{_folder(setting)}, the first being {_name(self._held_out[0])[0]}: name the "
                "source that it was prepared from (config.held_out.source), or permute its "
                "latents (config.experiment.permute = 'latents')"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Mapping[str, np.ndarray], StoredText]:
        row, other = self._rows[index]
        record = self._held_out[row]
        if self._permuted is None:
            order = permutation(self._seed, row, len(record["video"]))
            permuted = {half: record[half][order] for half in self._halves}
        else:
            permuted = self._permuted[other]
        latents = {half: record[half] for half in self._halves}
        latents |= {f"permuted_{half}": permuted[half] for half in self._halves}
        return latents, record["text"]


def _name(record: Record) -> tuple[str, str]:
    return record["source_id"], record["caption"]


def _folder(setting: Setting) -> Path:
    return setting.folder / "permuted_data"


def _source_clips(setting: Setting) -> int:
    """How many of the source's first clips hold those that are measured: some were set aside."""
    dataset = loader.open_dataset(sampling_stages.held_out_folder(setting))
    return setting.config.clips + dataset.manifest["set_aside"]["count"]
