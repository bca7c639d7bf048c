"""A table of measured quantities, in HTML, Markdown and JSON."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

Value = float | int | str | None


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A row: something that was measured, and its value for each model.

    Attributes:
      name: what was measured.
      values: from a model's name to its value; None or absent: not measured.
      unit: "%" for a share in [0, 1], which is shown as a percentage; else it is
        shown after the name.
      meaning: how it was measured, in a sentence.
    """

    name: str
    values: Mapping[str, Value]
    unit: str = ""
    meaning: str = ""


def columns(quantities: Sequence[Quantity]) -> list[str]:
    """All models, in the order in which the rows first name them."""
    return list(dict.fromkeys(name for quantity in quantities for name in quantity.values))


def show(value: Value, unit: str = "") -> str:
    """A value as a person reads it.

    >>> show(0.756, "%"), show(0.012345), show(12345), show(None), show(float("nan"))
    ('76 %', '0.0123', '12,345', '–', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, str):
        return value
    if unit == "%":
        return f"{100 * value:.0f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _heading(quantity: Quantity) -> str:
    return quantity.name + (f" [{quantity.unit}]" if quantity.unit not in ("", "%") else "")


def to_markdown(quantities: Sequence[Quantity]) -> str:
    """A table for a README or an issue."""
    names = columns(quantities)
    lines = [["measured", *names], ["---", *["---:"] * len(names)]]
    for quantity in quantities:
        values = [show(quantity.values.get(name), quantity.unit) for name in names]
        lines.append([_heading(quantity), *values])
    text = "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )
    meanings = [f"- {q.name}: {q.meaning}\n" for q in quantities if q.meaning]
    return text + ("\n" + "".join(meanings) if meanings else "")


def to_html(quantities: Sequence[Quantity]) -> str:
    """The table, each quantity's meaning under its name."""
    names = columns(quantities)
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in names)
    body = []
    for quantity in quantities:
        meaning = f"<small>{html.escape(quantity.meaning)}</small>" if quantity.meaning else ""
        cells = "".join(
            f"<td>{html.escape(show(quantity.values.get(name), quantity.unit))}</td>"
            for name in names
        )
        body.append(f"<tr><th scope='row'>{html.escape(_heading(quantity))}{meaning}</th>{cells}")
    return (
        f"<div class='wide'><table><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def to_json(quantities: Sequence[Quantity]) -> list[dict]:
    """The rows as JSON values; what is not finite becomes null."""
    return [
        dataclasses.asdict(quantity)
        | {
            "values": {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in quantity.values.items()
            }
        }
        for quantity in quantities
    ]
