"""Does the loss notice time? Clips against the same clips with their frames permuted.

VideoJAM (arXiv 2502.02492, section 3, figure 3): a base model's loss hardly moves when the
frames of a clip are permuted before it is noised, for the first 60 of 100 steps from the noise.
What is permuted: `permuted_clips`. Which times a step and a share of the steps are: `time_axes`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from videojam_jax.diffusion.path import Velocity
from videojam_jax.experiments import permuted_clips, report_parts, sampling_stages, store
from videojam_jax.experiments.losses_over_times import (
    HALVES,
    NO_MOTION,
    Errors,
    Latents,
    half_errors,
    kind_of,
    losses_over_times,
    names,
)
from videojam_jax.experiments.report_parts import LABELS
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage, training_stages
from videojam_jax.experiments.time_axes import Axis, time_axes
from videojam_jax.measure.statistics import Estimate, difference, mean_interval
from videojam_jax.randomness import PURPOSES, key_for
from videojam_jax.report.figures import Curves, Figure, Line, draw
from videojam_jax.report.page import Section, write_report
from videojam_jax.report.table import Quantity, QuantityTable, show
from videojam_jax.text import Text

# What is asked of a model, and which velocity it should have answered with.
QUESTIONS = ("ordered", "own", "original")
WORDS = {
    "ordered": "ordered",
    "own": "permuted, its own velocity",
    "original": "permuted, the original's velocity",
}
# By how much a base's loss may rise over the first steps for it to be blind to time as the
# paper's, which VideoJAM was made for, is. Ours: the paper gives a picture.
ADMITTED = 0.15
FORMAT = 2  # of a file of losses; raised when what they are changes

# For each half and question; a base has no motion.
Losses = Mapping[str, Mapping[str, Float[np.ndarray, "seeds clips times"]]]


def permutation_errors(
    velocity: Velocity,
    ordered: Latents,
    permuted: Latents,
    text: Text,
    t: Float[Array, " b"],
    noise: Latents,
    sigma_min: float = 0.0,
    drop_motion: bool = False,
) -> Errors:
    """Both halves of the loss of clips, and of the same with their frames permuted.

        ordered:   || u(x_t, d_t) - v ||^2       x_t = t x1 + (1 - t) x0,   v = x1 - x0
        own:       || u(x'_t, d'_t) - v' ||^2    x'_t = t x1' + (1 - t) x0, v' = x1' - x0
        original:  || u(x'_t, d'_t) - v ||^2

    `x1'` is the permuted clip; the noise is the same. The permuted clip's own velocity asks
    whether the model finds permuted clips harder; the original order's, how far what it answers
    is from the ordered clip.

    Args:
      ordered, permuted: clean latents.
      velocity, text, t, noise, sigma_min, drop_motion: see `half_errors`.

    Returns:
      The mean squared error of each clip, by the names above and by half.
    """

    def errors(asked: Latents, targets: Mapping[str, Latents]) -> Errors:
        return half_errors(velocity, asked, targets, text, t, noise, sigma_min, drop_motion)

    return errors(ordered, {"ordered": ordered}) | errors(
        permuted, {"own": permuted, "original": ordered}
    )


def stages(setting: Setting) -> list[Stage]:
    params_of = sampling_stages.run_params(setting)
    # The clips first: what is wrong with their source is known before anything is trained.
    parts = [sampling_stages.held_out_stage(setting), *permuted_clips.stages(setting),
             *training_stages(setting)]  # fmt: skip
    for seed in setting.config.seeds:
        for name in names(setting):
            parts.append(_losses_stage(setting, name, seed, params_of))
    return parts


def _path(setting: Setting, name: str, seed: int) -> Path:
    return setting.folder / f"seed_{seed}" / f"{name}.json"


def _losses_stage(setting: Setting, name: str, seed: int, params_of: Callable) -> Stage:
    """The losses of one run's model on all held-out clips and at all times."""
    kind = kind_of(name)

    def origin() -> dict[str, Any]:
        row = sampling_stages.SampledRow(name, "", kind)
        return {"format": FORMAT, **sampling_stages.row_origin(setting, row, seed),
                "clips": permuted_clips.origin(setting), "times": time_axes(setting)[0].tolist(),
                "noise": PURPOSES["permutation"]}  # fmt: skip

    def content() -> dict[str, Any]:
        found = _losses(setting, name, params_of(kind, seed), seed)
        losses = {half: {} for half in found["ordered"]}
        for question, halves in found.items():
            for half, values in halves.items():
                losses[half][question] = np.round(values.astype(np.float64), 7).tolist()
        return {"losses": losses}

    label = f"losses of {LABELS[name]}, seed {seed}"
    return json_stage(label, _path(setting, name, seed), origin, content, together=True)


def _losses(setting: Setting, name: str, params, seed: int) -> dict:
    """`[clips, times]` for each question and half; to be called alike by every process."""
    config = setting.run_config(kind_of(name), seed)

    def errors(velocity, latents, text, t, noise):
        ordered, permuted = (
            (latents[f"{prefix}video"], latents.get(f"{prefix}motion"))
            for prefix in ("", "permuted_")
        )
        return permutation_errors(
            velocity, ordered, permuted, text, t, noise, config.loss.sigma_min, name == NO_MOTION
        )

    clips = permuted_clips.Pairs(setting, config.model.motion)
    times, seed_of_noise = time_axes(setting)[0], setting.config.sample_seed

    def noise_key(seed):
        return key_for("permutation", seed)

    return losses_over_times(config, params, errors, clips, times, seed_of_noise, noise_key)


def report(setting: Setting) -> list[Path]:
    """The curves of figure 3 for every run, and by how much permutation raises the loss."""
    losses = {name: _read(setting, name) for name in names(setting)}
    times, axes = time_axes(setting)
    clips = losses["base"]["appearance"]["ordered"].shape[1]
    sections = [
        Section(
            "Is the base blind to time?",
            "VideoJAM is for a base that hardly notices the order of frames. (One that has learned "
            "nothing does not notice it either: see its losses.)",
            [admission(setting, losses["base"], axes[0])],
        ),
        *(
            Section(
                f"Figure 3 of the paper, {axis.title}",
                f"{CURVES[setting.config.experiment.permute]} {axis.text}",
                _figures(losses, axis),
            )
            for axis in axes
        ),
        Section(
            "By how much permutation raises the loss",
            f"{MEANING} Measured on {clips} held-out clips at {len(times)} times.",
            [
                _table(losses, half, axis)
                for half in HALVES
                for axis in axes
                if any(half in of for of in losses.values())
            ],
        ),
        report_parts.losses(setting),
        report_parts.trust(setting),
        report_parts.making(setting),
    ]
    return write_report(
        setting.folder / "report.html",
        title="Does the loss notice time?",
        sections=sections,
    )


_BANDS = (
    "by the time of the noised clip. Bands: 95 % of the mean. Where “ordered” and “permuted, its "
    "own velocity” lie on each other, a model does not notice the order."
)
CURVES = {
    "frames": f"The loss of clips and of the same clips with their frames permuted, {_BANDS}",
    "latents": "The loss of clips and of the same clips with their latents permuted in time (not "
    f"the paper's experiment, which permutes the frames of the video), {_BANDS}",
}
MEANING = (
    "By what share of its loss in order a clip's loss rises when it is permuted, both summed over "
    "the times named, which are spread evenly over their axis."
)


def _read(setting: Setting, name: str) -> Losses:
    trees = [store.read_json(_path(setting, name, seed))["losses"] for seed in setting.config.seeds]
    return {
        half: {q: np.array([tree[half][q] for tree in trees], np.float64) for q in QUESTIONS}
        for half in trees[0]
    }


def _figures(losses: Mapping[str, Losses], axis: Axis) -> list[Figure]:
    """For each model its three curves, two panels a line; then how much permutation raises them."""
    panels = [
        Curves(
            LABELS[name],
            [_line(words, axis, of[half][q]) for q, words in WORDS.items()],
            x_label=axis.label,
            y_label=f"{half} loss",
        )
        for half in HALVES
        for name, of in losses.items()
        if half in of
    ]
    rises = [
        Curves(
            f"Rise of the {half} loss: {WORDS[question]}",
            [
                Line(LABELS[name], axis.x, _rise_at_each_time(of[half], question)[axis.chosen])
                for name, of in losses.items()
                if half in of
            ],
            x_label=axis.label,
            y_label="permuted over ordered, less 1",
        )
        for half in HALVES
        for question in ("own", "original")
        if any(half in of for of in losses.values())
    ]
    return [draw(part[i : i + 2]) for part in (panels, rises) for i in range(0, len(part), 2)]


def _line(words: str, axis: Axis, losses: Float[np.ndarray, "seeds clips times"]) -> Line:
    intervals = [mean_interval(losses[:, :, time]) for time in axis.chosen]
    return Line(words, axis.x, *([getattr(interval, end) for interval in intervals]
                                 for end in ("mean", "low", "high")))  # fmt: skip


def _rise_at_each_time(losses: Mapping[str, np.ndarray], question: str) -> np.ndarray:
    return losses[question].mean((0, 1)) / losses["ordered"].mean((0, 1)) - 1


def relative_rise(
    losses: Mapping[str, Float[np.ndarray, "seeds clips times"]],
    question: str,
    axis: Axis,
    early: bool = True,
) -> Float[np.ndarray, "seeds clips"]:
    """By what share of its loss a clip's loss rises when its frames are permuted.

        sum_t (permuted - ordered) / sum_t ordered,  over the early times of an axis, or the others
    """
    times = axis.chosen[axis.early if early else ~axis.early]
    ordered = losses["ordered"][:, :, times].sum(-1)
    return losses[question][:, :, times].sum(-1) / ordered - 1


def _table(losses: Mapping[str, Losses], half: str, axis: Axis) -> QuantityTable:
    quantities = []
    with_half = {name: of[half] for name, of in losses.items() if half in of}
    for question in ("own", "original"):
        for early, words in ((True, axis.first), (False, axis.rest)):
            rises = {n: relative_rise(of, question, axis, early) for n, of in with_half.items()}
            name = f"{WORDS[question]}, {words}"
            values = {LABELS[n]: mean_interval(rise) for n, rise in rises.items()}
            quantities.append(Quantity(name, values, unit="%"))
            if "control" in rises:
                less = difference(rises["videojam"], rises["control"])
                quantities.append(
                    Quantity(f"{name}: VideoJAM less control", {LABELS["videojam"]: less}, unit="%")
                )
    return QuantityTable(f"{half.capitalize()} loss, {axis.title}", quantities)


def admission(setting: Setting, base: Losses, axis: Axis) -> str:
    """The test of a base, in words; of the paper's experiment alone."""
    what = setting.config.experiment.permute
    rise = mean_interval(relative_rise(base["appearance"], "own", axis))
    said = f"Over {axis.first} of sampling its loss rises by {show(rise, '%')} when {what} are "
    if what == "latents":
        return f"{said}permuted; the test of a base permutes the frames of the video instead."
    return (
        f"{said}permuted (the paper's hardly notices; below {100 * ADMITTED:.0f} % is what we "
        f"ask): {admitted(rise)}."
    )


def admitted(rise: Estimate) -> str:
    """What the interval of a base's rise says of it.

    >>> admitted(Estimate(0.05, 0.02, 0.08, 64)), admitted(Estimate(0.14, 0.1, 0.18, 64))
    ('it passes', 'undecided')
    """
    if not rise.excludes(ADMITTED):
        return "undecided"
    return "it passes" if rise.high < ADMITTED else "it does not pass"
