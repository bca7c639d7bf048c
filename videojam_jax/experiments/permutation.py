"""Does the loss notice time? Clips against the same clips with their frames permuted.

VideoJAM (arXiv 2502.02492, section 3, figure 3): a base model's loss hardly moves when the
frames of a noised clip are permuted, for the first 60 of 100 steps from the noise.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from videojam_jax.config import modelling
from videojam_jax.data.encode import filled_up
from videojam_jax.data.records import pad_text
from videojam_jax.diffusion.conditions import zero_motion
from videojam_jax.diffusion.loss import squared_error
from videojam_jax.diffusion.path import Velocity, interpolate, target_velocity
from videojam_jax.diffusion.sampler import initial_noise
from videojam_jax.experiments import report_parts, sampling_stages, store
from videojam_jax.experiments.report_parts import LABELS
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage, training_stages
from videojam_jax.measure.statistics import difference, mean_interval
from videojam_jax.parallel.rules import batch_sharding, partitioned, replicated
from videojam_jax.randomness import PURPOSES, key_for
from videojam_jax.report.figures import Curves, Line, draw
from videojam_jax.report.page import Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable
from videojam_jax.sample.generate import fetched, placed, sampler_batch
from videojam_jax.terminal.progress import progress
from videojam_jax.text import Text

# What is asked of a model, and which velocity it should have answered with.
QUESTIONS = ("ordered", "own", "original")
# Where the paper sees its base blind: t < 0.6 of the way from noise to data.
EARLY = 0.6
NO_MOTION = "videojam_without_motion"


def permutation_errors(
    velocity: Velocity,
    x1: Float[Array, "b t h w c"],
    d1: Float[Array, "b t h w c"] | None,
    order: Int[Array, "b t"],
    text: Text,
    t: Float[Array, " b"],
    x0: Float[Array, "b t h w c"],
    d0: Float[Array, "b t h w c"] | None,
    sigma_min: float = 0.0,
    drop_motion: bool = False,
) -> dict[str, Float[Array, " b"]]:
    """The appearance loss of clips, and of the same with their frames permuted.

        ordered:   || u_x(x_t, d_t) - v ||^2           x_t = t x1 + (1 - t) x0,  v = x1 - x0
        own:       || u_x(x'_t, d'_t) - v' ||^2        x'_t = t P x1 + (1 - t) x0, v' = P x1 - x0
        original:  || u_x(x'_t, d'_t) - v ||^2

    `P` permutes frames; the noise is the same. The permuted clip's own velocity asks whether
    the model finds permuted clips harder; the original order's, how far what it answers is
    from the ordered clip. A motion latent's frames are permuted with the clip's.

    Args:
      velocity: the model (see `diffusion.path.Velocity`).
      x1, d1: clean latents; `d1` is None for a base model.
      order: of the permuted clip's frames, each row a permutation.
      text: the encoded captions.
      t: one time a clip.
      x0, d0: noise.
      sigma_min: as in `path.interpolate`.
      drop_motion: give zeros for the motion input.

    Returns:
      The mean squared error of each clip, by the names above.
    """

    def permuted(latent: Array) -> Array:
        return jax.vmap(lambda one, its_order: one[its_order])(latent, order)

    def asked(x1, d1):
        d_t = None if d1 is None else interpolate(d1, d0, t, sigma_min)
        if drop_motion and d_t is not None:
            d_t = zero_motion(jnp.ones(t.shape, bool), d_t)
        return velocity(interpolate(x1, x0, t, sigma_min), d_t, t, text)[0]

    v = target_velocity(x1, x0, sigma_min)
    u = asked(permuted(x1), None if d1 is None else permuted(d1))
    return {
        "ordered": squared_error(asked(x1, d1), v),
        "own": squared_error(u, target_velocity(permuted(x1), x0, sigma_min)),
        "original": squared_error(u, v),
    }


def orders(seed: int, clips: int, frames: int) -> Int[np.ndarray, "clips frames"]:
    """A permutation for each clip, a function of seed and clip; none leaves all where it is."""
    drawn = np.empty((clips, frames), np.int32)
    for clip, row in enumerate(drawn):
        rng = np.random.default_rng((seed, clip))
        row[:] = np.arange(frames)
        while frames > 1 and (row == np.arange(frames)).all():
            row[:] = rng.permutation(frames)
    return drawn


def stages(setting: Setting) -> list[Stage]:
    params_of = sampling_stages.latest_params(setting)
    parts = [*training_stages(setting), sampling_stages.held_out_stage(setting)]
    for seed in setting.config.seeds:
        for kind in setting.kinds:
            parts.append(_losses_stage(setting, kind, seed, params_of))
        parts.append(_losses_stage(setting, NO_MOTION, seed, params_of))
    return parts


def _kind(name: str) -> str:
    return "videojam" if name == NO_MOTION else name


def _path(setting: Setting, name: str, seed: int) -> Path:
    return setting.folder / f"seed_{seed}" / f"{name}.json"


def _losses_stage(setting: Setting, name: str, seed: int, params_of: Callable) -> Stage:
    """The losses of one run's model on all held-out clips and at all times."""
    kind = _kind(name)

    def origin() -> dict[str, Any]:
        row = sampling_stages.SampledRow(name, "", kind)
        real = sampling_stages.real_origin(setting)
        return {**sampling_stages.row_origin(setting, row, seed), "held_out": real,
                "times": setting.config.experiment.times,
                "noise": PURPOSES["permutation"]}  # fmt: skip

    def losses() -> dict[str, Any]:
        losses_of = _losses(setting, name, params_of(kind, seed), seed)
        return {"losses": {question: np.round(x, 7).tolist() for question, x in losses_of.items()}}

    path = _path(setting, name, seed)
    return json_stage(f"losses of {LABELS[name]}, seed {seed}", path, origin, losses, together=True)


def _losses(setting: Setting, name: str, params, seed: int) -> dict[str, np.ndarray]:
    """`[clips, times]` for each question; to be called alike by every process."""
    config = setting.run_config(_kind(name), seed)
    mesh = jax.tree.leaves(params)[0].sharding.mesh
    module = modelling.model(config, platform=mesh.devices.flat[0].platform)
    shape = modelling.latent_shape(config)
    count = setting.config.experiment.times

    def losses(params, seed, rows, x1, d1, order, text):
        def at(k):
            key = jax.random.fold_in(key_for("permutation", seed), k)
            x0, d0 = initial_noise(key, rows, shape, config.model.motion)
            return permutation_errors(
                lambda *args: module.apply({"params": params}, *args),
                x1, d1, order, text, jnp.full(rows.shape, k / count), x0, d0,
                config.loss.sigma_min, drop_motion=name == NO_MOTION,
            )  # fmt: skip

        return jax.lax.map(at, jnp.arange(count))

    run = jax.jit(partitioned(mesh, losses), out_shardings=replicated(mesh))
    found = sampling_stages.records(setting)
    permutations = orders(setting.config.sample_seed, len(found), shape[0])
    size = sampler_batch(config, mesh)
    number = placed(np.uint32(setting.config.sample_seed), replicated(mesh))
    results = []
    with progress(len(found), 0, "clips") as tell:
        for first in range(0, len(found), size):
            numbers = range(len(found))[first : first + size]
            rows = np.array(filled_up(numbers, size), np.int32)
            chosen = [found[row] for row in rows]
            latents = [
                np.stack([one[half].astype(np.float32) for one in chosen])
                for half in (("video", "motion") if config.model.motion else ("video",))
            ]
            text = pad_text([one["text"] for one in chosen], modelling.text_lengths(config))
            x1, d1 = latents if config.model.motion else (*latents, None)
            batch = (rows, x1, d1, permutations[rows], text)
            errors = run(params, number, *placed(batch, batch_sharding(mesh)))
            results.append({q: fetched(errors[q]).T[: len(numbers)] for q in QUESTIONS})
            tell(first + len(numbers))
    return {q: np.concatenate([part[q] for part in results]) for q in QUESTIONS}


def report(setting: Setting) -> list[Path]:
    """The curves of figure 3 for every run, and by how much permutation raises the loss."""
    names = [*setting.kinds, NO_MOTION]
    losses = {name: _read(setting, name) for name in names}
    times = np.arange(setting.config.experiment.times) / setting.config.experiment.times
    panels = [
        Curves(
            LABELS[name],
            [_line(words, times, losses[name][q]) for q, words in WORDS.items()],
            x_label="t (0 noise, 1 data)",
            y_label="appearance loss",
        )
        for name in names
    ]
    rise = Curves(
        "Permuted over ordered, own velocity",
        [
            Line(LABELS[name], times, own.mean((0, 1)) / ordered.mean((0, 1)) - 1)
            for name, (ordered, own) in (
                (name, (losses[name]["ordered"], losses[name]["own"])) for name in names
            )
        ],
        x_label="t (0 noise, 1 data)",
        y_label="rise of the loss",
    )
    sections = [
        Section(
            "Figure 3 of the paper",
            "The appearance loss of clips and of the same clips with their frames permuted, by "
            "the time of the noised clip. Bands: 95 % of the mean. Where “ordered” and “permuted, "
            "its own velocity” lie on each other, a model does not notice the order of frames.",
            [*(draw(panels[i : i + 2]) for i in range(0, len(panels), 2)), draw([rise])],
        ),
        Section("By how much permutation raises the loss", parts=[_table(losses, times)]),
        report_parts.losses(setting),
        report_parts.trust(setting),
        report_parts.making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="Does the loss notice time?",
        sections=sections,
    )


WORDS = {
    "ordered": "ordered",
    "own": "permuted, its own velocity",
    "original": "permuted, the original's velocity",
}


MEANING = (
    "by what share of its loss in order a clip's appearance loss rises when its frames are permuted"
)


def _line(words: str, times: np.ndarray, losses: Float[np.ndarray, "seeds clips times"]) -> Line:
    intervals = [mean_interval(losses[:, :, k]) for k in range(len(times))]
    return Line(words, times, *([getattr(interval, end) for interval in intervals]
                                for end in ("mean", "low", "high")))  # fmt: skip


def _read(setting: Setting, name: str) -> dict[str, Float[np.ndarray, "seeds clips times"]]:
    trees = [store.read_json(_path(setting, name, seed)) for seed in setting.config.seeds]
    return {q: np.array([tree["losses"][q] for tree in trees], np.float64) for q in QUESTIONS}


def relative_rise(
    losses: Mapping[str, Float[np.ndarray, "seeds clips times"]],
    question: str,
    chosen: Bool[np.ndarray, "times"],
) -> Float[np.ndarray, "seeds clips"]:
    """By what share of its loss a clip's loss rises when its frames are permuted.

        sum_t (permuted - ordered) / sum_t ordered,  over the chosen times
    """
    ordered = losses["ordered"][:, :, chosen].sum(-1)
    return losses[question][:, :, chosen].sum(-1) / ordered - 1


def _table(losses, times) -> QuantityTable:
    quantities = []
    early = times < EARLY
    for question in ("own", "original"):
        for chosen, words in ((early, f"t < {EARLY}"), (~early, f"t >= {EARLY}")):
            rises = {n: relative_rise(losses[n], question, chosen) for n in losses}
            quantities.append(
                Quantity(
                    f"{WORDS[question]}, {words}",
                    {LABELS[n]: mean_interval(rise) for n, rise in rises.items()},
                    unit="%",
                    meaning="" if quantities else MEANING,
                )
            )
            if "control" in losses:
                quantities.append(
                    Quantity(
                        f"{WORDS[question]}, {words}: VideoJAM less control",
                        {LABELS["videojam"]: difference(rises["videojam"], rises["control"])},
                        unit="%",
                    )
                )
    return QuantityTable("", quantities)
