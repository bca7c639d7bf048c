"""Curves with bands and heat maps, as drawings inside a page.

A figure is a row of panels. Its text stays text and takes the colour of the page, and
the same numbers give the same bytes.
"""

import dataclasses
import io
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from videojam_jax.report.table import show, without_nan

COLOURS = ("#4c8fd0", "#e2803a", "#52a868", "#b774c8", "#c9a53b", "#d0605e")
DASHES = ("-", "--", ":", "-.")
# Stands in for "the colour of the page's text", which only the browser knows.
TEXT_COLOUR = "#010203"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "videojam",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 10.5,
    # A dollar in a name is a dollar.
    "text.parse_math": False,
    "text.color": TEXT_COLOUR,
    "axes.edgecolor": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# Of a panel with curves, and of a cell of a heat map, inches.
PANEL = (6.0, 3.6)
CELL = (0.78, 0.4)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing and what it shows.

    Attributes:
      svg: the drawing, an `<svg>` element.
      caption: what to see in it, a sentence or two.
      numbers: what was drawn, as JSON values.
    """

    svg: str
    caption: str = ""
    numbers: Sequence[dict] = ()


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve and, where `low` and `high` are given, the band around it.

    Attributes:
      name: in the legend.
      x, mean: its points; a value that is not finite leaves a gap.
      low, high: ends of the band at each point.
    """

    name: str
    x: Sequence[float] | Num[np.ndarray, "n"]
    mean: Sequence[float] | Num[np.ndarray, "n"]
    low: Sequence[float] | Num[np.ndarray, "n"] | None = None
    high: Sequence[float] | Num[np.ndarray, "n"] | None = None

    def __post_init__(self):
        given = [value for value in (self.x, self.mean, self.low, self.high) if value is not None]
        if len({len(value) for value in given}) > 1 or (self.low is None) != (self.high is None):
            sizes = ", ".join(str(len(value)) for value in given)
            raise ValueError(f"line '{self.name}': x, mean, low and high have {sizes} values")


@dataclasses.dataclass(frozen=True)
class Curves:
    """A panel of curves.

    Attributes:
      y_limits: ends of the vertical axis; None fits it to the curves and their bands.
    """

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    y_label: str = ""
    y_limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A panel of numbers in coloured cells, `values[row, column]`.

    Attributes:
      values: not a number where nothing was measured.
      rows, columns: labels, from the top and from the left.
      unit: as in `table.Quantity`: "%" for shares in [0, 1].
      row_title, column_title: what the labels are.
    """

    title: str
    values: Num[np.ndarray, "rows columns"]
    rows: Sequence[str]
    columns: Sequence[str]
    unit: str = ""
    row_title: str = ""
    column_title: str = ""

    def __post_init__(self):
        if self.values.shape != (len(self.rows), len(self.columns)):
            raise ValueError(
                f"heat map '{self.title}': values {self.values.shape} under {len(self.rows)} rows "
                f"and {len(self.columns)} columns"
            )


Panel = Curves | HeatMap


def draw(panels: Sequence[Panel], caption: str = "") -> Figure:
    """The panels side by side.

    Lines of the same name have the same colour and dashes in all panels.
    """
    names = dict.fromkeys(
        line.name for panel in panels if isinstance(panel, Curves) for line in panel.lines
    )
    # Dashes tell lines apart for those to whom the colours look alike.
    looks = dict(zip(names, zip(itertools.cycle(COLOURS), itertools.cycle(DASHES)), strict=False))
    painters, sizes = [], []
    for panel in panels:
        if isinstance(panel, Curves):
            painters.append(lambda axes, panel=panel: _paint_curves(axes, panel, looks))
            sizes.append(PANEL)
        else:
            painters.append(lambda axes, panel=panel: _paint_heat_map(axes, panel))
            sizes.append(_heat_map_size(panel))
    return Figure(to_svg(painters, sizes), caption, [_numbers(panel) for panel in panels])


def to_svg(painters: Sequence[Callable[[Axes], None]], sizes: Sequence[tuple[float, float]]) -> str:
    """Panels in a row, each painted by its function, in the style of the page.

    Args:
      sizes: width and height of each panel, inches.
    """
    with matplotlib.rc_context(STYLE):
        widths = [width for width, _ in sizes]
        canvas = Canvas(
            figsize=(sum(widths), max(height for _, height in sizes)), layout="constrained"
        )
        all_axes = canvas.subplots(1, len(painters), squeeze=False, width_ratios=widths)[0]
        for axes, paint in zip(all_axes, painters, strict=True):
            paint(axes)
        out = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(out, metadata={"Date": None})
    svg = out.getvalue()
    # What is before <svg> is for files of their own. Nothing refers to the names of groups,
    # which are the same in every drawing of a page.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    return svg.replace(TEXT_COLOUR, "currentColor")


def _paint_curves(axes: Axes, panel: Curves, looks: dict[str, tuple[str, str]]) -> None:
    for line in panel.lines:
        colour, dash = looks[line.name]
        if line.low is not None:
            low, high = (np.asarray(end, np.float64) for end in (line.low, line.high))
            axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
        # A point between gaps, or one alone, would be a line of no length.
        marker = "o" if len(line.x) <= 12 else ""
        mean = np.asarray(line.mean, np.float64)
        look = {"color": colour, "linestyle": dash, "marker": marker}
        axes.plot(line.x, mean, **look, markersize=4, linewidth=1.8, label=line.name)
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(alpha=0.15, color=TEXT_COLOUR)
    if panel.lines:
        axes.legend()


def _heat_map_size(panel: HeatMap) -> tuple[float, float]:
    """Room for the cells and, as far as can be told from their length, for the labels."""
    longest = max([0, *map(len, panel.rows)])
    width = CELL[0] * len(panel.columns) + 0.085 * longest + (0.3 if panel.row_title else 0.0)
    lines = max([1, *(label.count("\n") + 1 for label in _wrapped(panel.columns))])
    height = CELL[1] * len(panel.rows) + 0.18 * lines + (0.3 if panel.column_title else 0.0)
    return max(width + 0.3, 0.085 * len(panel.title)), height + 0.5


def _wrapped(labels: Sequence[str]) -> list[str]:
    return [textwrap.fill(label, 11, break_long_words=False) for label in labels]


def _paint_heat_map(axes: Axes, panel: HeatMap) -> None:
    values = np.asarray(panel.values, np.float64)
    rows, columns = values.shape
    colour_of = _colours(panel)
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = colour_of(value)
            axes.add_patch(Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, facecolor=colour))
        else:
            colour = None
        # Black or white, whichever stands out more (WCAG 2: they are equal at 0.179).
        ink = TEXT_COLOUR
        if colour is not None:
            ink = "#ffffff" if _luminance(colour) < 0.179 else "#010101"
        words = show(float(value), panel.unit)
        axes.text(column + 0.5, row + 0.5, words, color=ink, ha="center", va="center")
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks(np.arange(columns) + 0.5, _wrapped(panel.columns))
    axes.set_yticks(np.arange(rows) + 0.5, panel.rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(panel.title, pad=9)
    axes.set_xlabel(panel.column_title)
    axes.xaxis.set_label_position("bottom")
    axes.set_ylabel(panel.row_title)


def _colours(panel: HeatMap) -> Callable[[float], tuple[float, ...]]:
    """From a value to its colour, red, green and blue in [0, 1]."""
    finite = panel.values[np.isfinite(panel.values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)

    def colour_of(value: float) -> tuple[float, ...]:
        part = (value - low) / (high - low) if high > low else 0.5
        # The ends of the palette are too strong to tell numbers on them apart.
        return matplotlib.colormaps["YlGnBu"](0.08 + 0.84 * part)[:3]

    return colour_of


def _luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of an sRGB colour, in [0, 1] (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _numbers(panel: Panel) -> dict:
    """What a panel shows, as JSON values; what is not finite becomes null."""
    if isinstance(panel, HeatMap):
        return {
            "title": panel.title,
            "unit": panel.unit,
            "rows": list(panel.rows),
            "columns": list(panel.columns),
            "values": without_nan(panel.values.tolist()),
        }
    lines = []
    for line in panel.lines:
        ends = {"low": line.low, "high": line.high} if line.low is not None else {}
        arrays = {"x": line.x, "mean": line.mean} | ends
        lines.append(
            {"name": line.name}
            | without_nan({k: np.asarray(x, np.float64).tolist() for k, x in arrays.items()})
        )
    labels = {"x_label": panel.x_label, "y_label": panel.y_label}
    return {"title": panel.title} | labels | {"lines": lines}
