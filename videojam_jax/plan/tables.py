"""Tables for a terminal and for Markdown."""

import dataclasses
from collections.abc import Sequence

from videojam_jax.report import markdown


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, rows of text under column names, and sentences below.

    The first column is words; the others are numbers, and stand to the right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def to_text(tables: Sequence[Table]) -> str:
    """As a terminal shows them.

    >>> print(to_text([Table("Sizes", ["what", "GB"], [["weights", "1.2"]])]))
    Sizes
      what      GB
      weights  1.2
    """
    parts = []
    for table in tables:
        lines = [table.title]
        cells = [list(table.columns), *map(list, table.rows)] if table.rows else []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            first = row[0].ljust(widths[0])
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  " + "  ".join([first, *rest]).rstrip())
        lines += [f"  {note}" for note in table.notes]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def to_markdown(tables: Sequence[Table], level: int = 2) -> str:
    """As a document has them, headings of the given level.

    >>> print(to_markdown([Table("Sizes", ["what", "GB"], [["weights", "1.2"]])]))
    ## Sizes
    <BLANKLINE>
    | what | GB |
    | --- | ---: |
    | weights | 1.2 |
    <BLANKLINE>
    """
    parts = []
    for table in tables:
        lines = [f"{'#' * level} {table.title}", ""]
        if table.rows:
            lines.append(markdown.table(table.columns, table.rows))
        lines += [f"- {note}" for note in table.notes]
        lines += [""] * bool(table.notes)
        parts.append("\n".join(lines))
    return "\n".join(parts)


def quantity(value: float, unit: str = "") -> str:
    """Three digits and a prefix of a thousand.

    >>> quantity(4932007040), quantity(18.5e9, "B"), quantity(0.0213, "s"), quantity(0)
    ('4.93 G', '18.5 GB', '21.3 ms', '0')
    """
    if value == 0:
        return f"0 {unit}".strip()
    prefixes = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")]
    if unit == "s":
        prefixes = [(1, ""), (1e-3, "m"), (1e-6, "u")]
    for size, prefix in prefixes:
        if abs(value) >= 0.9995 * size:
            return f"{_digits(value / size)} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
