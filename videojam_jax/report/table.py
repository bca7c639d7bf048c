"""Tables of measured quantities, in HTML, Markdown and JSON."""

import dataclasses
import enum
import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from videojam_jax.measure.statistics import CONFIDENCE, Estimate
from videojam_jax.report import markdown

Value = float | int | str | Estimate | None


class Mark(enum.StrEnum):
    """How a model's value stands to the reference's, as a table says it."""

    BETTER = "better"
    WORSE = "worse"
    MORE = "more"
    LESS = "less"
    UNDECIDED = "undecided"


SIGNS = {
    Mark.BETTER: "▲",
    Mark.WORSE: "▼",
    Mark.MORE: "↑",
    Mark.LESS: "↓",
    Mark.UNDECIDED: "≈",
}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Something that was measured, and its value for each model.

    Attributes:
      name: what was measured.
      values: from a model's name to its value; None or absent: not measured.
      unit: "%" for a share in [0, 1], which is shown as a percentage; else it is
        shown after the name.
      meaning: how it was measured, in a sentence.
      marks: from a model's name to how it stands to the table's reference.
    """

    name: str
    values: Mapping[str, Value]
    unit: str = ""
    meaning: str = ""
    marks: Mapping[str, Mark] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class QuantityTable:
    """Quantities of the same models.

    Attributes:
      title: over the table; may be empty where a section has only this.
      text: a sentence or two under the title.
      models_as_rows: a row for each model and a column for each quantity, as in the
        paper's ablation table; else the other way round.
      reference: the model that marks compare with.
    """

    title: str
    quantities: Sequence[Quantity]
    text: str = ""
    models_as_rows: bool = False
    reference: str = ""


def mark(difference: Estimate, better: int) -> Mark:
    """What an interval of "model minus reference" says.

    Args:
      better: 1 where more is better, -1 where less is, 0 where neither is (as
        `Measure.better`).

    >>> mark(Estimate(0.2, 0.1, 0.3, 64), better=1), mark(Estimate(0.2, 0.1, 0.3, 64), better=-1)
    (<Mark.BETTER: 'better'>, <Mark.WORSE: 'worse'>)
    >>> mark(Estimate(0.2, -0.1, 0.5, 64), better=1)
    <Mark.UNDECIDED: 'undecided'>
    """
    if not difference.excludes(0.0):
        return Mark.UNDECIDED
    more = difference.low > 0
    if better == 0:
        return Mark.MORE if more else Mark.LESS
    return Mark.BETTER if more == (better > 0) else Mark.WORSE


def models(quantities: Sequence[Quantity]) -> list[str]:
    """All models, in the order in which the quantities first name them."""
    return list(dict.fromkeys(name for quantity in quantities for name in quantity.values))


def show(value: Value, unit: str = "") -> str:
    """A value as a person reads it.

    >>> show(0.756, "%"), show(0.012345), show(12345), show(None), show(float("nan"))
    ('76 %', '0.0123', '12,345', '–', '–')
    >>> show(Estimate(0.756, 0.704, 0.818, 128), "%"), show(Estimate(1.5231, 1.46, 1.58, 8))
    ('76 % [70, 82]', '1.52 [1.46, 1.58]')
    """
    return " ".join(filter(None, show_parts(value, unit)))


def show_parts(value: Value, unit: str = "") -> tuple[str, str]:
    """A value as `show` has it, in two parts: itself and its interval, if it has one."""
    if isinstance(value, str):
        return value, ""
    mean = value.mean if isinstance(value, Estimate) else value
    if mean is None or not math.isfinite(mean):
        return "–", ""
    factor, sign = (100, " %") if unit == "%" else (1, "")
    number = f"{mean:,}" if isinstance(mean, int) and factor == 1 else _number(factor * mean, sign)
    if not isinstance(value, Estimate) or not math.isfinite(value.high - value.low):
        return number + sign, ""
    # So many decimals that half the interval is three units of the last or more.
    half = factor * (value.high - value.low) / 2
    if half > 0:
        decimals = min(max(0, math.ceil(math.log10(3 / half))), 6)
        number, low, high = (f"{factor * x:z,.{decimals}f}" for x in (mean, value.low, value.high))
    else:
        low = high = number
    return number + sign, f"[{low}, {high}]"


def _number(value: float, sign: str) -> str:
    return f"{value:z.0f}" if sign else f"{value:.3g}"


def _heading(quantity: Quantity) -> str:
    return quantity.name + (f" [{quantity.unit}]" if quantity.unit not in ("", "%") else "")


def _legend(table: QuantityTable) -> list[str]:
    """What brackets and marks mean, where the table has any."""
    lines = []
    if any(isinstance(v, Estimate) for q in table.quantities for v in q.values.values()):
        lines.append(f"In brackets: {100 * CONFIDENCE:.0f} % confidence interval.")
    used = {mark for quantity in table.quantities for mark in quantity.marks.values()}
    if used:
        words = ", ".join(f"{SIGNS[mark]} {mark}" for mark in Mark if mark in used)
        words += " (the interval of the difference holds 0)" if Mark.UNDECIDED in used else ""
        lines.append(f"Compared with {table.reference or 'the reference'}: {words}.")
    return lines


def to_markdown(table: QuantityTable) -> str:
    """A table for a README or an issue, without its title and text."""

    def cell(quantity: Quantity, model: str) -> str:
        mark = quantity.marks.get(model)
        words = show(quantity.values.get(model), quantity.unit)
        return f"{words} {SIGNS[mark]}" if mark else words

    names = models(table.quantities)
    if table.models_as_rows:
        head = ["", *(_heading(quantity) for quantity in table.quantities)]
        body = [[model, *(cell(q, model) for q in table.quantities)] for model in names]
    else:
        head = ["measured", *names]
        body = [[_heading(q), *(cell(q, model) for model in names)] for q in table.quantities]
    below = [f"- {q.name}: {q.meaning}\n" for q in table.quantities if q.meaning]
    below += [f"- {line}\n" for line in _legend(table)]
    return markdown.table(head, body) + ("\n" + "".join(below) if below else "")


def to_html(table: QuantityTable) -> str:
    """The table without its title and text; each quantity's meaning beside or below it."""
    names = models(table.quantities)
    meanings = ""
    if table.models_as_rows:
        head = [html.escape(_heading(quantity)) for quantity in table.quantities]
        body = [(html.escape(name), [_cell(q, name) for q in table.quantities]) for name in names]
        lines = [
            f"<dt>{html.escape(q.name)}</dt><dd>{html.escape(q.meaning)}</dd>"
            for q in table.quantities
            if q.meaning
        ]
        meanings = f"<dl class='legend'>{''.join(lines)}</dl>" if lines else ""
    else:
        head = [html.escape(name) for name in names]
        body = []
        for quantity in table.quantities:
            meaning = f"<small>{html.escape(quantity.meaning)}</small>" if quantity.meaning else ""
            row = html.escape(_heading(quantity)) + meaning
            body.append((row, [_cell(quantity, name) for name in names]))
    columns = "".join(f"<th scope='col'>{name}</th>" for name in head)
    rows = "".join(f"<tr><th scope='row'>{name}</th>{''.join(cells)}</tr>" for name, cells in body)
    legend = " ".join(html.escape(line) for line in _legend(table))
    return (
        f"<div class='wide'><table><thead><tr><th></th>{columns}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        + (f"<p class='legend'>{legend}</p>" if legend else "")
        + meanings
    )


def _cell(quantity: Quantity, model: str) -> str:
    value = quantity.values.get(model)
    mean, interval = show_parts(value, quantity.unit)
    words = html.escape(mean)
    if interval:
        words += f" <small title='of {value.count:,} values'>{html.escape(interval)}</small>"
    if mark := quantity.marks.get(model):
        words += f" <small class='mark {mark}'>{SIGNS[mark]} {mark}</small>"
    return f"<td>{words}</td>"


def to_json(table: QuantityTable) -> list[dict]:
    """The quantities as JSON values; what is not finite becomes null."""
    return [
        {
            "table": table.title,
            "name": quantity.name,
            "values": {name: _json_value(value) for name, value in quantity.values.items()},
            "unit": quantity.unit,
            "meaning": quantity.meaning,
        }
        | ({"reference": table.reference, "marks": dict(quantity.marks)} if quantity.marks else {})
        for quantity in table.quantities
    ]


def _json_value(value: Value):
    if isinstance(value, Estimate):
        return without_nan(dataclasses.asdict(value))
    return without_nan(value)


def without_nan(tree):
    """A tree of JSON values; JSON has no number that is not finite: null instead.

    >>> without_nan({"a": float("nan"), "b": (0.5, np.float32(2), "n/a")})
    {'a': None, 'b': [0.5, 2.0, 'n/a']}
    """
    if isinstance(tree, Mapping):
        return {key: without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [without_nan(value) for value in tree]
    if isinstance(tree, float | np.floating):
        return float(tree) if np.isfinite(tree) else None
    return tree.item() if isinstance(tree, np.generic) else tree
