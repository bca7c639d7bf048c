"""The losses of `horizon` over `t`, of every model, and what its report says of them.

The losses are those of training (`losses_over_times.half_errors`), with every caption and, but for
one of the names below, every motion input kept. All models are asked of the same clips and noise.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from videojam_jax.config import sampling
from videojam_jax.experiments import sampling_stages, store
from videojam_jax.experiments.losses_over_times import (
    NO_MOTION,
    half_errors,
    kind_of,
    losses_over_times,
    names,
)
from videojam_jax.experiments.report_parts import LABELS
from videojam_jax.experiments.setting import Setting
from videojam_jax.experiments.stages import Stage, json_stage
from videojam_jax.measure.statistics import Estimate, mean_interval
from videojam_jax.randomness import PURPOSES, key_for
from videojam_jax.report.figures import Curves, Line, draw
from videojam_jax.report.page import Section
from videojam_jax.report.table import Quantity, QuantityTable, mark, show

Losses = Float[np.ndarray, "seeds clips times"]
# Of the tables; the nearest of the grid are taken.
SHOWN = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95)
# A good setting's appearance loss is nowhere above the control's by more than this share.
LIMIT = 0.03
# Of the grid: the first time; the last is as far from the data.
NEAREST = 0.01


def time_grid(count: int) -> Float[np.ndarray, " count"]:
    """Times from 0.01 to 0.99, evenly spaced in `log(t / (1 - t))`.

    Closer together near the noise, where a sampler takes most of its steps.

    >>> time_grid(3).round(3).tolist()
    [0.01, 0.5, 0.99]
    """
    end = np.log(NEAREST / (1 - NEAREST))
    return 1 / (1 + np.exp(-np.linspace(end, -end, count)))


def stages(
    setting: Setting, times: Float[np.ndarray, " times"], params_of: Callable
) -> list[Stage]:
    """The losses of every model on all held-out clips, which are there already."""
    return [
        _stage(setting, name, seed, times, params_of)
        for seed in setting.config.seeds
        for name in names(setting)
    ]


def read(setting: Setting, name: str) -> dict[str, Float[np.ndarray, "seeds clips times"]]:
    """The losses that the stages wrote, by halves."""
    trees = [
        store.read_json(_path(setting, name, seed))["losses"] for seed in setting.config.seeds
    ]
    return {half: np.array([tree[half] for tree in trees], np.float64) for half in trees[0]}


def _path(setting: Setting, name: str, seed: int) -> Path:
    return setting.folder / f"seed_{seed}" / f"losses_{name}.json"


def _stage(
    setting: Setting, name: str, seed: int, times: Float[np.ndarray, " times"], params_of: Callable
) -> Stage:
    kind = kind_of(name)

    def origin() -> dict[str, Any]:
        row = sampling_stages.SampledRow(name, "", kind)
        return {**sampling_stages.row_origin(setting, row, seed),
                "held_out": sampling_stages.real_origin(setting),
                "times": times.tolist(), "noise": PURPOSES["losses_over_t"]}  # fmt: skip

    def losses() -> dict[str, Any]:
        found = _losses(setting, name, params_of(kind, seed), seed, times)
        return {"losses": {half: np.round(x, 7).tolist() for half, x in found.items()}}

    path = _path(setting, name, seed)
    return json_stage(f"losses of {LABELS[name]}, seed {seed}", path, origin, losses, together=True)


def _losses(
    setting: Setting, name: str, params, seed: int, times: Float[np.ndarray, " times"]
) -> dict[str, np.ndarray]:
    """`[clips, times]` for each half; to be called alike by every process."""
    config = setting.run_config(kind_of(name), seed)

    def errors(velocity, latents, text, t, noise):
        clips = latents["video"], latents.get("motion")
        return half_errors(
            velocity, clips, {"own": clips}, text, t, noise, config.loss.sigma_min,
            drop_motion=name == NO_MOTION,
        )  # fmt: skip

    halves = ("video", "motion") if config.model.motion else ("video",)
    clips = [
        ({half: record[half] for half in halves}, record["text"])
        for record in sampling_stages.records(setting)
    ]

    def noise_key(seed):
        return key_for("losses_over_t", seed)

    seed_of_noise = setting.config.sample_seed
    found = losses_over_times(config, params, errors, clips, times, seed_of_noise, noise_key)
    return found["own"]


def excess(losses: Losses, reference: Losses) -> Losses:
    """By how much a clip's loss is above the reference's, as a share of the latter's mean.

        (loss - reference) / mean(reference),  the mean at each time, over seeds and clips

    A clip's own loss is no measure to divide by: it may be next to nothing.

    >>> above = excess(np.array([[[2.0], [5.0]]]), np.array([[[1.0], [3.0]]]))
    >>> above.ravel().tolist()
    [0.5, 1.0]
    """
    return (losses - reference) / reference.mean((0, 1))


def estimates(losses: Losses) -> list[Estimate]:
    """The mean over clips and seeds at each time, with its interval."""
    return [mean_interval(losses[:, :, k]) for k in range(losses.shape[-1])]


def spans(times: Float[np.ndarray, " times"], chosen: Sequence[bool]) -> str:
    """The chosen times in words, neighbours together.

    >>> times = np.array([0.01, 0.1, 0.2, 0.5, 0.9])
    >>> spans(times, [True, True, True, False, True]), spans(times, [False] * 5)
    ('at t = 0.01 to 0.2 and 0.9', 'nowhere')
    """
    numbers = [k for k, is_chosen in enumerate(chosen) if is_chosen]
    starts = [k for k in numbers if k - 1 not in numbers]
    ends = [k for k in numbers if k + 1 not in numbers]
    words = [
        _time(times[a]) if a == b else f"{_time(times[a])} to {_time(times[b])}"
        for a, b in zip(starts, ends, strict=True)
    ]
    *most, last = words or [""]
    joined = f"{', '.join(most)} and {last}" if most else last
    return f"at t = {joined}" if joined else "nowhere"


def verdict(times: Float[np.ndarray, " times"], above: Sequence[Estimate]) -> str:
    """In words, where VideoJAM's loss is lower than the control's, where higher, and how far.

    Args:
      above: VideoJAM's `excess` over the control at each time.
    """
    lower = spans(times, [estimate.high < 0 for estimate in above])
    higher = spans(times, [estimate.low > 0 for estimate in above])
    largest = int(np.argmax([estimate.mean for estimate in above]))
    most = above[largest]
    if most.low > LIMIT:
        words = "more than the {} % that is asked of a good setting"
    elif most.high <= LIMIT:
        words = "within the {} % that is asked of a good setting"
    else:
        words = "whether that is within the {} % that is asked of a good setting is left open"
    return (
        f"VideoJAM's appearance loss is lower than the control's {lower}, and higher {higher}; "
        "elsewhere the interval of the difference holds 0. Its largest excess over the control's "
        f"is {show(most, '%')}, at t = {_time(times[largest])}: {words.format(f'{100 * LIMIT:g}')}."
    )


def section(setting: Setting) -> Section:
    """Curves of both losses over t, the differences to the control, tables, and the verdict."""
    times = time_grid(setting.config.experiment.times)
    found = {name: read(setting, name) for name in names(setting)}
    appearance = {name: halves["appearance"] for name, halves in found.items()}
    motion = {name: halves["motion"] for name, halves in found.items() if "motion" in halves}
    above = {
        name: estimates(excess(losses, appearance["control"]))
        for name, losses in appearance.items()
        if name != "control"
    }
    config = setting.run_config("videojam", setting.config.seeds[0])
    way = sampling.times(config)
    places = np.interp(times, way, np.arange(len(way)))  # sampling steps, in parts

    def lines(of: dict[str, list[Estimate]], x=times, factor: float = 1.0) -> list[Line]:
        return [
            Line(LABELS[name], x, *([factor * getattr(e, end) for e in each]
                                    for end in ("mean", "low", "high")))
            for name, each in of.items()
        ]  # fmt: skip

    of_t, of_steps = "t (0 noise, 1 data)", f"sampling step, of {config.sample.steps}"
    by_appearance = {name: estimates(losses) for name, losses in appearance.items()}
    by_motion = {name: estimates(losses) for name, losses in motion.items()}
    title, unit = "Appearance loss, less the control's", "% of the control's mean"
    panels = [
        [
            Curves("Appearance loss", lines(by_appearance), of_t),
            Curves("Motion loss", lines(by_motion), of_t),
        ],
        [
            Curves(title, lines(above, factor=100), of_t, unit),
            Curves(f"{title}, as the sampler sees it", lines(above, places, 100), of_steps, unit),
        ],
    ]
    shown = sorted({int(np.abs(times - t).argmin()) for t in SHOWN})
    rows = {
        k: f"t = {_time(times[k])} (step {places[k]:.0f} of {config.sample.steps})" for k in shown
    }
    return Section(
        "Losses over t",
        "Of held-out clips, with the same noise for every model; bands: 95 % of the mean. "
        f"“{LABELS[NO_MOTION]}” is VideoJAM asked with zeros in place of the noised motion.",
        [
            verdict(times, above["videojam"]),
            *map(draw, panels),
            _table("Appearance loss", rows, by_appearance),
            _differences(rows, above),
            _table("Motion loss", rows, by_motion),
        ],
    )


def _table(
    title: str, rows: dict[int, str], values: dict[str, list[Estimate]]
) -> QuantityTable:
    return QuantityTable(
        title,
        [
            Quantity(row, {LABELS[name]: each[k] for name, each in values.items()})
            for k, row in rows.items()
        ],
    )


def _differences(rows: dict[int, str], above: dict[str, list[Estimate]]) -> QuantityTable:
    quantities = []
    for k, row in rows.items():
        values = {LABELS[name]: each[k] for name, each in above.items()}
        marks = {label: mark(estimate, better=-1) for label, estimate in values.items()}
        quantities.append(Quantity(row, values, "%", marks=marks))
    return QuantityTable(
        "Appearance loss, less the control's",
        quantities,
        "Paired by clip, as a share of the control's mean loss at that time.",
        reference=LABELS["control"],
    )


def _time(t: float) -> str:
    return f"{t:.2g}"
