"""Figures: what is drawn is what was given, legible, and the same each time."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from videojam_jax.report.figures import TEXT_COLOUR, Curves, HeatMap, Line, draw

X = np.arange(20.0)
WITH_BAND = Line("VideoJAM", X, X / 10, X / 10 - 0.2, X / 10 + 0.2)
SHARES = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, math.nan]])


def heat_map(**changes):
    return HeatMap("Shares", SHARES, ["a", "b"], ["x", "y", "z"], unit="%", **changes)


def parts(figure, tag):
    """Elements of a drawing with this tag."""
    return list(ElementTree.fromstring(figure.svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def words(figure):
    return ["".join(text.itertext()).strip() for text in parts(figure, "text")]


def test_drawing_is_whole_svg_in_the_colour_of_the_page_with_text_as_text():
    figure = draw([Curves("Loss", [WITH_BAND], "step", "loss"), heat_map()], "Two panels.")
    assert {"Loss", "step", "loss", "VideoJAM", "Shares", "a", "z", "75 %"} <= set(words(figure))
    assert "currentColor" in figure.svg and TEXT_COLOUR not in figure.svg
    assert figure.caption == "Two panels."


def test_same_numbers_give_the_same_bytes():
    panels = [Curves("Loss", [WITH_BAND, Line("DiT", X, X)]), heat_map()]
    assert draw(panels).svg == draw(panels).svg


def test_drawings_of_one_page_share_no_name_but_of_the_same_shape():
    """An id that two drawings have must stand for the same thing in both."""
    ids = {}
    for figure in (draw([Curves("A", [WITH_BAND])]), draw([heat_map()]), draw([heat_map()])):
        for element in ElementTree.fromstring(figure.svg).iter():
            if name := element.get("id"):
                shape = ElementTree.tostring(element)
                assert ids.setdefault(name, shape) == shape


def test_panels_stand_side_by_side():
    def width(figure):
        return float(ElementTree.fromstring(figure.svg).get("width").removesuffix("pt"))

    one, two = draw([Curves("A", [WITH_BAND])]), draw([Curves("A", [WITH_BAND]), heat_map()])
    assert width(two) > width(one)
    assert draw([heat_map(), Curves("A", [WITH_BAND])]).numbers[0]["title"] == "Shares"


def test_line_has_one_look_in_all_panels_and_no_two_lines_share_one():
    lines = [Line(f"run {i}", X, X + i) for i in range(12)]
    figure = draw([Curves("All", lines), Curves("Last", lines[-1:])])
    looks = [
        re.sub(r"stroke-(linecap|linejoin|width): [^;]*;?", "", path.get("style"))
        for path in parts(figure, "path")
        if "stroke-width: 1.8" in (path.get("style") or "")
    ]
    # A line is drawn in its panel and in the legend.
    assert len(looks) == 2 * 13
    assert len(set(looks)) == 12
    assert sum(look == looks[-1] for look in looks) == 4


def test_band_spans_from_low_to_high():
    """Its corners are the points of the lines that would be drawn at its two ends."""
    low, high = X / 10 - 0.2, X / 10 + X / 50
    lines = [Line("band", X, X / 10, low, high), Line("low", X, low), Line("high", X, high)]
    figure = draw([Curves("", lines, y_limits=(-1.0, 3.0))])
    (band,) = [use for use in parts(figure, "use") if "fill-opacity" in (use.get("style") or "")]
    name = band.get("{http://www.w3.org/1999/xlink}href").removeprefix("#")
    (outline,) = [path for path in parts(figure, "path") if path.get("id") == name]
    corners = points(outline) + [float(band.get("x")), float(band.get("y"))]
    drawn = [p for p in parts(figure, "path") if "stroke-width: 1.8" in (p.get("style") or "")]
    by_length = [points(path) for path in drawn if len(points(path)) == len(X)]
    _, at_low, at_high = by_length
    ends = np.concatenate([at_low, at_high])
    distances = np.abs(ends[:, None] - corners).max(-1).min(1)
    np.testing.assert_allclose(distances, 0.0, atol=1e-4)
    assert corners[:, 1].min() == pytest.approx(ends[:, 1].min(), abs=1e-4)
    assert corners[:, 1].max() == pytest.approx(ends[:, 1].max(), abs=1e-4)


def points(path):
    """Where the steps of an SVG path lead, `[n, 2]`."""
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d")), float)


def test_every_cell_has_its_number_and_a_dash_where_there_is_none():
    shown = words(draw([heat_map()]))
    assert [w for w in shown if w.endswith("%")] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert shown.count("–") == 1


def test_number_in_a_cell_stands_out_from_its_ground():
    """At least 4.5 : 1, as WCAG 2 asks of text."""
    values = np.linspace(0, 1, 40).reshape(5, 8)
    panel = HeatMap("", values, list("abcde"), list("ABCDEFGH"), unit="px")
    figure = draw([panel])
    grounds = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="fill: (#\w{6})', figure.svg)
    inks = re.findall(r"fill: (#(?:ffffff|010101))", figure.svg)
    assert len(grounds) == len(inks) == values.size
    worst = min(contrast(g, i) for g, i in zip(grounds, inks, strict=True))
    assert worst >= 4.5


def contrast(one, other):
    """Of two sRGB colours, by the definition of WCAG 2."""

    def luminance(colour):
        levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_numbers_of_a_figure_are_json_with_null_for_what_is_not_finite():
    figure = draw([heat_map(), Curves("Loss", [WITH_BAND, Line("DiT", [0, 1], [1.0, math.inf])])])
    shares, loss = json.loads(json.dumps(figure.numbers, allow_nan=False))
    assert shares["values"] == [[0.0, 0.25, 0.5], [0.75, 1.0, None]]
    assert (shares["rows"], shares["columns"]) == (["a", "b"], ["x", "y", "z"])
    band, plain = loss["lines"]
    assert band["low"] == pytest.approx(list(X / 10 - 0.2))
    assert plain == {"name": "DiT", "x": [0.0, 1.0], "mean": [1.0, None]}


def test_figure_of_nothing_measured_is_drawn_all_the_same():
    nothing = HeatMap("", np.full((1, 1), math.nan), ["a"], ["b"])
    same = HeatMap("", np.full((1, 2), 3.0), ["a"], ["b", "c"])
    figure = draw([nothing, same, Curves("", [])])
    assert words(figure).count("–") == 1 and words(figure).count("3") == 2


def test_names_are_words_and_no_formulas():
    panels = [Curves("$5 or $6", [Line("a$_b$", X, X)]), HeatMap("", np.ones((1, 1)), ["$"], ["$"])]
    assert {"$5 or $6", "a$_b$", "$"} <= set(words(draw(panels)))


def test_lengths_that_disagree_are_an_error_that_names_the_line_or_map():
    with pytest.raises(ValueError, match="line 'VideoJAM'.*3, 2 values"):
        Line("VideoJAM", [1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="line 'VideoJAM'"):
        Line("VideoJAM", [1, 2], [1, 2], low=[0, 1])
    with pytest.raises(ValueError, match=r"heat map 'Shares'.*\(2, 3\)"):
        HeatMap("Shares", SHARES, ["a"], ["x", "y", "z"])
