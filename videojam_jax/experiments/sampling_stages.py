"""The stages in which clips are sampled from a run, or taken from the held-out ones."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from videojam_jax.checkpoints.builtin import by_bits
from videojam_jax.checkpoints.read import latest_step
from videojam_jax.config import frozen, loading, preparing
from videojam_jax.config.schema import Config
from videojam_jax.data import loader
from videojam_jax.experiments import store
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, clips_stage, data_stage
from videojam_jax.keys import SAMPLES, tagged
from videojam_jax.parallel import distributed
from videojam_jax.randomness import PURPOSES
from videojam_jax.sample import prompts
from videojam_jax.sample.clips import to_clips
from videojam_jax.sample.generate import make_generate
from videojam_jax.sample.job import trained_params
from videojam_jax.terminal.progress import progress


@dataclasses.dataclass(frozen=True)
class SampledRow:
    """One way to sample: a run, and what its config's `sample` section has instead.

    Attributes:
      name: of its folder.
      label: as reports show it.
      kind: base, control or videojam.
      sample: changed keys.
      start: sampling steps that are left out, see `sample.generate.jitted_sampler`.
      before: the row of which these steps are, by its own run and rule: this one goes on from
        the state that they led to. None: the held-out clips, noised to there.
      step: of training, whose checkpoint is sampled; None: the last there is.
    """

    name: str
    label: str
    kind: str
    sample: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: int = 0
    before: "SampledRow | None" = None
    step: int | None = None


def steps_needed(rows: Sequence[SampledRow]) -> dict[str, list[int]]:
    """For each kind of run, the steps of training whose checkpoints rows name, in order."""
    needed: dict[str, set[int]] = {}
    for row in (*rows, *(row.before for row in rows if row.before is not None)):
        if row.step is not None:
            needed.setdefault(row.kind, set()).add(row.step)
    return {kind: sorted(steps) for kind, steps in needed.items()}


def held_out_folder(setting: Setting) -> Path:
    return setting.folder / "held_out_data"


def held_out_stage(setting: Setting) -> Stage:
    return data_stage("prepare held-out clips", setting.held_out(), held_out_folder(setting))


def has_real(setting: Setting) -> bool:
    """Whether there are real clips to compare with: not where captions alone are given."""
    return not setting.config.prompts


def records(setting: Setting) -> list[dict]:
    """The held-out clips that are measured."""
    dataset = loader.open_dataset(held_out_folder(setting))
    return [dataset[i] for i in range(min(setting.config.clips, len(dataset)))]


def captions(setting: Setting) -> list[str]:
    """What is asked of every run, in the same order."""
    if not setting.config.prompts:
        return [record["caption"] for record in records(setting)]
    return prompts.load_prompts(setting.config.prompts).texts[: setting.config.clips]


def real_folder(setting: Setting) -> Path:
    return setting.folder / "real"


def real_origin(setting: Setting) -> dict[str, Any]:
    held_out = setting.held_out()
    return {"held_out": preparing.preparation(held_out), "source": held_out.source.to_dict(),
            "clips": setting.config.clips}  # fmt: skip


def real_stage(setting: Setting) -> Stage:
    """The held-out clips as what sampled ones are compared with: decoded from their latents."""
    folder, size = real_folder(setting), 16

    def decode() -> None:
        if not distributed.leader():
            return
        config, held_out = setting.held_out(), records(setting)
        decoder, code = frozen.autoencoder(config), preparing.motion_code(config)
        for first in range(0, len(held_out), size):
            part = held_out[first : first + size]
            latents = (
                np.stack([record[name].astype(np.float32) for record in part])
                for name in ("video", "motion")
            )
            store.save(folder, first, to_clips(*latents, decoder, code))

    return clips_stage(
        "decode held-out clips",
        folder,
        lambda: real_origin(setting),
        lambda: len(records(setting)),
        decode,
    )


def row_folder(setting: Setting, row: SampledRow, seed: int) -> Path:
    """Where a row's clips lie: those of a run that all seeds share in the first seed's."""
    return setting.folder / f"seed_{setting.seed_of(row.kind, seed)}" / row.name


def row_config(setting: Setting, row: SampledRow, seed: int) -> FrozenConfigDict:
    """The run's config with what the row changes of its sampling."""
    tree = setting.run_config(row.kind, seed).to_dict()
    loading.merge(tree, {"sample": dict(row.sample)})
    return loading.resolve(tree)


def row_origin(setting: Setting, row: SampledRow, seed: int) -> dict[str, Any]:
    """All that shapes a row's clips: its run and those it came from, sampler, captions, noise.

    Of a row that goes on from another's state, that one's too.
    """
    config = row_config(setting, row, seed)
    before = {} if row.before is None else {"before": row_origin(setting, row.before, seed)}
    latest = latest_step(setting.run_folder(row.kind, seed))
    return {
        "runs": {kind: _training(setting, kind, seed) for kind in ("base", row.kind)},
        "step": latest if row.step is None else row.step,
        "config": by_bits(tagged(Config, config, SAMPLES)),
        "captions": captions(setting),
        "seed": setting.config.sample_seed,
        "noise": PURPOSES["sampling"],
        "start": row.start,
        "clean": real_origin(setting) if row.start and row.before is None else None,
        **before,
    }


def _training(setting: Setting, kind: str, seed: int) -> dict[str, Any]:
    seed = setting.seed_of(kind, seed)
    tree = setting.run_config(kind, seed).to_dict()
    for name in ("sample", "mesh", "prepare"):
        del tree[name]
    del tree["train"]["keep_steps"]  # what is kept shapes nothing
    # Not the workdir's own path: it may be moved.
    given = setting.config.runs[kind] if setting.is_given(kind) else ""
    return by_bits({"seed": seed, "given": given, "config": tree})


def row_stage(setting: Setting, row: SampledRow, seed: int, params_of: Callable) -> Stage:
    """Samples a row's clips; every process of a run decodes and writes a share of the batches."""
    folder = row_folder(setting, row, seed)

    def sample() -> None:
        config = row_config(setting, row, seed)
        finished = _numbers(store.finished(folder) if distributed.leader() else None)
        given: dict[str, Sequence[np.ndarray]] = {}
        if row.before is not None:
            given = {"state": _state_before(setting, row, seed, params_of, finished)}
        elif row.start:
            names = ("video", "motion") if config.model.motion else ("video",)
            held_out = records(setting)
            clean = [np.stack([record[name] for record in held_out]) for name in names]
            given = {"clean": clean}
        asked = captions(setting)
        decoder, code = frozen.autoencoder(config), preparing.motion_code(config)
        generate = make_generate(config, row.start)
        params = params_of(row.kind, seed, row.step)
        with progress(len(asked), len(finished), "clips") as tell:
            made = generate(params, asked, setting.config.sample_seed, finished, **given)
            for number, (numbers, latents, motions) in enumerate(made):
                if number % jax.process_count() == jax.process_index():
                    clips = to_clips(latents, motions, decoder, code)
                    store.save(folder, numbers[0], clips)
                tell(numbers[-1] + 1)

    return clips_stage(
        f"sample {row.label}, seed {seed}",
        folder,
        lambda: row_origin(setting, row, seed),
        lambda: len(captions(setting)),
        sample,
    )


def _state_before(
    setting: Setting, row: SampledRow, seed: int, params_of: Callable, finished: set[int]
) -> list[np.ndarray]:
    """What the row before, from noise, leads to at step `row.start`: a row a caption.

    Captions of finished batches are left out, and have zeros.
    """
    own = row_config(setting, row, seed)
    sample = {**row.before.sample, "batch_size": own.sample.batch_size}
    config = row_config(setting, dataclasses.replace(row.before, sample=sample), seed)
    if config.mesh != own.mesh:  # whose batches may be others
        finished = set()
    asked, states = captions(setting), []
    generate = make_generate(config, stop=row.start)
    params = params_of(row.before.kind, seed, row.before.step)
    with progress(len(asked), len(finished), "clips begun") as tell:
        for numbers, *made in generate(params, asked, setting.config.sample_seed, finished):
            halves = [half for half in made if half is not None]
            if not states:
                states = [np.zeros((len(asked), *half.shape[1:]), np.float32) for half in halves]
            for state, half in zip(states, halves, strict=True):
                state[numbers] = half
            tell(numbers[-1] + 1)
    return states


def run_params(setting: Setting) -> Callable:
    """`params_of(kind, seed, step=None)`: a run's parameters, of its last step if none is named.

    Those that were asked for last are kept.
    """

    @functools.lru_cache(maxsize=1)
    def params_of(kind: str, seed: int, step: int | None = None) -> Any:
        folder = setting.run_folder(kind, seed)
        return trained_params(setting.run_config(kind, seed), folder, step)[0]

    return params_of


def _numbers(numbers: set[int] | None) -> set[int]:
    """Process 0's numbers, in every process."""
    words = distributed.broadcast_text(None if numbers is None else " ".join(map(str, numbers)))
    return {int(word) for word in words.split()}
