"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table whose first column is words; the others are numbers, and stand to the right.

    >>> print(table(["what", "GB"], [["weights", "1.2"], ["a|b", "0.3"]]), end="")
    | what | GB |
    | --- | ---: |
    | weights | 1.2 |
    | a\|b | 0.3 |
    """
    marks = ["---", *["---:"] * (len(head) - 1)]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in (head, marks, *rows))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)
