"""Loss curves, from `metrics.jsonl` to a drawing."""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from videojam_jax.errors import UserError, caused
from videojam_jax.report.figures import COLOURS, DASHES, PANEL, TEXT_COLOUR, Figure, to_svg

# Titles of the panels, the key that each of them shows, and that of its linear floor.
PANELS = (
    ("Appearance loss", "appearance_loss", "appearance_floor"),
    ("Motion loss", "motion_loss", "motion_floor"),
)
MOST_POINTS = 1500
FLOOR = (
    "The linear floor is the loss of the best linear guess from each token's own noisy reading, "
    "without the other tokens and the text: a model that uses these ends well below it."
)


@dataclasses.dataclass(frozen=True)
class LoggedRun:
    """A run: its name in the legend and its rows `{"step": 10, "loss": ..., ...}`."""

    name: str
    rows: Sequence[dict]


def read_metrics(path: pathlib.Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, by step.

    A run that was killed may have left half a last line, which is passed over. Where a step
    is told twice, the later line counts.

    Raises:
      UserError: there is no such file, or a line before the last is not JSON.
    """
    try:
        lines = path.read_bytes().rstrip(b"\n").split(b"\n")
    except OSError as error:
        raise caused(f"cannot read {path}: {error.strerror}", error) from error
    rows: dict[int, dict] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}, line {number}: not a JSON object with a step; remove this line"
            ) from error
        rows[step] = row
    return sorted(rows.values(), key=lambda row: row["step"])


def smooth(values: Float[np.ndarray, "n"], width: int) -> Float[np.ndarray, "n"]:
    """The mean over a centred window of `width` values, narrower at the ends.

    >>> smooth(np.array([0.0, 3.0, 6.0, 0.0]), 3)
    array([1.5, 3. , 3. , 3. ])
    """
    # A window no wider than the values, so that "same" means their length.
    window = np.ones(max(1, min(width, len(values))))
    count = np.convolve(np.ones(len(values)), window, mode="same")
    return np.convolve(values, window, mode="same") / count


def series(rows: Sequence[dict], key: str) -> Float[np.ndarray, "n 2"]:
    """Steps and finite values of `key` in the rows that have it."""
    points = [
        (row["step"], row[key])
        for row in rows
        if isinstance(row.get(key), int | float) and math.isfinite(row[key])
    ]
    return np.asarray(points, np.float64).reshape(-1, 2)


def floor_of(run: LoggedRun, key: str) -> float | None:
    """The linear floor that a run told last; None where it tells none, as older ones."""
    told = series(run.rows, key)
    return float(told[-1, 1]) if len(told) else None


def _limits(
    raw: Sequence[Float[np.ndarray, "_n"]], whole: Sequence[Float[np.ndarray, "_n"]]
) -> tuple[float, float] | None:
    """A range of values that shows `whole` entirely and `raw` but for its outliers."""
    values = np.concatenate([*(np.percentile(part, [1, 99]) for part in raw), *whole])
    margin = 0.05 * np.ptp(values)
    return (values.min() - margin, values.max() + margin) if margin > 0 else None


def draw(curves: Sequence[LoggedRun]) -> list[Figure]:
    """The losses as a figure; none where there is nothing to draw.

    One panel for each part of the loss that any run has: faint the values as they
    were logged, over them a line smoothed over a fiftieth of the run; dashed the linear
    floor (`diffusion/floor.py`) of the runs that tell theirs.
    """
    coloured = list(zip(itertools.cycle(COLOURS), curves, strict=False))
    painters, floors = [], []
    for title, key, floor_key in PANELS:
        drawn = [(colour, curve) for colour, curve in coloured if len(series(curve.rows, key))]
        if drawn:
            lines = _floor_lines([run for _, run in drawn], floor_key)
            floors += lines
            painters.append(
                functools.partial(_paint, title=title, key=key, drawn=drawn, floors=lines)
            )
    if not painters:
        return []
    return [Figure(to_svg(painters, [PANEL] * len(painters)), FLOOR if floors else "")]


def _floor_lines(runs: Sequence[LoggedRun], key: str) -> list[tuple[str, float]]:
    """Labels and values: one line where the floors are the same, as from the same clips."""
    distinct: dict[str, tuple[str, float]] = {}
    for run in runs:
        floor = floor_of(run, key)
        if floor is not None:
            distinct.setdefault(f"{floor:.3g}", (f"linear floor, {run.name}", floor))
    lines = list(distinct.values())
    return lines if len(lines) > 1 else [("linear floor", floor) for _, floor in lines]


def _paint(
    axes: Axes,
    title: str,
    key: str,
    drawn: Sequence[tuple[str, LoggedRun]],
    floors: Sequence[tuple[str, float]],
) -> None:
    """One part of the loss, for every run that has it, in its colour."""
    raw, whole = [], [np.array([floor for _, floor in floors])]
    for colour, curve in drawn:
        points = series(curve.rows, key)
        line = smooth(points[:, 1], len(points) // 50)
        every = max(1, len(points) // MOST_POINTS)
        steps = points[::every, 0]
        axes.plot(steps, points[::every, 1], color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(steps, line[::every], color=colour, linewidth=1.8, label=curve.name)
        raw.append(points[:, 1])
        whole.append(line)
    for (label, floor), dash in zip(floors, itertools.cycle(DASHES[1:]), strict=False):
        axes.axhline(floor, color=TEXT_COLOUR, linestyle=dash, linewidth=1.2, label=label)
    if limits := _limits(raw, whole):
        axes.set_ylim(*limits)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.15, color=TEXT_COLOUR)
    axes.legend()
